"""Calcfunctions of the labelling stage: thin wrappers of ``science``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida.engine import calcfunction
from aiida.orm import Dict, Float, Int, List, Str, StructureData, TrajectoryData
from ase import Atoms
from ase.units import GPa

from aiida_equitrain.calculations.functions.phonons import phonon_supercell_rows
from aiida_equitrain.common.names import Recipe, Role
from aiida_equitrain.common.phonon_settings import SYMPREC, shared
from aiida_equitrain.common.settings import Setting, with_defaults
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.science import harmonic_frames
from aiida_equitrain.science import selection as choose
from aiida_equitrain.science.frame_checks import check_labels, excited_states
from aiida_equitrain.science.frames import Frame, Frames
from aiida_equitrain.science.rattle import rattled_structures
from aiida_equitrain.science.supercells import make_supercell, supercell_rows

#: What relaxes the crystal before its supercell is displaced.
RELAXED_BY = ('dft', 'potential', 'none')
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
#: Keys of `harmonic` of the labelling.
HARMONIC = {
    'n_frames': Setting(2, 'frames; with `pairs` an even number', minimum=1),
    'displacement_angstrom': Setting(
        0.01, 'root mean square length of the displacements', minimum=0.0, exclusive=True, maximum=0.2
    ),
    'pairs': Setting(False, 'every second frame is the opposite of the one before it'),
    'relax': Setting(
        'dft',
        'what relaxes the crystal first: `dft` in its primitive cell, the `potential`, or `none`',
        choices=RELAXED_BY,
    ),
    **shared('min_length_angstrom'),
    'phonon_tolerance_thz': Setting(
        None,
        'frames are labelled after those `n_frames` until the mean error bar of the phonons, those of the foundation '
        'corrected by the labels, is not larger; null: no more than `n_frames`',
        float,
        minimum=0.0,
        exclusive=True,
    ),
    'max_frames': Setting(10, 'the budget of frames with `phonon_tolerance_thz`', minimum=1),
}
#: Names of the links to the structures, or to the outputs, of the frames of that row.
FRAME_LABEL, HARMONIC_LABEL = 'frame_{:03d}', 'harmonic_{:03d}'


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
def find_primitive(structure: StructureData, symprec: Float) -> StructureData:
    """Return the primitive cell of a crystal, neither turned nor moved."""
    return StructureData(ase=harmonic_frames.primitive_cell(structure.get_ase(), symprec.value))


@calcfunction
def in_given_cell(structure: StructureData, relaxed: StructureData, symprec: Float) -> StructureData:
    """Return a crystal in its cell as it was given, with lattice and positions of its relaxed primitive cell."""
    atoms = harmonic_frames.in_given_cell(structure.get_ase(), relaxed.get_ase(), symprec.value)
    node = structure.clone()
    node.reset_cell(atoms.cell[:].tolist())
    node.reset_sites_positions(atoms.positions.tolist())
    return node  # type: ignore[no-any-return]


def harmonic_supercell_rows(structure: StructureData, harmonic: Mapping[str, Any], symprec: float) -> list[list[int]]:
    """Return what :func:`find_phonon_supercell` stores: what `equitrain.phonons` chooses for this shortest edge."""
    known = with_defaults(harmonic, HARMONIC)
    return phonon_supercell_rows(structure, {'min_length_angstrom': known['min_length_angstrom']}, symprec)


@calcfunction
def find_phonon_supercell(structure: StructureData, harmonic: Dict, symprec: Float) -> List:
    """Return the matrix of the supercell that phonons have."""
    return List(harmonic_supercell_rows(structure, harmonic.get_dict(), symprec.value))


@calcfunction
def displace_structure(
    structure: StructureData, supercell_matrix: List, harmonic: Dict, seed: Int, n_frames: Int
) -> dict[str, TrajectoryData | StructureData]:
    """Return the supercell of the phonons with small displacements: all (``frames``) and one by one, to be labelled.

    Its atoms are in phonopy's order.

    :param n_frames: number of frames, which may be that of a budget.
    """
    known = with_defaults(dict(harmonic), HARMONIC)
    supercell = harmonic_frames.phonon_supercell(structure.get_ase(), supercell_matrix.get_list())
    displacements = harmonic_frames.random_displacements(
        len(supercell), n_frames.value, known['displacement_angstrom'], known['pairs'], seed.value
    )
    images = harmonic_frames.displaced_frames(supercell, displacements)
    results: dict[str, Any] = {'frames': trajectory_of(images, trajectory_index=[-1] * len(images))}
    for row, image in enumerate(images):
        results[HARMONIC_LABEL.format(row)] = StructureData(ase=image)
    return results


@calcfunction
def collect_dataset(
    selection: Dict, seed: Int, functional: Str, failures: Dict, **labels: Any
) -> dict[str, DatasetData | Dict]:
    """Return the dataset of the frames whose DFT succeeded, with their roles, and what was dropped.

    :param failures: why a frame failed, by its label.
    :param labels: ``output_trajectory`` of the frames by their labels; ``frames``, and those of the recipe `harmonic`
        (``harmonic_frames``); ``rattled`` (TrajectoryData of the rattled supercells, absent for a user's frames);
        ``parameters`` (Dict of one calculation, for the version of the code).
    """
    rattled, parameters = labels.pop('rattled', None), labels.pop('parameters', None)
    kinds = {'frame': labels.pop('frames', None), 'harmonic': labels.pop('harmonic_frames', None)}
    dropped = dict(failures)
    items: dict[str, Frame] = {}
    for label, output in sorted(labels.items()):
        kind, _, number = label.rpartition('_')
        frames, row = kinds[kind], int(number)
        frame = labelled_frame(frames, row, output, int(frames.get_array('trajectory_index')[row]))
        frame.recipe = Recipe.HARMONIC.value if kind == 'harmonic' else Recipe.PAPER.value if rattled else ''
        numbers: list[Any] = [frame.energy, frame.forces] + ([] if frame.stress is None else [frame.stress])
        if all(np.isfinite(number).all() for number in numbers):
            problem = check_labels(frame)
        else:
            problem = 'energy, forces or stress are not finite'
        if problem:
            dropped[label] = problem
        else:
            items[label] = frame
    # A user's own frames may be of anything; those of a recipe are near a crystal, and share their k-points.
    for recipe in Recipe:
        names = [label for label, frame in items.items() if frame.recipe == recipe.value]
        for index, problem in excited_states([items[name] for name in names]).items():
            dropped[names[index]] = problem
            del items[names[index]]
    results: dict[str, Any] = {
        'dropped': Dict({'frames': dropped, 'n_dropped': len(dropped), 'n_labelled': len(items)})
    }
    if items:
        frames = list(items.values())
        _give_roles(frames, with_defaults(dict(selection), SELECTION), rattled, seed.value)
        code = f'Quantum ESPRESSO {parameters["creator_version"]}' if parameters is not None else ''
        results['dataset'] = DatasetData(Frames(frames), functional=functional.value, code=code)
    return results


@calcfunction
def gather_label_rounds(reason: Str, **corrections: Dict) -> Dict:
    """Return the ``rounds`` of labels for phonons, and the ``reason`` of the end.

    :param corrections: output ``correction`` of `equitrain.correct` by ``correction_<round>``, counted from 0.
    """
    keys = ('n_frames', 'uncertainty_thz', 'largest_uncertainty_thz', 'change_thz', 'is_corrected', 'verdict')
    names = sorted(corrections, key=lambda name: int(name.rpartition('_')[2]))
    return Dict({'rounds': [{key: corrections[name][key] for key in keys} for name in names], 'reason': reason.value})


def _give_roles(items: list[Frame], selection: Mapping[str, Any], rattled: Any, seed: int) -> None:
    """Give each frame its role; where there are rattled ones, these validate, and all those for phonons train."""
    split = [item for item in items if item.recipe == Recipe.PAPER.value] or items
    if split[0].recipe == Recipe.PAPER.value:
        parents, changes = [item.trajectory for item in split], rattled.get_array('volume_change').tolist()
        roles = choose.split_roles(parents, changes, selection['n_train'], seed)
    else:
        roles = choose.split_random(len(split), selection['valid_fraction'], selection['n_train'], seed)
    for item in items:
        item.role = Role.TRAIN.value
    for item, role in zip(split, roles, strict=True):
        item.role = role


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
