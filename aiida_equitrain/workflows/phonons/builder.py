"""Fill the builder of a phonon WorkChain from the inputs of a protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ProcessBuilder
from aiida_quantumespresso.common.types import ElectronicType
from aiida_quantumespresso.workflows.protocols.utils import recursive_merge
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain

from aiida_equitrain.calculations.correct import CORRECTION_SETTINGS, CorrectCalculation
from aiida_equitrain.calculations.forces import ForcesCalculation
from aiida_equitrain.calculations.functions.phonons import PHONON_SETTINGS, phonon_supercell_rows
from aiida_equitrain.calculations.relax import RelaxCalculation
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.workflows.base import EquitrainProtocolMixin
from aiida_equitrain.workflows.born_charges import fill_born_builder
from aiida_equitrain.workflows.checks import structure_problem
from aiida_equitrain.workflows.dft import mpi_options, recommended_cutoffs, unit_cell_relax_builder
from aiida_equitrain.workflows.fitting import EDGE, FITTING, fit_cell, take_gamma
from aiida_equitrain.workflows.options import set_options, take_options


class PhononsBuilder(EquitrainProtocolMixin):
    """How a protocol fills in the inputs of the phonon WorkChain."""

    PROTOCOL = 'phonons'
    TABLES = {
        'settings': PHONON_SETTINGS,
        'potential_relax.settings': RelaxCalculation.SETTINGS,
        'potential_elastic.settings': RelaxCalculation.SETTINGS,
        'potential_forces.settings': ForcesCalculation.SETTINGS,
        'correct.settings': {
            key: CorrectCalculation.SETTINGS[key] for key in ('dtype', 'batch_size', *CORRECTION_SETTINGS)
        },
    }

    @classmethod
    def get_builder_from_protocol(
        cls,
        structure: orm.StructureData,
        phonopy_code: orm.AbstractCode,
        *,
        potential: PotentialData | None = None,
        python_code: orm.AbstractCode | None = None,
        labels: DatasetData | None = None,
        pw_code: orm.AbstractCode | None = None,
        born_pw_code: orm.AbstractCode | None = None,
        postprocess_code: orm.AbstractCode | None = None,
        ph_code: orm.AbstractCode | None = None,
        pseudo_family: str | None = None,
        electronic_type: str = 'insulator',
        relax: bool = True,
        supercell_matrix: list[list[int]] | orm.List | None = None,
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> ProcessBuilder:
        """Return a builder with all inputs of a protocol.

        :param potential: the potential, with ``python_code``; or give ``pw_code`` with ``pseudo_family``.
        :param labels: labelled frames, by which the phonons of the potential are corrected.
        :param postprocess_code: a Python with phonopy, where there is no potential or that of SevenNet.
        :param ph_code: ``ph.x``: Born charges are computed by it and pw.x (``born_pw_code`` or ``pw_code``).
        :param pseudo_family: label of the pseudopotential family.
        :param electronic_type: of DFT: ``insulator`` (fixed occupations) or ``metal``.
        :param relax: whether cell and positions are relaxed first.
        :param supercell_matrix: rows of the supercell; otherwise chosen by the shortest edge of the protocol.
        :param protocol: ``fast``, ``balanced`` (default), ``stringent`` or ``paper``.
        :param overrides: nested as the inputs; unknown keys are refused.
        :param options: ``metadata.options`` of all jobs, those of a kind under its name, see ``workflows.options``.
        :raises ValueError: if an override is unknown, or a pseudopotential is missing.
        """
        overrides, options = take_options(overrides, options)
        inputs = cls.get_protocol_inputs(protocol, overrides)
        if pw_code is not None and supercell_matrix is None:
            fit_dft(structure, inputs, overrides)
        builder: ProcessBuilder = cls.get_builder()
        builder.structure, builder.phonopy_code = structure, phonopy_code
        inputs['settings']['relax'] = bool(relax and inputs['settings'].get('relax', True))
        builder.settings = orm.Dict(inputs['settings'])
        builder.displacement = orm.Dict(inputs['displacement'])
        builder.symprec = orm.Float(inputs['symprec'])
        builder.max_atoms = orm.Int(inputs['max_atoms'])
        builder.max_concurrent = orm.Int(inputs['max_concurrent'])
        matrix = inputs.get('supercell_matrix') if supercell_matrix is None else supercell_matrix
        if matrix is not None:
            builder.supercell_matrix = matrix if isinstance(matrix, orm.List) else orm.List(np.array(matrix).tolist())
        if postprocess_code is not None:
            builder.postprocess_code = postprocess_code
        if inputs.get('harmonic', {}).get('settings'):
            builder['harmonic'].settings = orm.Dict(inputs['harmonic']['settings'])
        if potential is not None:
            builder.potential, builder.python_code = potential, python_code
            names = ['potential_relax', 'potential_elastic', 'potential_forces']
            if labels is not None:
                builder.labels = labels
                names.append('correct')
            fill_potential_builder(builder, names, inputs)
        if ph_code is not None:
            fill_born_builder(builder, inputs, born_pw_code or pw_code, ph_code, pseudo_family, protocol, options)
        if pw_code is not None:
            fill_dft_builder(builder, inputs, pw_code, pseudo_family, electronic_type, protocol)
            is_plain = matrix is None and 'kpoints_distance' not in (overrides.get('pw') or {})
            if protocol in FITTING and is_plain and not structure_problem(structure):
                rows = phonon_supercell_rows(structure, inputs['settings'], inputs['symprec'])
                take_gamma(builder['pw'], np.array(rows) @ np.array(structure.cell), electronic_type)
        return set_options(builder, overrides, options, skip=('born_charges',))


def fit_dft(structure: orm.StructureData, inputs: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Shorten the edge of a supercell that is larger than a protocol wants DFT's to be, unless edge or cell are given.

    :param inputs: of the protocol, which are changed.
    """
    given = {**overrides, **(overrides.get('settings') or {})}
    is_given = 'max_atoms' in given or EDGE in given or inputs.get('supercell_matrix') is not None
    # A crystal that is refused anyway may have no supercell.
    if inputs.get('max_atoms_dft') is None or is_given or structure_problem(structure):
        return
    choose = partial(phonon_supercell_rows, structure, symprec=inputs['symprec'])
    inputs['settings'] = fit_cell(structure, inputs['settings'], inputs['max_atoms_dft'], choose)


