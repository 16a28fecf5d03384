"""What a job would compute with DFT, and what that costs, before anything is submitted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from aiida.engine import ProcessBuilder
from aiida.orm import Bool, StructureData
from aiida_quantumespresso.calculations.functions.create_kpoints_from_distance import create_kpoints_from_distance
from ase import Atoms
from phonopy import Phonopy

from aiida_equitrain.calculations.functions.label import HARMONIC, RATTLE, SELECTION
from aiida_equitrain.calculations.functions.phonons import phonon_supercell_rows
from aiida_equitrain.common.formatting import formula, number
from aiida_equitrain.common.names import Recipe
from aiida_equitrain.common.phonon_settings import SYMPREC
from aiida_equitrain.common.settings import with_defaults
from aiida_equitrain.science import dft_cost
from aiida_equitrain.science.correction import count_frames_needed, make_basis
from aiida_equitrain.science.displaced_frames import displaced_phonon
from aiida_equitrain.science.harmonic_frames import primitive_cell
from aiida_equitrain.science.phonopy_cells import to_ase, to_phonopy
from aiida_equitrain.science.phonopy_io import make_phonon
from aiida_equitrain.science.rattle import rattled_structures
from aiida_equitrain.science.supercells import make_supercell
from aiida_equitrain.workflows.label.checks import phonon_supercell_matrix, supercell_matrix

#: Atoms of a supercell whose force constants are counted within seconds.
SMALL = 200


def plan(builder: ProcessBuilder, tell: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Return what a main job or a labelling would compute with DFT.

    The crystal is taken as it was given: a relaxation changes its lattice, not the numbers.

    :param builder: of `equitrain.material` or `equitrain.label`.
    :param tell: takes a line before what takes long.
    :returns: ``structure``; ``labels``, by recipe, ``dft_phonons``, and the scf of ``born_charges`` (see
        :func:`_stage`); ``relaxations``, each with its ``port``, ``n_atoms`` and ``core_seconds``; ``force_constants``
        of the supercell of the phonons: ``n_atoms``, the independent ``n_constants`` (``None`` if there are too many),
        ``n_frames_that_determine`` them without a potential, ``n_finite_displacements`` that DFT needs instead;
        ``label_core_seconds`` and ``displacement_core_seconds``, what all labels, and what all finite displacements
        cost: with the DFT of the phonons, or that of the labels where none are computed.
    :raises ValueError: with the sentence with which the job would be refused.
    """
    inputs = builder._inputs(prune=True)
    ports: Any = builder.process_class.spec().inputs
    error = ports.validate(ports.pre_process(inputs))
    if error is not None:
        raise ValueError(str(error))
    is_main_job = 'label' in inputs or 'phonons' in inputs
    label = {**inputs, **inputs.get('label', {})} if is_main_job else inputs
    symprec = (inputs.get('phonons', {}) if is_main_job else inputs).get('symprec')
    tolerance = SYMPREC if symprec is None else float(symprec.value)
    structure = inputs['structure']
    matrix, settings = phonon_cell(inputs, is_main_job), dict(inputs.get('phonons', {}).get('settings', {}))
    if matrix is None:
        matrix = phonon_supercell_rows(structure, settings, tolerance)
    n_atoms = len(structure.sites) * abs(round(float(np.linalg.det(matrix))))
    if tell is not None and n_atoms > SMALL:
        tell(f'Counting displacements and force constants of the supercell of {n_atoms} atoms, about a minute ...')
    phonon = phonon_of(structure.get_ase(), matrix, tolerance)
    found: dict[str, Any] = {
        'structure': formula(structure.get_formula()),
        'n_atoms': len(structure.sites),
        'labels': {},
    }
    found['relaxations'], displaced = [], displaced_supercells(phonon)
    if 'pw' in label:
        found['labels'] = plan_labels(structure, label, phonon, tolerance)
    if inputs.get('dft_phonons'):
        found['dft_phonons'] = _stage(inputs['dft_phonons']['pw'], displaced)
    if inputs.get('born_charges'):
        found['born_charges'] = _stage(inputs['born_charges']['scf'], [primitive_cell(structure.get_ase(), tolerance)])
    for port, stage in (('relax_dft', label.get('relax_dft')), ('relax', inputs.get('dft_phonons', {}).get('relax'))):
        if stage:
            atoms = primitive_cell(structure.get_ase(), tolerance) if port == 'relax_dft' else structure.get_ase()
            one = _stage(stage['base_relax'], [atoms])
            seconds = dft_cost.RELAX_STEPS * one['core_seconds']
            found['relaxations'].append(
                {**one, 'port': port, 'n_structures': dft_cost.RELAX_STEPS, 'core_seconds': seconds}
            )
    found['force_constants'] = count_constants(phonon, displaced)
    pw = inputs.get('dft_phonons', {}).get('pw') or label.get('pw')
    found['label_core_seconds'] = sum(stage['core_seconds'] for stage in found['labels'].values())
    found['displacement_core_seconds'] = _stage(pw, displaced)['core_seconds'] if pw else None
    return found


