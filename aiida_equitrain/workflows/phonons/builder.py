"""Fill the builder of a phonon WorkChain from the inputs of a protocol."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida_quantumespresso.common.types import ElectronicType
from aiida_quantumespresso.workflows.protocols.utils import recursive_merge
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain

from aiida_equitrain.workflows.base import serial_options
from aiida_equitrain.workflows.dft import mpi_options, recommended_cutoffs, relax_builder


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
