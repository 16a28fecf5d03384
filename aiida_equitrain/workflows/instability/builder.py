"""Make the inputs of a search for phases from a protocol: with a potential, or with DFT."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder
from aiida_quantumespresso.workflows.protocols.utils import recursive_merge

from aiida_equitrain.calculations.scan import RelaxPhasesCalculation, ScanCalculation
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.workflows.base import EquitrainProtocolMixin
from aiida_equitrain.workflows.checks import with_symprec
from aiida_equitrain.workflows.dft import PW_PROTOCOL, pw_builder, relax_builder
from aiida_equitrain.workflows.instability.checks import SETTINGS
from aiida_equitrain.workflows.options import set_options, take_options
from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain


class InstabilityBuilder(EquitrainProtocolMixin):
    """How a protocol fills in the inputs of a search for phases."""

    PROTOCOL = 'instability'
    TABLES = {
        'settings': SETTINGS,
        'scan.settings': ScanCalculation.SETTINGS,
        'relax.settings': RelaxPhasesCalculation.SETTINGS,
    }

    @classmethod
    def get_builder_from_protocol(
        cls,
        structure: orm.StructureData,
        phonopy_code: orm.AbstractCode,
        potential: PotentialData | None = None,
        python_code: orm.AbstractCode | None = None,
        *,
        phonopy_data: Any = None,
        postprocess_code: orm.AbstractCode | None = None,
        pw_code: orm.AbstractCode | None = None,
        pseudo_family: str | None = None,
        electronic_type: str = 'insulator',
        relax: bool = True,
        supercell_matrix: list[list[int]] | orm.List | None = None,
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> ProcessBuilder:
        """Return a builder with all inputs of a protocol; without a potential DFT finds the phases, and their phonons.

        :param phonopy_data: phonons of ``structure`` that exist: their modes are followed.
        :param postprocess_code: a Python with phonopy, if that of the potential has none (SevenNet's), or for DFT.
        :param pw_code: pw.x, with ``pseudo_family`` and ``electronic_type``: with a potential its scans are repeated.
        :param relax: whether the structure is relaxed before its phonons.
        :param supercell_matrix: of the phonons of ``structure``; those of its phases are chosen by their length.
        :param protocol: ``fast``, ``balanced`` (default), ``stringent`` or ``paper``; also of the phonons.
        :param overrides: nested as the inputs; those below ``phonons`` go to the phonons.
        :param options: ``metadata.options`` of all jobs.

        :raises ValueError: with a sentence, if an override is unknown or something is missing.
        """
        if pw_code is not None and pseudo_family is None:
            raise ValueError('DFT needs a `pseudo_family`: the label of an installed pseudopotential family')
        if potential is None and pw_code is None:
            raise ValueError('give a `potential` with its `python_code`, or `pw_code` and `pseudo_family` for DFT')
        overrides, options = take_options(overrides, options)
        inputs = cls.get_protocol_inputs(protocol, overrides)
        builder: ProcessBuilder = cls.get_builder()
        dft = {'pw_code': pw_code, 'pseudo_family': pseudo_family, 'electronic_type': electronic_type}
        phonons = PhononsWorkChain.get_builder_from_protocol(
            structure,
            phonopy_code,
            relax=relax,
            supercell_matrix=supercell_matrix,
            protocol=protocol,
            overrides=with_symprec(inputs, 'phonons'),
            options=options,
            **(dft if potential is None else {'potential': potential, 'python_code': python_code}),
        )
        ports: Any = cls.spec().inputs['phonons']
        builder.phonons = {name: value for name, value in phonons._inputs(prune=True).items() if name in ports}
        given: dict[str, Any] = {
            'potential': potential,
            'python_code': python_code,
            'postprocess_code': postprocess_code,
        }
        given |= {'structure': structure} if phonopy_data is None else {'phonopy_data': phonopy_data}
        for name, node in given.items():
            if node is not None:
                builder[name] = node
        builder.settings = orm.Dict(inputs['settings'])
        builder.max_concurrent, builder.dft_levels = orm.Int(inputs['max_concurrent']), orm.Int(inputs['dft_levels'])
        _fill_dft(builder, structure, dft, protocol or 'balanced', inputs, overrides)
        for name in ('scan', 'relax'):
            namespace = getattr(builder, name)
            namespace.settings = orm.Dict(inputs.get(name, {}).get('settings', {}))
        return set_options(builder, overrides, options, skip=('phonons',))


def _fill_dft(
    builder: ProcessBuilder,
    structure: orm.StructureData,
    dft: dict[str, Any],
    protocol: str,
    inputs: dict[str, Any],
    overrides: dict[str, Any],
) -> None:
    """Set what pw.x needs: single points of the scans, and relaxations where no potential relaxes."""
    code, family, kind = dft.values()
    if code is None:
        for name in ('pw', 'pw_relax'):
            builder.pop(name, None)
        return
    builder.pw = pw_builder(code, structure, family, kind, protocol, inputs, overrides)
    if 'potential' in builder._inputs(prune=True):
        builder.pop('pw_relax', None)
        return
    # Energies of both are compared, so that what makes an energy is the same.
    chosen = inputs.pop('pw_relax')
    system = builder['pw'].pw.parameters.get_dict()['SYSTEM']
    base = recursive_merge({'pseudo_family': family, 'pw': {'parameters': {'SYSTEM': system}}}, inputs['pw'])
    base = recursive_merge(base, chosen.pop('base_relax', {}))
    builder.pw_relax = relax_builder(code, structure, PW_PROTOCOL.get(protocol, protocol), base, chosen, kind)
