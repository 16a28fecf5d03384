"""Write a potential as the files that other programs load: one whole model, and what LAMMPS takes.

Reads ``job.json`` and the files of the potential; writes ``whole_model`` (of an adapter), ``lammps.pt``,
``progress.json`` and ``summary.json``. The file for LAMMPS is made by the converter of the family itself.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .job_io import (
    SUMMARY_FILE,
    DriverFailure,
    is_out_of_memory,
    limit_threads,
    read_job,
    run_driver,
    versions,
    write_json,
    write_progress,
)

WHOLE, LAMMPS = 'whole_model', 'lammps.pt'
#: What the converters read.
ONE_HEAD = 'one_head'
PACKAGES = ('torch', 'e3nn', 'mace-torch', 'sevenn')


def convert_mace(model: str, head: str | None, dtype: str) -> str:
    """Run ``mace_create_lammps_model`` and return the name of the file that it writes."""
    from mace.cli import create_lammps_model

    sys.argv = ['mace_create_lammps_model', model, '--dtype', dtype]
    create_lammps_model.main()
    return f'{model}-lammps.pt'


def convert_sevennet(model: str, head: str | None, dtype: str) -> str:
    """Do what ``sevenn get_model`` does, and return the name of the file; SevenNet knows no other precision there."""
    from sevenn.scripts.deploy import deploy

    deploy(model, 'deployed_serial.pt', head)
    return 'deployed_serial.pt'


CONVERTERS: dict[str, Callable[[str, str | None, str], str]] = {'mace': convert_mace, 'sevennet': convert_sevennet}


def main() -> None:
    """Write the files."""
    start = time.time()
    job = read_job()
    settings, potential = job['settings'], job['potential']
    # LAMMPS moves the file to where it computes; made on a GPU, parts of it would stay there.
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
    limit_threads(settings['threads'])
    from .potential_loader import find_adapter, load_model, save_model

    file, family = potential['filename'], potential['family']
    write_progress('model', 0, 2)
    model: Any = load_model(file, family, potential['head'], 'cpu', potential['dtype'])
    save_model(model, ONE_HEAD, family)
    is_adapter = find_adapter(file) is not None
    if is_adapter:
        Path(WHOLE).write_bytes(Path(ONE_HEAD).read_bytes())
    write_progress('file for LAMMPS', 1, 2)
    try:
        made = CONVERTERS[family](ONE_HEAD, potential['head'] if family == 'sevennet' else None, settings['dtype'])
    except Exception as error:
        if is_out_of_memory(error) or isinstance(error, ModuleNotFoundError):
            raise
        raise DriverFailure('not_converted', f'{type(error).__name__}: {error}') from error
    Path(made).replace(LAMMPS)
    write_progress('done', 2, 2)
    facts = {'settings': settings, 'family': family, 'head': potential['head'], 'is_adapter': is_adapter}
    write_json(SUMMARY_FILE, {**facts, 'seconds': round(time.time() - start, 3), 'versions': versions(*PACKAGES)})


if __name__ == '__main__':
    run_driver(main)
