"""What a running job says of itself, in words."""

from __future__ import annotations

import json
import re
from typing import Any

from .formatting import duration, number
from .names import PW

#: What every driver of ours writes while it works.
PROGRESS_FILE = 'progress.json'
#: What pw.x writes, step by step of a relaxation and iteration by iteration.
_STEP = re.compile(r'number of scf cycles *= *(\d+)')
_ITERATION = re.compile(r'iteration # *(\d+)')
_ACCURACY = re.compile(r'estimated scf accuracy *< *(\d*\.?\d+(?:[EeDd][-+]?\d+)?) *Ry')
_CONVERGED = 'convergence has been achieved'
#: The lines that tell it, for `grep -E`, and so many bytes from the end of the output that they are among them.
PW_LINES = f'number of scf cycles|iteration #|estimated scf accuracy|{_CONVERGED}'
PW_TAIL = 20_000


def said_by(job: int, label: str) -> str:
    """Return how the lines begin in which a job tells how far it is, in its log and in that of its WorkChain."""
    return f'{label}<{job}>: '


def describe_output(kind: str, text: str) -> str:
    """Return what a running job says of itself, in a few words; none if it says nothing that is understood.

    :param kind: its process type.
    :param text: of ``progress.json``, or the end of what pw.x has written.
    """
    if kind == PW:
        return describe_pw(text)
    try:
        content = json.loads(text)
    except ValueError:
        return ''
    return describe_progress(content) if isinstance(content, dict) else ''


def describe_progress(content: dict[str, Any]) -> str:
    """Return ``progress.json`` as a few words, such as ``train 12/60, force MAE 31 meV/Å``; none if it is another."""
    try:
        return _describe(content)
    except (TypeError, ValueError):
        return ''


def describe_pw(output: str) -> str:
    """Return where pw.x is, such as ``SCF iteration 7, accuracy 1.2e-05 Ry``; nothing before the first iteration.

    :param output: the end of what it has written.
    """
    iterations = list(_ITERATION.finditer(output))
    if not iterations:
        return ''
    steps, accuracies = _STEP.findall(output), _ACCURACY.findall(output)
    words = f'step {int(steps[-1]) + 1} of the relaxation, ' if steps else ''
    if _CONVERGED in output[iterations[-1].end() :]:
        return f'{words}SCF converged in {iterations[-1].group(1)} iterations, forces follow'
    words += f'SCF iteration {iterations[-1].group(1)}'
    if accuracies:
        words += f', accuracy {float(re.sub("[Dd]", "e", accuracies[-1])):.1e} Ry'
    return words


def _describe(content: dict[str, Any]) -> str:
    if not content.get('stage'):
        return ''
    words = f'{content["stage"]} {content.get("done", 0)}/{content.get("total", "?")}'
    error = content.get('valid_forces_mae')
    if error is not None:
        words += f', validation forces {number(1e3 * float(error))} meV/Å'
    left = content.get('seconds_left')
    if left is not None:
        words += f', {duration(float(left))} left at most'
    return words
