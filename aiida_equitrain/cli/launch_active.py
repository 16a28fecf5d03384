"""``aiida-equitrain launch active-learning``: frames that are worth a label."""

from __future__ import annotations

from typing import Any

import click

from aiida_equitrain.cli.examples import examples
from aiida_equitrain.cli.launch_idle import OF_DFT, refuse_given
from aiida_equitrain.cli.launch_options import codes, common, dft_inputs, foundation_of, go, options
from aiida_equitrain.cli.profile import with_profile


@click.command('active-learning', epilog=examples('launch active-learning Si.cif 88 --protocol fast'))
@click.argument('structure')
@click.argument('pool', metavar='POOL')
@click.option('--dataset', metavar='PK', help='Labelled frames to start from; for a pool without labels.')
@click.option('--reference', metavar='PK', help='DFT phonons (PhonopyData): the error of each round is reported.')
@options(
    'block',
    'symprec',
    'protocol',
    'strategy',
    'metal',
    'seed',
    'overrides',
    'label',
    'submit',
    'foundation',
    'family',
    'python',
    'pw',
    'phonopy',
)
@with_profile
def cmd_active_learning(
    structure: str, pool: str, dataset: str | None, reference: str | None, submit: bool, **chosen: Any
) -> None:
    """Choose frames on which a committee disagrees, label them, and train again, until the phonons stand still.

    STRUCTURE is a file or the PK of a StructureData; POOL the PK of a DatasetData, whose labels are looked at only once
    a frame is chosen, or of a TrajectoryData, which pw.x labels.
    """

    def build() -> Any:
        from aiida_equitrain.data.dataset import DatasetData
        from aiida_equitrain.launch import nodes
        from aiida_equitrain.workflows.active_learning.workchain import ActiveLearningWorkChain

        crystal = nodes.load_structure(structure, chosen['block'])
        foundation, frames = foundation_of(chosen), nodes.load_replay(pool)
        needs_dft = not isinstance(frames, DatasetData)
        if not needs_dft:
            refuse_given(*OF_DFT, why='with a POOL that is labelled already: leave it out')
        return ActiveLearningWorkChain.get_builder_from_protocol(
            crystal,
            foundation,
            frames,
            dataset=None if dataset is None else nodes.load_dataset(dataset),
            reference=None if reference is None else nodes.load_phonons(reference),
            strategy=chosen['strategy'],
            seed=chosen['seed'],
            **codes(chosen, 'python', 'phonopy', *(['pw'] if needs_dft else []), potential=foundation),
            **(dft_inputs(chosen) if needs_dft else {}),
            **common(chosen, 'phonons'),
        )

    go(build, submit, None, chosen['label'])
