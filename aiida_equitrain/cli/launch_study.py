"""``aiida-equitrain launch study``: many crystals, one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from aiida_equitrain.cli.examples import examples
from aiida_equitrain.cli.launch_idle import OF_DFT, refuse_given
from aiida_equitrain.cli.launch_options import (
    STRATEGIES,
    codes,
    common,
    dft_inputs,
    foundation_of,
    go,
    options,
    postprocess,
)
from aiida_equitrain.cli.profile import with_profile


def numbers(_ctx: Any, _param: Any, value: str | None) -> list[int] | None:
    """Return a comma-separated list of whole numbers, of the range that generators of random numbers take."""
    try:
        found = None if value is None else [int(item) for item in value.split(',')]
    except ValueError as error:
        raise click.BadParameter('give whole numbers with commas, such as 5,10') from error
    if any(not 0 <= item < 2**32 for item in found or []):
        raise click.BadParameter(f'the numbers have to lie between 0 and {2**32 - 1}')
    return found


def names(_ctx: Any, _param: Any, value: str) -> list[str]:
    """Return a comma-separated list of strategies."""
    found = [item.strip() for item in value.split(',')]
    unknown = [item for item in found if item not in STRATEGIES]
    if unknown:
        raise click.BadParameter(f'`{unknown[0]}` is none of {", ".join(STRATEGIES)}')
    return found


def pairs(_ctx: Any, _param: Any, value: Sequence[str]) -> dict[str, str]:
    """Return ``NAME=PK`` as a dictionary."""
    if not all('=' in item for item in value):
        raise click.BadParameter('give NAME=PK, with the name of the crystal')
    return dict(item.split('=', 1) for item in value)


@click.command(
    'study', epilog=examples('launch study crystals/ --strategies l2-tsp,transfer --sizes 5,10 --report report/')
)
@click.argument('sources', nargs=-1, required=True)
@click.option('--strategies', callback=names, default='l2-tsp', show_default=True, help='With commas between.')
@click.option('--sizes', callback=numbers, help='Numbers of training frames.  [default: that of the protocol]')
@click.option('--seeds', callback=numbers, help='Each draws its own frames.  [default: those of the protocol]')
@click.option('--dft/--no-dft', default=True, show_default=True, help='DFT phonons where none are given.')
@click.option('--dataset', 'datasets', callback=pairs, multiple=True, metavar='NAME=PK', help='Labelled frames.')
@click.option('--reference', 'references', callback=pairs, multiple=True, metavar='NAME=PK', help='DFT phonons.')
@click.option(
    '--reference-phases',
    callback=pairs,
    multiple=True,
    metavar='NAME=PK',
    help='Phases of DFT: what `launch instability --dft-phases` found. With `--instability`.',
)
@click.option('--instability', is_flag=True, help='Follow imaginary modes of the fine-tuned potentials to new phases.')
@click.option('--max-concurrent', type=click.IntRange(min=1), help='WorkChains at a time.')
@options(
    'symprec', 'training_protocol', 'replay', 'metal', 'overrides', 'report', 'label', 'submit', 'foundation', 'family',
    'python', 'pw', 'phonopy', 'postprocess',
)  # fmt: skip
@with_profile
def cmd_study(
    sources: tuple[str, ...],
    datasets: dict[str, str],
    references: dict[str, str],
    reference_phases: dict[str, str],
    report: Path | None,
    submit: bool,
    **chosen: Any,
) -> None:
    """Study many crystals with several strategies and numbers of frames, in one table.

    SOURCES are folders of CIF files, structure files, labels of groups, or PKs. Datasets, phonons, and
    searches for phases by DFT in a group go with the structure of the same label; `aiida-equitrain data import` stores
    data so with `--group LABEL`.
    """

    def build() -> Any:
        return study_builder(sources, datasets, references, reference_phases, chosen)

    go(build, submit, report, chosen['label'])


def study_builder(
    sources: Sequence[str],
    datasets: dict[str, str],
    references: dict[str, str],
    reference_phases: dict[str, str],
    chosen: dict[str, Any],
) -> Any:
    """Return the builder of a study from the options of the command."""
    from aiida_equitrain.launch import nodes
    from aiida_equitrain.launch.study_sources import gather
    from aiida_equitrain.workflows.study.workchain import StudyWorkChain

    found, foundation = gather(sources), foundation_of(chosen)
    found.datasets |= {name: nodes.load_dataset(pk) for name, pk in datasets.items()}
    found.references |= {name: nodes.load_phonons(pk) for name, pk in references.items()}
    found.reference_phases |= {name: nodes.load_phases(pk) for name, pk in reference_phases.items()}
    without = chosen['dft'] and set(found.structures) - set(found.references)
    needs_dft = bool(without or set(found.structures) - set(found.datasets))
    if not needs_dft:
        refuse_given(*OF_DFT, why='as all crystals have labels, and phonons of DFT or `--no-dft`: leave it out')
    inputs = common(chosen, 'material')
    if chosen['max_concurrent'] is not None:
        inputs['overrides'] = {**(inputs['overrides'] or {}), 'max_concurrent': chosen['max_concurrent']}
    return StudyWorkChain.get_builder_from_protocol(
        found.structures,
        foundation,
        datasets=found.datasets,
        references=found.references,
        reference_phases=found.reference_phases,
        dft=chosen['dft'],
        instability=chosen['instability'],
        strategies=chosen['strategies'],
        sizes=chosen['sizes'],
        seeds=chosen['seeds'],
        replay=None if chosen['replay'] is None else nodes.load_replay(chosen['replay']),
        forgetting_dataset=nodes.forgetting_dataset(),
        **codes(chosen, 'python', 'phonopy', *(['pw'] if needs_dft else []), potential=foundation),
        **postprocess(chosen, foundation),
        **(dft_inputs(chosen) if needs_dft else {}),
        **inputs,
    )
