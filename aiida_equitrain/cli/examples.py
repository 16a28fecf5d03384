"""Examples at the end of the help of a command."""

from __future__ import annotations


def examples(*lines: str) -> str:
    r"""Return lines as the ``epilog`` of a command, each on a line of its own (click's mark for that is ``\b``)."""
    return '\n'.join(['\b', 'Examples:', *(f'  aiida-equitrain {line}' for line in lines)])