def fill_potential_builder(builder: ProcessBuilder, names: Iterable[str], inputs: dict[str, Any]) -> None:
    """Set what the jobs of the potential need."""
    for name in names:
        getattr(builder, name).settings = orm.Dict(inputs.get(name, {}).get('settings', {}))


def fill_dft_builder(
    builder: ProcessBuilder,
    inputs: dict[str, Any],
    pw_code: orm.AbstractCode,
    pseudo_family: str | None,
    electronic_type: str,
    protocol: str | None,
) -> None:
    """Set what DFT needs; unit cell and supercells get the same cut-offs and density of k-points.

    :raises ValueError: if the family is missing, or has no pseudopotential or cut-off for an element.
    """
    structure = builder['structure']
    pw, relax = inputs['pw'], inputs['relax']
    if pseudo_family is None:
        raise ValueError('DFT needs a `pseudo_family`: the label of an installed pseudopotential family')
    given = pw.get('pw', {}).get('parameters', {}).get('SYSTEM', {})
    cutoffs = recommended_cutoffs(pseudo_family, structure, inputs.get('cutoff_stringency'), given.get('ecutwfc'))
    common = {'pseudo_family': pseudo_family, 'pw': {'parameters': {'SYSTEM': cutoffs}}}
    # `paper` is ours; the other names are those of aiida-quantumespresso.
    qe_protocol = 'stringent' if protocol == 'paper' else protocol
    kinds = {'electronic_type': ElectronicType(electronic_type), 'options': mpi_options(pw_code)}

    supercells = recursive_merge(common, pw)
    base = PwBaseWorkChain.get_builder_from_protocol(pw_code, structure, qe_protocol, overrides=supercells, **kinds)
    base.pw.pop('structure', None)
    base.pop('kpoints', None)
    builder.pw = base
    if not builder['settings'].get_dict()['relax']:
        return
    unit_cell = {**relax, 'base_relax': recursive_merge(pw, relax.get('base_relax', {}))}
    stringency = inputs.get('cutoff_stringency')
    builder.relax = unit_cell_relax_builder(
        pw_code, structure, pseudo_family, unit_cell, stringency, electronic_type, protocol
    )
