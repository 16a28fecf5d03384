"""Inputs of pw.x that follow from the family of pseudopotentials, for labels and phonons alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida import orm
from aiida_quantumespresso.common.types import ElectronicType, RelaxType
from aiida_quantumespresso.workflows.protocols.utils import recursive_merge
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain
from aiida_quantumespresso.workflows.pw.relax import PwRelaxWorkChain

from aiida_equitrain.common.validation import nearest
from aiida_equitrain.science.dft_cost import has_real_waves
from aiida_equitrain.workflows.checks import pseudo_problem

#: Protocol of PwBaseWorkChain for each of ours.
PW_PROTOCOL = {'fast': 'fast', 'balanced': 'balanced', 'stringent': 'stringent', 'paper': 'balanced'}
FUNCTIONALS = ('PBEsol', 'PBE', 'LDA', 'PW', 'SCAN')


def pw_builder(
    code: orm.AbstractCode,
    sample: orm.StructureData,
    family_label: str,
    electronic_type: str,
    protocol: str,
    inputs: Mapping[str, Any],
    overrides: Mapping[str, Any],
) -> Any:
    """Return the inputs of the `pw` namespace.

    :param sample: a structure of the size of the frames: thresholds are per atom.
    :raises ValueError: if the family or a pseudopotential is absent, or the electronic type is unknown.
    """
    kinds = [item.value for item in (ElectronicType.INSULATOR, ElectronicType.METAL)]
    if electronic_type not in kinds:
        raise ValueError(f'unknown `electronic_type` `{electronic_type}`: {nearest(electronic_type, kinds)}')
    given = overrides.get('pw', {}).get('pw', {}).get('parameters', {}).get('SYSTEM', {})
    cutoffs = recommended_cutoffs(family_label, sample, inputs.get('cutoff_stringency'), given.get('ecutwfc'))
    base = recursive_merge(
        {'pseudo_family': family_label, 'pw': {'parameters': {'SYSTEM': cutoffs}}}, dict(inputs['pw'])
    )
    builder = PwBaseWorkChain.get_builder_from_protocol(
        code,
        sample,
        protocol=PW_PROTOCOL.get(protocol, protocol),
        overrides=base,
        electronic_type=ElectronicType(electronic_type),
        options=mpi_options(code),
    )
    builder.pw.pop('structure', None)
    return builder


def recommended_cutoffs(
    family_label: str, sample: orm.StructureData, stringency: str | None, ecutwfc: float | None = None
) -> dict[str, float]:
    """Return ``ecutwfc`` and ``ecutrho`` (Ry) of a family; a given ``ecutwfc`` keeps the family's ratio.

    :param stringency: of the family's cut-offs; its default where the family has no such stringency.
    :raises ValueError: if the family is absent, lacks an element, or recommends no cut-offs.
    """
    family: Any = orm.QueryBuilder().append(orm.Group, filters={'label': family_label}).first(flat=True)
    if family is None:
        raise ValueError(
            f'no pseudopotential family `{family_label}` in this profile: install it (`aiida-pseudo install`), or run '
            '`aiida-equitrain setup`'
        )
    problem = pseudo_problem(sample.get_symbols_set(), dict.fromkeys(family.elements), family_label)
    if problem:
        raise ValueError(problem)
    if not hasattr(family, 'get_recommended_cutoffs'):
        return {}
    try:
        known = family.get_cutoff_stringencies()
        chosen = stringency if stringency in known else None
        wavefunction, density = family.get_recommended_cutoffs(structure=sample, stringency=chosen, unit='Ry')
    except ValueError:
        return {}  # PwBaseWorkChain says that cut-offs have to be given
    if ecutwfc is not None:
        return {'ecutwfc': float(ecutwfc), 'ecutrho': float(ecutwfc) * density / wavefunction}
    return {'ecutwfc': float(np.round(wavefunction, 6)), 'ecutrho': float(np.round(density, 6))}


def functional_of(family_label: str, pw: Mapping[str, Any]) -> str:
    """Return the functional: `input_dft` of the parameters, or the one in the family's label.

    :raises ValueError: if neither says it.
    """
    explicit = pw['pw']['parameters'].get_dict().get('SYSTEM', {}).get('input_dft')
    if explicit:
        return str(explicit)
    words = re.split(r'[^A-Za-z]+', family_label)
    found = [name for name in FUNCTIONALS if name.lower() in (word.lower() for word in words)]
    if not found:
        raise ValueError(f'the functional of the family `{family_label}` is not in its label: give `functional`')
    return found[0]


def mpi_options(code: orm.AbstractCode, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return ``metadata.options`` that agree with whether a code says that it runs with or without MPI.

    The protocols of aiida-quantumespresso ask for MPI, and a job of a code that says the contrary would except.

    :param options: what else is asked for; where it contradicts the code, the code is believed.
    """
    return {**(options or {}), **({} if code.with_mpi is None else {'withmpi': bool(code.with_mpi)})}


def may_use_gamma_trick(kpoints: orm.KpointsData, parameters: orm.Dict, structure: orm.StructureData) -> bool:
    """Return whether real wave functions at Gamma do: :func:`has_real_waves`, and no noncollinear spins."""
    mesh, offset = kpoints.get_kpoints_mesh()
    noncollinear = parameters.get_dict().get('SYSTEM', {}).get('noncolin', False)
    return has_real_waves(mesh, structure.get_symbols_set()) and not any(offset) and not noncollinear


def relax_builder(
    code: orm.AbstractCode,
    structure: orm.StructureData,
    qe_protocol: str | None,
    base: dict[str, Any],
    overrides: dict[str, Any],
    electronic_type: str,
) -> Any:
    """Return the inputs of a ``PwRelaxWorkChain`` of positions and cell, without its structure.

    :param base: overrides of ``base_relax``.
    :param overrides: the others.
    """
    # The initial relaxation is not run, but its inputs are made: they need the family as well.
    initial = {
        'pseudo_family': base['pseudo_family'],
        'pw': {'parameters': {'SYSTEM': base['pw']['parameters']['SYSTEM']}},
    }
    builder = PwRelaxWorkChain.get_builder_from_protocol(
        code,
        structure,
        qe_protocol,
        overrides={**overrides, 'base_relax': base, 'base_init_relax': initial},
        relax_type=RelaxType.POSITIONS_CELL,
        electronic_type=ElectronicType(electronic_type),
        options=mpi_options(code),
    )
    builder.pop('structure', None)
    builder.pop('base_init_relax', None)
    return builder


def unit_cell_relax_builder(
    code: orm.AbstractCode,
    structure: orm.StructureData,
    family_label: str,
    relax: Mapping[str, Any],
    stringency: str | None,
    electronic_type: str,
    protocol: str | None,
) -> Any:
    """Return the inputs of a ``PwRelaxWorkChain`` of positions and cell with the cut-offs of a family.

    :param relax: overrides of the whole, those of each calculation under ``base_relax``.
    :param stringency: of the family's cut-offs; an ``ecutwfc`` in ``relax`` goes before.
    """
    rest = dict(relax)
    base = rest.pop('base_relax', {})
    given = base.get('pw', {}).get('parameters', {}).get('SYSTEM', {})
    cutoffs = recommended_cutoffs(family_label, structure, stringency, given.get('ecutwfc'))
    common = {'pseudo_family': family_label, 'pw': {'parameters': {'SYSTEM': cutoffs}}}
    # `paper` is ours; the other names are those of aiida-quantumespresso.
    qe_protocol = 'stringent' if protocol == 'paper' else protocol
    return relax_builder(code, structure, qe_protocol, recursive_merge(common, base), rest, electronic_type)
