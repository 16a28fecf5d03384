"""Print the results of a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiida_equitrain.cli.terminal import echo
from aiida_equitrain.common.printable import printable


def show_result(node: Any) -> bool:
    """Print the table of results of a finished job, what it warns of, and whether it is good.

    :returns: whether there is one.
    """
    from aiida_equitrain.report.property_page import verdict_data
    from aiida_equitrain.report.results import WORSE, describe_result, warnings_of

    # Somebody's archive may hold anything where our WorkChains have their results.
    text, problem = _read(describe_result, node, '')
    verdict, other = _read(verdict_data, node, None) if text else (None, '')
    if problem or other:
        text = f'{text}\nits results are not of the form that aiida-equitrain gives them ({problem or other})'.strip()
    for line in text.splitlines():
        echo(line, lines=True, fg='red' if line.endswith(WORSE) else None)
    for warning in warnings_of(node):
        echo(f'  {warning}', fg='red')
    if verdict:
        show_verdict(verdict)
    return bool(text)


def _read(read: Callable[[Any], Any], node: Any, nothing: Any) -> tuple[Any, str]:
    """Return what is read of a node, or nothing and what is wrong with it."""
    try:
        return read(node), ''
    except (KeyError, TypeError, ValueError, AttributeError) as exception:
        return nothing, printable(exception) or type(exception).__name__


def show_verdict(verdict: Mapping[str, Any]) -> None:
    """Print whether the result is good by the stated rules, what is wrong, and what to do about it."""
    echo()
    echo(f'  {verdict["title"]}', fg={'good': 'green', 'bad': 'red'}.get(verdict['level']))
    for flag in verdict['flags']:
        is_red = flag['level'] == 'red'
        echo(f'  {"Wrong" if is_red else "To know"}: {flag["text"]}.', fg='red' if is_red else None)
        echo(f'    What to do: {flag["remedy"]}.')
