"""What drivers write: progress, results, and a failure with its reason. Standard library only.

The parser reads ``failure.json`` before anything else, so a driver that knows why it stops raises
:class:`DriverFailure` and does not just print a traceback.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRESS_FILE, SUMMARY_FILE, FAILURE_FILE = 'progress.json', 'summary.json', 'failure.json'


class DriverFailure(Exception):  # noqa: N818
    """A failure whose cause is known.

    :param reason: short key, which the parser turns into an exit code, such as ``out_of_memory``.
    :param message: full sentence for people.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def write_json(name: str | Path, content: Any) -> None:
    """Write JSON atomically: someone who polls the file never sees half of it.

    NaN and infinity are not JSON; they become ``null``.
    """
    path = Path(name)
    partial = path.with_name(path.name + '.part')
    partial.write_text(json.dumps(_clean(content), indent=1), encoding='utf-8')
    partial.replace(path)


def write_progress(stage: str, done: int, total: int, **more: Any) -> None:
    """Write ``progress.json``: the stage, how many of its steps are done, and whatever else is of interest."""
    write_json(PROGRESS_FILE, {'stage': stage, 'done': done, 'total': total, **more})


def run_driver(main: Callable[[], None]) -> None:
    """Run ``main``; when it fails, write ``failure.json`` and exit with 1."""
    try:
        main()
    except Exception as error:
        reason, message = 'crashed', f'{type(error).__name__}: {_first_line(error)}'
        if isinstance(error, DriverFailure):
            reason, message = error.reason, error.message
        else:
            traceback.print_exc()
        if isinstance(error, ModuleNotFoundError):
            reason, message = 'module_missing', f'{error} (Python: {sys.executable})'
        if is_out_of_memory(error):
            reason = 'out_of_memory'
        write_json(FAILURE_FILE, {'reason': reason, 'message': message[:2000]})
        sys.exit(f'FAILED ({reason}): {message}')


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether torch failed to allocate: CUDA has its own exception, the CPU allocator only a message."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == 'OutOfMemoryError'
        or any(
            part in text for part in ('out of memory', "can't allocate memory", 'cannot allocate memory', 'bad_alloc')
        )
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _clean(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _clean(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_clean(value) for value in content]
    if hasattr(content, 'item') and getattr(content, 'ndim', 0) == 0:
        content = content.item()
    if isinstance(content, float) and content - content != 0.0:
        return None
    return content
