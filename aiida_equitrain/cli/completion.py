"""What the Tab key of a shell offers: codes, potentials, datasets and jobs of the profile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import click
from click.shell_completion import CompletionItem

#: So many are offered of what begins as was typed, the newest ones.
OFFERED = 50

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
Pairs = Iterable[tuple[str, str]]


def _completer(find: Callable[[str], Pairs]) -> Complete:
    """Return what offers the pairs of a value and what it is that begin as was typed; nothing without a profile.

    :param find: is told what was typed, and may leave out what begins otherwise.
    """

    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from aiida_equitrain.cli.profile import load_profile

        try:
            load_profile(ctx.find_root().params.get('profile'))
            known = (
                CompletionItem(value, help=text) for value, text in find(incomplete) if value.startswith(incomplete)
            )
            return list(islice(known, OFFERED))
        except Exception:
            # A message would stand between the words that somebody is typing.
            return []

    return complete


def _codes(_: str) -> Pairs:
    from aiida import orm

    query = orm.QueryBuilder().append(orm.Computer, tag='computer', project='label')
    query.append(orm.AbstractCode, with_computer='computer', project=['label', 'attributes.input_plugin'])
    return sorted({(f'{label}@{computer}', plugin or '') for computer, label, plugin in query.all()})


def _potentials(_: str) -> Pairs:
    from aiida import orm

    from aiida_equitrain.data.potential import PotentialData

    query = orm.QueryBuilder().append(
        PotentialData, tag='node', project=['id', 'label', 'attributes.card.name', 'attributes.family']
    )
    for pk, label, name, family in query.order_by({'node': {'id': 'desc'}}).all():
        text = f'{name or ""} ({family})'.strip()
        if label and ' ' not in label:
            yield label, text
        yield str(pk), text


def _datasets(_: str) -> Pairs:
    from aiida import orm

    from aiida_equitrain.data.dataset import DatasetData

    query = orm.QueryBuilder().append(
        DatasetData, tag='node', project=['id', 'attributes.n_frames', 'attributes.formulas']
    )
    for pk, n_frames, formulas in query.order_by({'node': {'id': 'desc'}}).all():
        yield str(pk), f'{n_frames} frames of {" ".join(formulas[:4])}'


def _phonons(_: str) -> Pairs:
    from aiida import orm
    from aiida_phonopy.data.phonopy import PhonopyData

    query = orm.QueryBuilder().append(PhonopyData, tag='node', project=['id', 'label'])
    for pk, label in query.order_by({'node': {'id': 'desc'}}).all():
        yield str(pk), label or 'phonons'


def _jobs(incomplete: str) -> Pairs:
    from aiida_equitrain.query import jobs

    for row in jobs(begins=incomplete, limit=OFFERED).itertuples():
        yield str(row.pk), f'{row.kind} {row.label or row.material or ""}, {row.state}'


def _nodes(incomplete: str) -> Pairs:
    found = [pair for find in (_jobs, _potentials, _datasets, _phonons) for pair in find(incomplete)]
    yield from sorted(found, key=lambda pair: -int(pair[0]) if pair[0].isdigit() else 0)


CODES, POTENTIALS, DATASETS = _completer(_codes), _completer(_potentials), _completer(_datasets)
PHONONS, JOBS, NODES = _completer(_phonons), _completer(_jobs), _completer(_nodes)


def crystals(_ctx: click.Context, _param: Any, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete names of files."""
    return [CompletionItem(incomplete, type='file')]
