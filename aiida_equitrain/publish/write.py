"""Write a published graph: the archive with its manifest, its report, and a README."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from aiida import orm
from aiida.tools.archive import create_archive

import aiida_equitrain
from aiida_equitrain.common.printable import printable
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.query import study_table
from aiida_equitrain.report.collect import training_warnings
from aiida_equitrain.report.study_collect import describe_study, is_study, study_warnings
from aiida_equitrain.report.write import PAGE, write_report

from .archive import FORMAT, LONGEST_TEXT, MANIFEST, PROCESSES, describe_nodes, quiet
from .scrub import Scrubber, people_in, scrub, sha256_of, what_stays

PACKAGES = ('aiida-core', 'aiida-quantumespresso', 'aiida-phonopy', 'phonopy', 'numpy', 'scipy')
#: With these, all of a result's history is in, the WorkChains that called its jobs included.
TRAVERSAL: dict[str, Any] = {'call_calc_backward': True, 'call_work_backward': True, 'create_backward': True}


@dataclass
class Published:
    """What was written; there is no ``report`` of a job that has no results."""

    archive: Path
    readme: Path
    report: Path | None
    sha256: str
    manifest: dict[str, Any]


def publish(node: orm.ProcessNode, path: Path, tell: Callable[[dict[str, list[str]]], None] | None = None) -> Published:
    """Write the graph of a study or a main job: all three files, or none.

    :param path: of the archive, which ends with ``.aiida``; ``.README.md`` and ``.report.html`` are written beside it
        under its name.
    :param tell: called before anything is written there, with what the archive will say of machines and people.
    :raises ValueError: with a sentence, if the node cannot be published, a file of it exists, or there is no room.
    """
    problem = publish_problem(node, path)
    if problem:
        raise ValueError(problem)
    try:
        # Beside the file, on the same disk: what is complete is moved, and what is not goes with the folder.
        with tempfile.TemporaryDirectory(prefix=f'.{path.stem}-', dir=path.parent) as folder:
            done = _write(node, Path(folder) / path.name, tell)
            for file in (done.readme, done.report, done.archive):
                if file is not None:
                    file.replace(path.parent / file.name)
    except OSError as error:
        raise ValueError(f'`{path}` was not written: {error}') from error
    readme, page = beside(path)
    return Published(path, readme, done.report and page, done.sha256, done.manifest)


def _write(node: orm.ProcessNode, path: Path, tell: Callable[[dict[str, list[str]]], None] | None) -> Published:
    """Write all files into a folder of their own."""
    raw = path.with_suffix('.raw')
    with quiet('aiida.export'):
        create_archive([node], raw, include_authinfos=False, include_comments=False, **TRAVERSAL)
    scrubber = Scrubber.of_this_machine([*user_names(), *people_in(raw)])
    n_changed = scrub(raw, path, scrubber)
    raw.unlink()
    manifest = make_manifest(node, path, scrubber) | {'files_without_names': n_changed}
    if tell is not None:
        tell(manifest['stays'])
    content = json.dumps(manifest, sort_keys=True).encode()
    if len(content) > LONGEST_TEXT:
        raise ValueError(f'the graph of PK {node.pk} has {len(manifest["nodes"])} nodes, too many for one archive')
    with ZipFile(path, 'a', ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, content)
    digest = sha256_of(path)
    readme, page = beside(path)
    report = _write_page(node, page, scrubber)
    readme.write_text(scrubber(describe(node, manifest, path.name, digest, report, scrubber)), encoding='utf-8')
    return Published(path, readme, report, digest, manifest)


def publish_problem(node: Any, path: Path) -> str | None:
    """Return why a node cannot be published there, or ``None``."""
    if getattr(node, 'process_type', None) not in PROCESSES:
        return f'PK {node.pk} is neither a study nor a main job: `aiida-equitrain list studies` shows the studies'
    if not node.is_finished:
        return f'PK {node.pk} has not finished; what it lacks would be missing for ever'
    if path.suffix != '.aiida':
        return f'`{path}` must end with `.aiida`'
    if not path.parent.is_dir():
        return f'there is no folder `{path.parent}`: make it first'
    there = [file for file in (path, *beside(path)) if file.exists()]
    return f'`{there[0]}` exists already: move it, or give the archive another name' if there else None


def beside(path: Path) -> tuple[Path, Path]:
    """Return the README and the report of an archive."""
    return path.with_suffix('.README.md'), path.with_suffix('.report.html')


def make_manifest(node: orm.ProcessNode, archive: Path, scrubber: Scrubber) -> dict[str, Any]:
    """Return what is to be expected of an archive and of a rerun."""
    return {
        'format': FORMAT,
        'root': node.uuid,
        'process': node.process_type,
        'created': datetime.now(UTC).isoformat(timespec='seconds'),
        'version': aiida_equitrain.__version__,
        'packages': {name: found for name in PACKAGES if (found := _version(name))},
        # The rows are those of the table, a file, which is left as it is.
        'results': {
            name: item if name == 'rows' else scrubber.clean_json(item) for name, item in results_of(node).items()
        },
        'stays': what_stays(archive, scrubber),
        'nodes': describe_nodes(archive),
    }


def results_of(node: orm.ProcessNode) -> dict[str, Any]:
    """Return the results for machines: rows and aggregates of a study, the comparison of a main job."""
    if 'table' in node.outputs:
        table = json.loads(study_table(node).to_json(orient='records', double_precision=15))
        return {'rows': table, 'aggregates': node.outputs.aggregates.get_dict()}
    return {'comparison': node.outputs.comparison.get_dict()} if 'comparison' in node.outputs else {}


def _write_page(node: orm.ProcessNode, path: Path, scrubber: Scrubber) -> Path | None:
    """Write the report of a job as one file, without personal names, if it has results."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            write_report(node, Path(folder))
        except ValueError:
            return None
        path.write_text(clean_page((Path(folder) / PAGE).read_text(encoding='utf-8'), scrubber), encoding='utf-8')
    return path


