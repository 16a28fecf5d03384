"""Monitor of running jobs: writes their progress into the reports of job and WorkChain."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath

from aiida.orm import CalcJobNode, Log
from aiida.transports import Transport

from aiida_equitrain.common.progress import PROGRESS_FILE, describe_output, said_by


def report_progress(node: CalcJobNode, transport: Transport) -> str | None:
    """Write what a running job says of itself into its report and that of its WorkChain, see ``verdi process report``.

    It never ends a job: the drivers themselves stop at NaN, or when nothing gets better, with all that was learnt.
    """
    sentence = describe_output(str(node.process_type), _read(node, transport))
    if not sentence:
        return None
    message = said_by(int(node.pk or 0), str(node.process_label)) + sentence
    last = Log.collection.find({'dbnode_id': node.pk}, order_by=[{'id': 'desc'}], limit=1)
    if last and last[0].message == message:
        return None
    for target in (node, node.caller):
        if target is not None:
            target.logger.report(message)
    return None


def _read(node: CalcJobNode, transport: Transport) -> str:
    """Return the content of ``progress.json``; nothing where there is none yet."""
    folder = node.get_remote_workdir()
    if folder is None:
        return ''
    with tempfile.TemporaryDirectory() as local:
        path = Path(local, PROGRESS_FILE)
        try:
            transport.getfile(str(PurePosixPath(folder, PROGRESS_FILE)), path)
            return path.read_text(encoding='utf-8')
        except (OSError, ValueError):
            return ''
