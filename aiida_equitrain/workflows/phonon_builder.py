"""Fill the builder of a phonon WorkChain from the inputs of a protocol."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida_quantumespresso.common.types import ElectronicType, RelaxType
from aiida_quantumespresso.workflows.protocols.utils import recursive_merge
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain
from aiida_quantumespresso.workflows.pw.relax import PwRelaxWorkChain

from aiida_equitrain.workflows.born_charges import BornChargesWorkChain
from aiida_equitrain.workflows.common import mpi_options, serial_options
from aiida_equitrain.workflows.dft_inputs import recommended_cutoffs


def fill_potential_builder(builder: Any, inputs: dict[str, Any], options: dict[str, Any] | None) -> None:
    """Set what the jobs of the potential need."""
    for name in ('potential_relax', 'potential_elastic', 'potential_forces'):
        namespace = getattr(builder, name)
        namespace.settings = orm.Dict(inputs.get(name, {}).get('settings', {}))  # type: ignore[no-untyped-call]
        chosen = recursive_merge(inputs.get(name, {}).get('metadata', {}).get('options', {}), options or {})
        if chosen:
            namespace.metadata.options = serial_options(chosen)


def fill_dft_builder(
    builder: Any,
    inputs: dict[str, Any],
    pw_code: orm.AbstractCode,
    pseudo_family: str | None,
    electronic_type: str,
    protocol: str | None,
    options: dict[str, Any] | None,
) -> None:
    """Set what DFT needs; unit cell and supercells get the same cut-offs and density of k-points.

    :raises ValueError: if the family is missing, or has no pseudopotential or cut-off for an element.
    """
    structure = builder.structure
    pw, relax = inputs['pw'], inputs['relax']
    if pseudo_family is None:
        raise ValueError('DFT needs a `pseudo_family`: the label of an installed pseudopotential family')
    given = pw.get('pw', {}).get('parameters', {}).get('SYSTEM', {})
    cutoffs = recommended_cutoffs(pseudo_family, structure, inputs.get('cutoff_stringency'), given.get('ecutwfc'))
    common = {'pseudo_family': pseudo_family, 'pw': {'parameters': {'SYSTEM': cutoffs}}}
    # `paper` is ours; the other names are those of aiida-quantumespresso.
    qe_protocol = 'stringent' if protocol == 'paper' else protocol
    kinds = {'electronic_type': ElectronicType(electronic_type), 'options': mpi_options(pw_code, options)}

    supercells = recursive_merge(common, pw)
    base = PwBaseWorkChain.get_builder_from_protocol(pw_code, structure, qe_protocol, overrides=supercells, **kinds)
    base.pw.pop('structure', None)
    base.pop('kpoints', None)
    builder.pw = base
    if not builder.settings.get_dict()['relax']:
        return
    unit_cell = recursive_merge(supercells, relax.pop('base_relax', {}))
    builder.relax = relax_builder(pw_code, structure, qe_protocol, unit_cell, relax, electronic_type, options)


def relax_builder(
    code: orm.AbstractCode,
    structure: orm.StructureData,
    qe_protocol: str | None,
    base: dict[str, Any],
    overrides: dict[str, Any],
    electronic_type: str,
    options: dict[str, Any] | None,
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
        options=mpi_options(code, options),
    )
    builder.pop('structure', None)
    builder.pop('base_init_relax', None)
    return builder


def fill_born_builder(
    builder: Any,
    inputs: dict[str, Any],
    pw_code: orm.AbstractCode | None,
    ph_code: orm.AbstractCode,
    pseudo_family: str | None,
    protocol: str | None,
    options: dict[str, Any] | None,
) -> None:
    """Set what Born charges need.

    :raises ValueError: if pw.x or the family is missing.
    """
    if pw_code is None or pseudo_family is None:
        raise ValueError('Born charges need `ph_code`, a code of pw.x and a `pseudo_family`')
    stage = BornChargesWorkChain.get_builder_from_protocol(
        builder.structure,
        pw_code,
        ph_code,
        pseudo_family,
        protocol=protocol,
        overrides=inputs.get('born_charges'),
        options=options,
    )
    values = stage._inputs(prune=True)
    builder.born_charges = {name: values[name] for name in ('charge_tolerance', 'scf', 'ph')}