def clean_page(page: str, scrubber: Scrubber) -> str:
    """Return a page of ours without personal names: its words are free text, as exit messages and notes are.

    Style and script stay as they are: they are ours, and the page allows the script by its checksum.
    """
    parts = re.split(r'(<style.*?</style>|<script>.*?</script>|<[^>]*>)', page, flags=re.DOTALL)
    for index, part in enumerate(parts):
        if index % 2 == 0:
            parts[index] = scrubber(part, free=True)
        elif not part.startswith(('<style', '<script>')):
            parts[index] = scrubber(part)
    return ''.join(parts)


def describe(
    node: orm.ProcessNode, manifest: dict[str, Any], name: str, digest: str, report: Path | None, scrubber: Scrubber
) -> str:
    """Return the README of an archive.

    :param digest: SHA-256 of the archive.
    :param report: the page beside it.
    """
    result = ''
    if 'aggregates' in node.outputs:
        result = f'## Result\n\n```\n{describe_study(node.outputs.aggregates.get_dict())}\n```\n\n'
    if report is not None:
        warnings = study_warnings(node) if is_study(node) else training_warnings(node)
        result += ''.join(f'{printable(warning)}\n\n' for warning in warnings)
        result += f'Figures and all rows: `{report.name}`, SHA-256 `{sha256_of(report)}`.\n\n'
    licences = '\n'.join(_licences(manifest, scrubber)) or '- no dataset says its licence or source'
    stays = '\n'.join(f'- {what}: {", ".join(items) or "none"}' for what, items in manifest['stays'].items())
    packages = ', '.join(f'{key} {value}' for key, value in manifest['packages'].items())
    return f"""# {name}

The AiiDA provenance graph of {node.process_label} `{node.uuid}`: {len(manifest['nodes'])} nodes, made with
aiida-equitrain {manifest['version']} ({packages}). SHA-256 of the file: `{digest}`.

{result}## Check and reproduce it

```
aiida-equitrain reproduce {name} --sha256 {digest}
aiida-equitrain reproduce {name} --rerun finetune,phonons
```

The first checks all nodes, files and links against the manifest and computes derived results again from their stored
inputs; nothing in the archive is executed, and nothing is imported. The second imports it and trains again, which
executes the foundation potential: do it with an archive whose origin you trust.

## Look at it

Once it was checked: AiiDA reads the file as it is.

```
verdi archive info {name}
verdi profile setup core.sqlite_zip -n --profile-name study --filepath {name}   # read-only, nothing is imported
aiida-equitrain -p study list studies
```

## Data

{licences}

## What the archive says of the publisher's machines

Home folders, user names in paths, mail addresses, and what schedulers said of jobs were taken out of what nodes say and
of the text files of jobs. Other files (models, datasets, arrays) are as they were. What stays in:

{stays}
"""


def _licences(manifest: dict[str, Any], scrubber: Scrubber) -> list[str]:
    """Return source and licence of the datasets that came from elsewhere."""
    builder = orm.QueryBuilder().append(DatasetData, filters={'uuid': {'in': list(manifest['nodes'])}})
    found = {(node.functional, node.licence, (node.source or {}).get('uri', ''), node.label): node
             for node in builder.all(flat=True) if node.licence or node.source}  # fmt: skip
    return [
        f'- {scrubber(label, free=True) or "frames"} ({functional}): {source or "source unknown"}, '
        f'licence: {licence or "not said"}'
        for functional, licence, source, label in sorted(found)
    ]


def user_names() -> list[str]:
    """Return the names of this person on the computers of the profile."""
    names = (info.get_auth_params().get('username') for info in orm.AuthInfo.collection.all())
    return [str(name) for name in names if name]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
