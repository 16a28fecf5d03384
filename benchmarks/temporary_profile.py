"""A temporary AiiDA profile on this computer, which no other profile can see; what several benchmarks run in."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def load_code(folder: str | Path, python: str = sys.executable) -> Any:
    """Load a profile that lives below ``folder``; return the code of a Python with one thread, on this computer."""
    os.environ['AIIDA_PATH'] = str(folder)
    from aiida import load_profile, orm
    from aiida.manage.configuration import get_config
    from aiida.storage.sqlite_temp import SqliteTempBackend

    from aiida_equitrain.setup.setup import PREPEND_TEXT

    get_config(create=True).set_option('runner.poll.interval', 1)
    load_profile(SqliteTempBackend.create_profile('benchmark', filepath=str(Path(folder) / 'repository')))
    computer = orm.Computer('localhost', 'localhost', '', 'core.local', 'core.direct', f'{folder}/jobs').store()
    computer.configure(safe_interval=0.0, use_login_shell=False)
    computer.set_minimum_job_poll_interval(1)
    return orm.InstalledCode(
        label='python', computer=computer, filepath_executable=python, prepend_text=PREPEND_TEXT
    ).store()
