"""Options that somebody gave, but that another one leaves without an effect: they are refused, not ignored."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import click

from aiida_equitrain.cli.launch_options import NO_STRATEGY

#: What only DFT looks at.
OF_DFT = ('metal', 'family', 'pw')


class Idle(NamedTuple):
    """Options without an effect.

    :param names: of their parameters.
    :param when: whether they have none, from all parameters of the command.
    :param why: what leaves them without one, and the remedy: the rest of a sentence.
    """

    names: tuple[str, ...]
    when: Callable[[Mapping[str, Any]], Any]
    why: str


#: Nothing runs.
DRY = Idle(
    ('submit',), lambda given: given['dry_run'], 'with `--dry-run`, which submits nothing: leave one of them out'
)
#: Nothing computes Born charges.
NO_BORN_CHARGES = Idle(('ph',), lambda given: not given['born_charges'], 'without `--born-charges`: add that')
#: Born charges are those of insulators.
OF_METALS = Idle(
    ('born_charges', 'nac'),
    lambda given: given['metal'],
    'with `--metal`, as metals have no Born charges: leave one of them out',
)
#: They are computed, or given.
TWO_NAC = Idle(
    ('nac',), lambda given: given['born_charges'], 'with `--born-charges`, which computes them: leave one of them out'
)


def no_potential(flag: str) -> Idle:
    """Return what a flag by which DFT does all leaves without an effect."""
    option = flag.replace('_', '-')
    return Idle(
        ('foundation',),
        lambda given: given[flag],
        f'with `--{option}`, where no potential is asked: leave one of them out',
    )


def without_dft(given: Mapping[str, Any]) -> bool:
    """Return whether a main job computes nothing with DFT."""
    return not (given['dataset'] is None or (given['dft'] and given['reference'] is None) or given['born_charges'])


#: Options of each command that another leaves without an effect.
IDLE = {
    'material': (
        DRY,
        NO_BORN_CHARGES,
        TWO_NAC,
        OF_METALS,
        Idle(
            OF_DFT,
            without_dft,
            'as nothing is computed with DFT (`--dataset`, and `--reference` or `--no-dft`): leave it out',
        ),
        Idle(
            ('recipe',),
            lambda given: given['dataset'] is not None,
            'with `--dataset`, whose frames are labelled already: leave one of them out',
        ),
        Idle(
            ('engine', 'replay'),
            lambda given: given['strategy'] == NO_STRATEGY,
            'with `--strategy none`, which trains nothing: leave it out, or choose a strategy that trains',
        ),
        Idle(
            ('seed',),
            lambda given: given['strategy'] == NO_STRATEGY and given['dataset'] is not None,
            'with `--strategy none` and `--dataset`, as nothing is drawn: leave it out',
        ),
        Idle(
            ('dft',),
            lambda given: given['reference'] is not None and not given['dft'],
            'with `--reference`, whose DFT phonons judge the result: leave one of them out',
        ),
    ),
    'label': (DRY,),
    'phonons': (
        NO_BORN_CHARGES,
        TWO_NAC,
        Idle(
            ('labels',),
            lambda given: given['dft'],
            'with `--dft`, as labels correct the phonons of a potential: leave one of them out',
        ),
        no_potential('dft'),
        Idle(
            ('family', 'pw'),
            lambda given: not given['dft'] and not given['born_charges'],
            'with phonons of a potential: leave it out, or add `--dft`',
        ),
        Idle(('metal',), lambda given: not given['dft'], 'with phonons of a potential: leave it out, or add `--dft`'),
        OF_METALS,
    ),
    'instability': (
        no_potential('dft_phases'),
        Idle(
            ('dft',),
            lambda given: given['dft_phases'],
            'with `--dft-phases`, which scans with DFT alone: leave one of them out',
        ),
        Idle(
            OF_DFT,
            lambda given: not (given['dft'] or given['dft_phases']),
            'without DFT: leave it out, or add `--dft` or `--dft-phases`',
        ),
    ),
}


def refuse_idle(*rows: Idle) -> Callable[[Any], Any]:
    """Return a decorator that refuses options before the command does anything; defaults do not count."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            for row in rows:
                if row.when(kwargs):
                    refuse_given(*row.names, why=row.why)
            return function(*args, **kwargs)

        return wrapper

    return decorate


def refuse_given(*names: str, why: str) -> None:
    """Refuse the options of these parameters, where they are given.

    :raises click.UsageError: with the sentence.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or '')
        if parameter.name in names and source not in (None, click.core.ParameterSource.DEFAULT):
            is_off = context.params.get(parameter.name) is False
            option = (parameter.secondary_opts if is_off else parameter.opts)[0]
            raise click.UsageError(f'`{option}` has no effect {why}')
