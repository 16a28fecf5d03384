"""Calculation functions of active learning: which frames of a pool are chosen, and the dataset with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_equitrain.calculations.functions.label import trajectory_of
from aiida_equitrain.common.names import Role
from aiida_equitrain.common.settings import Setting, with_defaults
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.science.committee import committee_spread

#: Members whose forces differ by less (eV/Å) are one potential: where all frames are one batch, a seed changes nothing.
AGREEMENT_EV_PER_ANGSTROM = 1e-5
#: Keys of the ``settings`` of ``ActiveLearningWorkChain``.
ACTIVE_SETTINGS = {
    'n_start': Setting(4, 'training frames of the first round, drawn at random', minimum=1),
    'n_per_round': Setting(2, 'frames that are chosen in a round', minimum=1),
    'max_train': Setting(10, 'training frames at which it ends: the budget of labels', minimum=1),
    'phonon_tolerance_thz': Setting(
        0.02, 'it ends when the phonons move less from round to round (mean over the Brillouin zone)', minimum=0.0
    ),
}


@calcfunction
def start_pool(pool: DatasetData, settings: orm.Dict, seed: orm.Int) -> dict[str, orm.Data]:
    """Return the dataset of the first round, and the ``rows`` of the pool that are left.

    Frames of the pool with the role ``train`` may be chosen; those that validate or test are part of each dataset.
    """
    frames = list(pool.get_frames())
    candidates = [row for row, frame in enumerate(frames) if frame.role == Role.TRAIN.value]
    n_start = with_defaults(settings.get_dict(), ACTIVE_SETTINGS)['n_start']
    chosen = set(np.random.default_rng(seed.value).permutation(candidates)[:n_start].tolist())
    kept = [frame for row, frame in enumerate(frames) if row in chosen or frame.role != Role.TRAIN.value]
    return {'dataset': pool.with_frames(kept), 'rows': orm.List([row for row in candidates if row not in chosen])}


@calcfunction
def pool_frames(pool: DatasetData | orm.TrajectoryData, rows: orm.List) -> orm.TrajectoryData:
    """Return frames of the pool without their labels, for the committee to look at."""
    chosen = rows.get_list()
    if isinstance(pool, DatasetData):
        frames = pool.get_frames()
        return trajectory_of([_bare(frames[row]) for row in chosen])
    images = [pool.get_step_structure(row).get_ase() for row in chosen]
    return trajectory_of(images)


@calcfunction
def choose_disputed(rows: orm.List, n_frames: orm.Int, **members: orm.ArrayData) -> dict[str, orm.Data]:
    """Return the ``chosen`` rows, on which the forces of the members differ most, and those that are ``left``.

    :param members: output ``forces`` of each member for the frames of ``rows``.
    :returns: also ``spread``: largest and mean spread of the forces over the frames, eV/Å.
    """
    forces = np.array([members[name].get_array('forces') for name in sorted(members)])
    energies = np.array([members[name].get_array('energies') for name in sorted(members)])
    n_members, n_rows, n_atoms = forces.shape[:3]
    index = np.repeat(np.arange(n_rows), n_atoms)
    spread = committee_spread(energies, forces.reshape(n_members, -1, 3), index).forces_spread
    order = np.argsort(-spread, kind='stable')[: n_frames.value]
    listed = rows.get_list()
    chosen = [listed[place] for place in order]
    return {
        'chosen': orm.List(chosen),
        'left': orm.List([row for row in listed if row not in chosen]),
        'spread': orm.Dict(
            {'max_ev_per_angstrom': float(spread.max()), 'mean_ev_per_angstrom': float(spread.mean()),
             'chosen_ev_per_angstrom': [float(spread[place]) for place in order]}
        ),
    }  # fmt: skip


@calcfunction
def reveal_labels(dataset: DatasetData, pool: DatasetData, chosen: orm.List) -> DatasetData:
    """Return the dataset with chosen frames of a pool whose labels are known."""
    frames = pool.get_frames()
    return dataset.with_frames([*dataset.get_frames(), *(frames[row] for row in chosen.get_list())])


@calcfunction
def add_labelled(dataset: DatasetData, labelled: DatasetData) -> DatasetData:
    """Return the dataset with frames that were labelled for it, all of them for training."""
    added = [replace(frame, role=Role.TRAIN.value, trajectory=-1) for frame in labelled.get_frames()]
    return dataset.with_frames([*dataset.get_frames(), *added])


@calcfunction
def gather_rounds(reason: orm.Str, **told: Any) -> orm.Dict:
    """Return the ``rounds`` and the ``reason`` of the end.

    :param told: see :func:`rounds_of`.
    """
    return orm.Dict({'rounds': rounds_of(told), 'reason': reason.value})


def rounds_of(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what is known of each round.

    :param told: by their round, counted from 0: ``dataset_<n>`` that was trained on, the comparisons of the phonons
        with those of the round before (``change_<n>``) and with DFT (``error_<n>``), ``spread_<n>`` over the pool and
        the rows ``chosen_<n>`` of it.
    """
    rounds = []
    for index in range(sum(name.startswith('dataset_') for name in told)):
        item: dict[str, Any] = {'n_train': told[f'dataset_{index}'].counts[Role.TRAIN.value]}
        for name in ('change', 'error'):
            node = told.get(f'{name}_{index}')
            item[f'{name}_thz'] = None if node is None else node['candidates']['present']['phonon_mae_thz']
        if f'chosen_{index}' in told:
            item |= {'spread': told[f'spread_{index}'].get_dict(), 'chosen': told[f'chosen_{index}'].get_list()}
        rounds.append(item)
    return rounds


def _bare(frame: Any) -> Any:
    """Return the atoms of a frame without its labels."""
    from ase import Atoms

    return Atoms(numbers=frame.numbers, positions=frame.positions, cell=frame.cell, pbc=True)