def phonon_cell(inputs: Mapping[str, Any], is_main_job: bool) -> Any:
    """Return the matrix of the supercell of the phonons that inputs give, ``None`` if that follows from settings."""
    if is_main_job:
        given = inputs.get('supercell_matrix')
        return None if given is None else given.get_list()
    tolerance = float(inputs['symprec'].value)
    harmonic = dict(inputs['harmonic']) if 'harmonic' in inputs else {}
    return phonon_supercell_matrix(
        inputs['structure'], inputs.get('phonon_supercell_matrix'), with_defaults(harmonic, HARMONIC), tolerance
    )


def plan_labels(
    structure: StructureData, inputs: Mapping[str, Any], phonon: Phonopy, symprec: float
) -> dict[str, dict[str, Any]]:
    """Return the frames of each recipe, with what DFT does to them."""
    found, seed = {}, inputs['seed'].value
    if 'rattle' in inputs and 'frames' not in inputs:
        rattle = with_defaults(dict(inputs['rattle']), RATTLE)
        matrix = supercell_matrix(structure, inputs.get('supercell_matrix'), rattle, symprec)
        supercell = make_supercell(structure.get_ase(), matrix)
        changes = rattle['volume_changes']
        images = rattled_structures(supercell, changes, rattle['displacement_angstrom'], rattle['strain'], seed)
        each = with_defaults(dict(inputs['selection']), SELECTION)['frames_per_trajectory']
        found[Recipe.PAPER.value] = _stage(inputs['pw'], [image for image in images for _ in range(each)])
    if 'harmonic' in inputs:
        harmonic = with_defaults(dict(inputs['harmonic']), HARMONIC)
        image = to_ase(phonon.supercell)
        image.rattle(harmonic['displacement_angstrom'], seed=seed)
        stage = _stage(inputs['pw'], [image] * harmonic['n_frames'])
        found[Recipe.HARMONIC.value] = {**stage, 'displacement_angstrom': harmonic['displacement_angstrom']}
        if harmonic['phonon_tolerance_thz'] is not None:
            found[Recipe.HARMONIC.value] |= {key: harmonic[key] for key in ('phonon_tolerance_thz', 'max_frames')}
    return found


def count_constants(phonon: Phonopy, displaced: list[Atoms]) -> dict[str, Any]:
    """Return how many force constants there are, and what it takes to know them."""
    try:
        n_constants: int | None = make_basis(phonon).n_constants
    except ValueError:
        n_constants = None
    return {
        'n_atoms': len(phonon.supercell),
        'n_constants': n_constants,
        'n_frames_that_determine': count_frames_needed(phonon),
        'n_finite_displacements': len(displaced),
    }


def phonon_of(atoms: Atoms, matrix: list[list[int]], symprec: float) -> Phonopy:
    """Return the supercell of a crystal with its symmetry.

    :param matrix: vectors of the supercell in rows.
    """
    return make_phonon(to_phonopy(atoms), np.transpose(matrix), 'auto', symprec)


def displaced_supercells(phonon: Phonopy) -> list[Atoms]:
    """Return the supercells of a calculation by finite displacements."""
    cells: Iterable[Any] = displaced_phonon(phonon).supercells_with_displacements or []
    return [to_ase(cell) for cell in cells]


def _stage(base: Any, structures: list[Atoms]) -> dict[str, Any]:
    """Return what calculations of the same settings are, and cost.

    :param base: inputs of a ``PwBaseWorkChain``.
    :returns: ``n_structures`` of up to ``n_atoms``, ``mesh`` and largest number of ``n_kpoints``, ``ecutwfc_ry`` and
        ``ecutrho_ry``, and the ``core_seconds`` of all.
    """
    mesh = _mesh(base, structures[0])
    system = base['pw']['parameters'].get_dict().get('SYSTEM', {})
    ecutwfc = float(system['ecutwfc'])
    setup = dft_cost.Setup(
        valence={name: dft_cost.valence_electrons(upf.get_content()) for name, upf in base['pw']['pseudos'].items()},
        ecutwfc=ecutwfc,
        ecutrho=float(system.get('ecutrho', 4 * ecutwfc)),
        mesh=mesh,
        is_metal=system.get('occupations') == 'smearing',
        has_spin=system.get('nspin', 1) == 2,
    )
    seconds, kpoints = dft_cost.total_seconds(setup, structures)
    return {
        'n_structures': len(structures),
        'n_atoms': max(len(atoms) for atoms in structures),
        'mesh': list(mesh),
        'n_kpoints': max(kpoints),
        'ecutwfc_ry': setup.ecutwfc,
        'ecutrho_ry': setup.ecutrho,
        'core_seconds': seconds,
    }


