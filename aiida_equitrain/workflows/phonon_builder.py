"""Fill the builder of a phonon WorkChain from the inputs of a protocol."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.plugins import GroupFactory
from aiida_quantumespresso.common.types import ElectronicType, RelaxType
from aiida_quantumespresso.workflows.protocols.utils import recursive_merge
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain
from aiida_quantumespresso.workflows.pw.relax import PwRelaxWorkChain

from aiida_equitrain.calculations.evaluation import structure_symbols


def fill_potential_builder(builder: Any, inputs: dict[str, Any], options: dict[str, Any] | None) -> None:
    """Set what the jobs of the potential need."""
    for name in ('potential_relax', 'potential_forces'):
        namespace = getattr(builder, name)
        namespace.settings = orm.Dict(inputs.get(name, {}).get('settings', {}))  # type: ignore[no-untyped-call]
        chosen = recursive_merge(inputs.get(name, {}).get('metadata', {}).get('options', {}), options or {})
        if chosen:
            namespace.metadata.options = {**chosen, 'withmpi': False}


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
    cutoffs = family_cutoffs(structure, pseudo_family, pw.pop('pseudo_stringency', None))
    common = {'pseudo_family': pseudo_family, 'pw': {'parameters': {'SYSTEM': cutoffs}}}
    # `paper` is ours; the other names are those of aiida-quantumespresso.
    qe_protocol = 'stringent' if protocol == 'paper' else protocol
    kinds = {'electronic_type': ElectronicType(electronic_type), 'options': options}

    supercells = recursive_merge(common, pw)
    base = PwBaseWorkChain.get_builder_from_protocol(pw_code, structure, qe_protocol, overrides=supercells, **kinds)
    base.pw.pop('structure', None)
    base.pop('kpoints', None)
    builder.pw = base
    if not builder.settings.get_dict()['relax']:
        return
    unit_cell = recursive_merge(supercells, relax.pop('base_relax', {}))
    full = PwRelaxWorkChain.get_builder_from_protocol(
        pw_code,
        structure,
        qe_protocol,
        overrides={**relax, 'base_relax': unit_cell, 'base_init_relax': common},
        relax_type=RelaxType.POSITIONS_CELL,
        **kinds,
    )
    full.pop('structure', None)
    full.pop('base_init_relax', None)
    builder.relax = full


def family_cutoffs(structure: orm.StructureData, pseudo_family: str | None, stringency: str | None) -> dict[str, float]:
    """Return ``ecutwfc`` and ``ecutrho`` (Ry) that a family recommends, at a level of it if it has that.

    :raises ValueError: with a sentence.
    """
    if pseudo_family is None:
        raise ValueError('DFT needs a `pseudo_family`: the label of an installed pseudopotential family')
    found = orm.QueryBuilder().append(GroupFactory('pseudo.family'), filters={'label': pseudo_family}).first()
    if found is None:
        raise ValueError(f'the pseudopotential family `{pseudo_family}` is not installed: see `aiida-pseudo install`')
    family: Any = found[0]
    missing = sorted(set(structure_symbols(structure)) - set(family.elements))
    if missing:
        raise ValueError(f'no pseudopotential for {", ".join(missing)} in the family `{pseudo_family}`')
    if not hasattr(family, 'get_recommended_cutoffs'):
        return {}
    if stringency not in family.get_cutoff_stringencies():
        stringency = None
    wave, density = family.get_recommended_cutoffs(structure=structure, stringency=stringency, unit='Ry')
    return {'ecutwfc': wave, 'ecutrho': density}
