"""What several WorkChains check of their inputs, before anything is submitted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aiida import orm
from aiida_quantumespresso.data.hubbard_structure import HubbardStructureData

from aiida_equitrain.common.phonon_settings import SYMPREC
from aiida_equitrain.science.structures import check_occupations, check_size, check_structure
from aiida_equitrain.science.supercells import check_symprec
from aiida_equitrain.science.symmetry_hint import symmetry_hint

#: Keys of ``SYSTEM`` that say which physics is computed.
PHYSICS = ('nspin', 'noncolin', 'lspinorb', 'starting_magnetization', 'tot_magnetization', 'lda_plus_u', 'hubbard_u',
           'hubbard_v', 'hubbard_j', 'hubbard_j0', 'input_dft', 'exx_fraction', 'vdw_corr',
           'dftd3_version')  # fmt: skip


def code_problem(code: orm.AbstractCode | None, port: str) -> str | None:
    """Return a sentence if a code on a local computer cannot be executed, ``None`` if it can or is elsewhere.

    :param port: name of the input that holds the code, for the sentence.
    """
    if not isinstance(code, orm.InstalledCode) or code.computer.transport_type != 'core.local':
        return None
    path = Path(str(code.filepath_executable))
    if not path.is_absolute():
        return None
    if not path.is_file():
        return f'`{port}`: the file `{path}` of the code `{code.label}` does not exist; set the code up again'
    if not os.access(path, os.X_OK):
        return (
            f'`{port}`: the file `{path}` of the code `{code.label}` is not executable; '
            'make it so (`chmod +x`), or set the code up again'
        )
    return None


def pseudo_problem(symbols: Iterable[str], pseudos: Mapping[str, Any] | None, port: str) -> str | None:
    """Return a sentence if an element has no pseudopotential.

    :param port: name of the namespace of pseudopotentials, for the sentence.
    """
    missing = sorted(set(symbols) - set(pseudos or {}))
    if not missing:
        return None
    return (
        f'no pseudopotential for {", ".join(missing)} in `{port}`: choose a `pseudo_family` that has '
        f'{"it" if len(missing) == 1 else "them"}, or add the file to the family'
    )


def structure_problem(
    structure: orm.StructureData,
    elements: Iterable[str] | None = None,
    max_atoms: int | None = None,
    supercell_matrix: Any = None,
) -> str | None:
    """Return a sentence if a structure cannot be computed, see ``check_structure`` of ``science.structures``.

    :param elements: chemical symbols that the potential knows; not checked if ``None``.
    """
    problem = check_occupations({kind.name: max(kind.weights) for kind in structure.kinds})
    return problem or check_structure(
        structure.get_ase(), elements=elements, max_atoms=max_atoms, supercell_matrix=supercell_matrix
    )


def kinds_problem(structure: orm.StructureData, port: str = 'structure', may_have_u: bool = False) -> str | None:
    """Return a sentence if a structure tells atoms of one element apart, or has a U, which would be lost.

    :param may_have_u: whether a U is harmless, as only a potential looks at the structure.
    """
    if not may_have_u and isinstance(structure, HubbardStructureData) and structure.hubbard.parameters:
        return (
            f'`{port}` has Hubbard parameters, which would be lost: support for U is on the way; give a plain '
            'StructureData for a calculation without U'
        )
    odd = sorted(kind.name for kind in structure.kinds if kind.name != kind.symbol)
    if not odd:
        return None
    return (
        f'`{port}` has the kind `{odd[0]}`: atoms of one element that differ, for magnetic order, would be taken as '
        'equal; support for spin is on the way, until then name every kind after its element for a calculation without '
        'spin'
    )


def same_physics_problem(stages: Mapping[str, Any]) -> str | None:
    """Return a sentence if a mesh or a cut-off is no length, a cell charged, or stages differ in their physics.

    That is spin, U and functional.

    :param stages: inputs of ``PwBaseWorkChain`` by their ports.
    """
    for port, base in stages.items():
        distance = base.get('kpoints_distance')
        if distance is not None and not distance.value > 0:
            return (
                f'`{port}.kpoints_distance` must be above zero, but is {distance.value:g}: it is the distance between '
                'k-points, in 1/Å, such as 0.15'
            )
    systems = {port: base['pw']['parameters'].get_dict().get('SYSTEM', {}) for port, base in stages.items()}
    for port, system in systems.items():
        for key in ('ecutwfc', 'ecutrho'):
            if isinstance(system.get(key), int | float) and not system[key] > 0:
                return (
                    f'`SYSTEM.{key}` of `{port}.pw.parameters` must be above zero, but is {system[key]}: it is a '
                    'cut-off in Ry; leave it out for that of the pseudopotentials'
                )
        if system.get('tot_charge'):
            return (
                f'`{port}.pw.parameters`: `SYSTEM.tot_charge` is {system["tot_charge"]}, but unit cell and supercell '
                'would have the same charge: charged cells are not supported, leave it out'
            )
    (first, known), *others = systems.items() if systems else [('', {})]
    for port, system in others:
        for key in PHYSICS:
            if system.get(key) != known.get(key):
                return (
                    f'`SYSTEM.{key}` differs between `{first}.pw.parameters` ({known.get(key)}) and '
                    f'`{port}.pw.parameters` ({system.get(key)}), whose results are compared: set the same in both'
                )
    return None


def with_symprec(inputs: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Return the overrides of a stage, with the `symprec` that stands at the top if there is one.

    :raises ValueError: if the stage has another.
    """
    given, top = dict(inputs.get(stage) or {}), inputs.get('symprec')
    if top is None:
        return given
    if given.get('symprec', top) != top:
        raise ValueError(
            f'`symprec` and `{stage}.symprec` of the overrides differ: give `symprec` alone, it is for all'
        )
    return {**given, 'symprec': top}