def _mesh(base: Any, atoms: Atoms) -> tuple[int, int, int]:
    """Return the mesh that jobs make of `kpoints_distance`, without storing it."""
    if 'kpoints' in base:
        mesh = base['kpoints'].get_kpoints_mesh()[0]
    else:
        make: Any = create_kpoints_from_distance
        parity = base.get('kpoints_force_parity') or Bool(False)
        mesh = make.__wrapped__(StructureData(ase=atoms), base['kpoints_distance'], parity).get_kpoints_mesh()[0]
    return (int(mesh[0]), int(mesh[1]), int(mesh[2]))


def describe_plan(found: Mapping[str, Any]) -> str:
    """Return the plan as lines of text."""
    lines = [f'{found["structure"]}, {found["n_atoms"]} atoms']
    whats = {Recipe.PAPER.value: 'rattled and strained', Recipe.HARMONIC.value: 'for phonons'}
    for recipe, stage in found['labels'].items():
        what = whats[recipe]
        if 'displacement_angstrom' in stage:
            what += f', {stage["displacement_angstrom"]:g} Å'
        if 'max_frames' in stage:
            limits = f'{stage["phonon_tolerance_thz"]:g} THz, at most {stage["max_frames"]} frames'
            what += f'; more until error bars are below {limits}'
        lines.append(f'labels, {recipe}: {_describe(stage, "frames")} ({what})')
    for stage in found['relaxations']:
        what = 'before the labels' if stage['port'] == 'relax_dft' else 'before the DFT phonons'
        lines.append(f'relaxation {what}: {_describe(stage, "steps or so")}')
    if 'dft_phonons' in found:
        one = found['dft_phonons']['n_structures'] == 1
        what = 'displacement' if one else 'displacements'
        lines.append(f'DFT phonons: {_describe(found["dft_phonons"], what)}')
    if 'born_charges' in found:
        scf = _describe(found['born_charges'], 'scf')
        lines.append(f'Born charges: {scf}, and 1 response at Γ by ph.x, whose cost is not estimated')
    constants = found['force_constants']
    n_constants = constants['n_constants']
    lines.append(
        f'force constants of {constants["n_atoms"]} atoms: '
        + ('more than fit into memory' if n_constants is None else f'{n_constants} independent ones')
        + f', determined by {_count(constants["n_frames_that_determine"], "frame")} without a potential, or by '
        + _count(constants['n_finite_displacements'], 'finite displacement')
    )
    if found['displacement_core_seconds'] is not None:
        seconds = found['displacement_core_seconds']
        displacements = 'finite displacements'
        if 'dft_phonons' not in found:
            displacements += ' (which are not computed) would be'
        costs = {'labels': found['label_core_seconds'], displacements: seconds}
        shown = ', '.join(f'{name} {hours(value)}' for name, value in costs.items() if value)
        lines.append(
            f'estimate: {shown}; good within a factor of {dft_cost.LARGEST_FACTOR:g} for pw.x on one core of the '
            'machine of `benchmarks/dft_cost.py`'
        )
    return '\n'.join(lines)


def hours(seconds: float) -> str:
    """Return core time in words."""
    return f'{number(seconds / 3600)} core hours' if seconds >= 1800 else f'{number(seconds / 60)} core minutes'


def _count(value: int, what: str) -> str:
    return f'{value} {what}{"" if value == 1 else "s"}'


def _describe(stage: Mapping[str, Any], what: str) -> str:
    mesh = '×'.join(str(value) for value in stage['mesh'])
    return (
        f'{stage["n_structures"]} {what} of {stage["n_atoms"]} atoms, {stage["ecutwfc_ry"]:g}/{stage["ecutrho_ry"]:g} '
        f'Ry, k-points {mesh} ({stage["n_kpoints"]}), {hours(stage["core_seconds"])}'
    )
