"""Calcfunctions of the labelling stage: thin wrappers of ``science``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida.engine import calcfunction
from aiida.orm import Dict, Float, Int, List, Str, StructureData, TrajectoryData
from ase import Atoms
from ase.units import GPa

from aiida_equitrain.common.phonon_settings import SYMPREC
from aiida_equitrain.common.settings import Setting, with_defaults
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.science import selection as choose
from aiida_equitrain.science.frame_checks import check_labels
from aiida_equitrain.science.frames import Frame, Frames
from aiida_equitrain.science.rattle import rattled_structures
from aiida_equitrain.science.supercells import make_supercell, supercell_rows

#: Keys of `rattle` of the labelling.
RATTLE = {
    'displacement_angstrom': Setting(0.1, 'root mean square length of the displacements', minimum=0.0, maximum=1.0),
    'strain': Setting(0.02, 'largest relative change of lattice vectors and angles', minimum=0.0, maximum=0.2),
    'volume_changes': Setting(
        [-0.05, -0.025, 0.0, 0.025, 0.05],
        'relative volume change of each supercell; the one nearest to 0 validates',
    ),
    'min_length_angstrom': Setting(
        10.0, 'shortest edge of the supercell, unless `supercell_matrix` is given', minimum=0.0, exclusive=True
    ),
    'max_length_angstrom': Setting(15.0, 'longest edge where possible', minimum=0.0, exclusive=True),
}
#: Keys of `selection` of the labelling.
SELECTION = {
    'frames_per_trajectory': Setting(4, 'frames from each trajectory, equally spaced in energy', minimum=1),
    'energy_fraction': Setting(
        0.9, 'where on the way to convergence the last of them lies', minimum=0.0, exclusive=True, maximum=1.0
    ),
    'n_train': Setting(None, 'training frames, drawn at random; null: all but those that validate', int, minimum=1),
    'valid_fraction': Setting(
        0.2, "part that validates, of a user's own frames only", minimum=0.0, exclusive=True, maximum=1.0
    ),
}
#: Name of the link to the structure, or to the outputs, of the frame of that row.
FRAME_LABEL = 'frame_{:03d}'


def trajectory_of(images: list[Atoms], **arrays: Any) -> TrajectoryData:
    """Return structures of the same atoms as a node, with further arrays of one row per structure."""
    node = TrajectoryData()
    node.set_trajectory(
        symbols=[str(symbol) for symbol in images[0].symbols],
        positions=np.array([image.positions for image in images]),
        cells=np.array([image.cell[:] for image in images]),
        stepids=np.arange(len(images)),
        pbc=(True, True, True),
    )
    for name, values in arrays.items():
        node.set_array(name, np.asarray(values))
    return node


def label_supercell_rows(
    structure: StructureData, rattle: Mapping[str, Any], symprec: float = SYMPREC
) -> list[list[int]]:
    """Return what :func:`find_supercell_matrix` stores."""
    known = with_defaults(rattle, RATTLE)
    lengths = known['min_length_angstrom'], known['max_length_angstrom']
    return supercell_rows(structure.get_ase(), *lengths, symprec=symprec)


@calcfunction
def find_supercell_matrix(structure: StructureData, rattle: Dict, symprec: Float) -> List:
    """Return the matrix of the nearly cubic supercell."""
    return List(label_supercell_rows(structure, rattle.get_dict(), symprec.value))


@calcfunction
def rattle_structure(
    structure: StructureData, supercell_matrix: List, rattle: Dict, seed: Int
) -> dict[str, TrajectoryData]:
    """Return one rattled, strained, volume-scaled supercell per volume (``frames``)."""
    supercell = make_supercell(structure.get_ase(), supercell_matrix.get_list())
    known = with_defaults(dict(rattle), RATTLE)
    changes = known['volume_changes']
    images = rattled_structures(supercell, changes, known['displacement_angstrom'], known['strain'], seed.value)
    return {'frames': trajectory_of(images, volume_change=changes)}


@calcfunction
def select_frames(trajectory: TrajectoryData, selection: Dict) -> dict[str, TrajectoryData | StructureData]:
    """Return the frames chosen from relaxation trajectories: together (``frames``) and one by one, to be labelled."""
    index, known = trajectory.get_array('trajectory_index'), with_defaults(dict(selection), SELECTION)
    rows = choose.select_frames(
        trajectory.get_array('energies'), index, known['frames_per_trajectory'], known['energy_fraction']
    )
    return _frames_and_structures(trajectory, rows, trajectory_index=index[rows], trajectory_row=np.array(rows))


@calcfunction
def take_frames(frames: TrajectoryData) -> dict[str, TrajectoryData | StructureData]:
    """Return all of a user's frames: together (``frames``) and one by one, to be labelled."""
    size = len(frames.get_positions())
    parents = frames.get_array('trajectory_index') if 'trajectory_index' in frames.get_arraynames() else [-1] * size
    return _frames_and_structures(frames, list(range(size)), trajectory_index=np.array(parents))