def symprec_problem(inputs: Mapping[str, Any], symprec: float, *ports: str) -> str | None:
    """Return a sentence if the tolerance of the space group is too large, or settings of a stage have another one.

    :param ports: namespaces with ``settings``, or ports that are settings.
    """
    problem = check_symprec(inputs['structure'].get_ase(), symprec) if 'structure' in inputs else None
    if problem:
        return problem
    for port in ports:
        node = inputs.get(port)
        settings = node.get('settings') if isinstance(node, Mapping) and not isinstance(node, orm.Dict) else node
        given = dict(settings).get('symprec', symprec) if settings is not None else symprec
        if given != symprec:
            return (
                f'`{port}` asks for a `symprec` of {given:g} Å, but that of the whole is {symprec:g} Å: leave it out '
                'there, one tolerance is for all stages'
            )
    return None


def symmetry_hints(inputs: Mapping[str, Any], supercell_matrix: orm.List | None = None) -> list[str]:
    """Return a sentence for each crystal of a job whose space group is higher at a looser tolerance.

    :param inputs: of a WorkChain, with ``structure``, or with one in each of ``materials``.
    :param supercell_matrix: of the phonons, where it is not among the inputs.
    """
    hints = []
    for name, given in {'': inputs, **(inputs.get('materials') or {})}.items():
        if 'structure' not in given or structure_problem(given['structure']):
            continue  # The checks say it.
        symprec = given.get('symprec') or (given.get('phonons') or {}).get('symprec')
        matrix = supercell_matrix or given.get('supercell_matrix') or given.get('phonon_supercell_matrix')
        rows = None if matrix is None else matrix.get_list()
        hint = symmetry_hint(given['structure'].get_ase(), SYMPREC if symprec is None else symprec.value, rows)
        if hint:
            hints.append(f'{name}: {hint}' if name else hint)
    return hints


def validate_positive(value: orm.Int | orm.Float | None, port: Any = None) -> str | None:
    """Return a sentence if a number is not above zero, with the name of its port."""
    if value is None or value.value > 0:
        return None
    name = getattr(port, 'name', None)
    where = f'`{name}`: it ' if name else ''
    what = 'a whole number from 1 on' if isinstance(value, orm.Int) else 'a positive number'
    return f'{where}must be above zero, but is {value.value}; give {what}, or leave it out for the default'


def validate_supercell_matrix(value: orm.List | None, _: Any = None) -> str | None:
    """Return a sentence if ``supercell_matrix`` is not three rows of three integers with a volume."""
    return None if value is None else check_size(0, 1, value.get_list())
