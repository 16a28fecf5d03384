"""Print the results of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida_equitrain.cli.terminal import echo
from aiida_equitrain.common.printable import printable


def show_result(node: Any) -> bool:
    """Print the table of results of a finished job, what it warns of, and whether it is good.

    :returns: whether there is one.
    """
    from aiida_equitrain.report.property_page import verdict_data
    from aiida_equitrain.report.results import WORSE, describe_result, warnings_of

    verdict = None
    try:
        text = describe_result(node)
        verdict = verdict_data(node) if text else None
    except (KeyError, TypeError, ValueError, AttributeError) as exception:
        # Somebody's archive may hold anything where our WorkChains have their results.
        text = f'its results are not of the form that aiida-equitrain gives them ({printable(exception)})'
    for line in text.splitlines():
        echo(line, lines=True, fg='red' if line.endswith(WORSE) else None)
    for warning in warnings_of(node):
        echo(f'  {warning}', fg='red')
    if verdict:
        show_verdict(verdict)
    return bool(text)


def show_verdict(verdict: Mapping[str, Any]) -> None:
    """Print whether the result is good by the stated rules, what is wrong, and what to do about it."""
    echo()
    echo(f'  {verdict["title"]}', fg={'good': 'green', 'bad': 'red'}.get(verdict['level']))
    for flag in verdict['flags']:
        is_red = flag['level'] == 'red'
        echo(f'  {"Wrong" if is_red else "To know"}: {flag["text"]}.', fg='red' if is_red else None)
        echo(f'    What to do: {flag["remedy"]}.')