@calcfunction
def collect_dataset(
    frames: TrajectoryData, selection: Dict, seed: Int, functional: Str, failures: Dict, **labels: Any
) -> dict[str, DatasetData | Dict]:
    """Return the dataset of the frames whose DFT succeeded, with their roles, and what was dropped.

    :param failures: why a frame failed, by its label.
    :param labels: ``output_trajectory`` of the frames by their labels; ``rattled`` (TrajectoryData of the rattled
        supercells, absent for a user's frames); ``parameters`` (Dict of one calculation, for the version of the code).
    """
    rattled, parameters = labels.pop('rattled', None), labels.pop('parameters', None)
    parents = frames.get_array('trajectory_index')
    dropped = dict(failures)
    items = []
    for label, output in sorted(labels.items()):
        row = int(label.rpartition('_')[2])
        frame = labelled_frame(frames, row, output, int(parents[row]))
        numbers: list[Any] = [frame.energy, frame.forces] + ([] if frame.stress is None else [frame.stress])
        if all(np.isfinite(number).all() for number in numbers):
            problem = check_labels(frame)
        else:
            problem = 'energy, forces or stress are not finite'
        if problem:
            dropped[label] = problem
        else:
            items.append(frame)
    results: dict[str, Any] = {
        'dropped': Dict({'frames': dropped, 'n_dropped': len(dropped), 'n_labelled': len(items)})
    }
    if items:
        known, kept = with_defaults(dict(selection), SELECTION), [item.trajectory for item in items]
        if rattled is not None:
            changes = rattled.get_array('volume_change').tolist()
            roles = choose.split_roles(kept, changes, known['n_train'], seed.value)
        else:
            roles = choose.split_random(len(items), known['valid_fraction'], known['n_train'], seed.value)
        for item, role in zip(items, roles, strict=True):
            item.role = role
        code = f'Quantum ESPRESSO {parameters["creator_version"]}' if parameters is not None else ''
        results['dataset'] = DatasetData(Frames(items), functional=functional.value, code=code)
    return results


def labelled_frame(frames: TrajectoryData, row: int, output: TrajectoryData, parent: int) -> Frame:
    """Return a frame with the labels of a pw.x calculation.

    Quantum ESPRESSO writes the pressure tensor, positive under compression; here a stress is positive under tension.
    aiida-quantumespresso gives it in GPa.
    """
    names = output.get_arraynames()
    stress = -output.get_array('stress')[-1] * GPa if 'stress' in names else None
    numbers = Atoms(symbols=frames.symbols).numbers
    return Frame(
        numbers=np.asarray(numbers, dtype=np.int64),
        positions=frames.get_positions()[row],
        cell=frames.get_array('cells')[row],
        energy=float(output.get_array('energy')[-1]),
        forces=output.get_array('forces')[-1],
        stress=stress,
        trajectory=parent,
        source=output.creator.uuid if output.creator is not None else '',
    )


def _frames_and_structures(node: TrajectoryData, rows: list[int], **arrays: Any) -> dict[str, Any]:
    """Return rows of a trajectory as a node of their own and as one structure each."""
    positions, cells = node.get_positions()[rows], node.get_array('cells')[rows]
    images = [
        Atoms(symbols=node.symbols, positions=position, cell=cell, pbc=True)
        for position, cell in zip(positions, cells, strict=True)
    ]
    results: dict[str, Any] = {'frames': trajectory_of(images, **arrays)}
    for row, image in enumerate(images):
        results[FRAME_LABEL.format(row)] = StructureData(ase=image)
    return results
