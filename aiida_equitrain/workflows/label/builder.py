"""How a protocol fills in the inputs of labelling."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from aiida.engine import ProcessBuilder
from aiida.orm import AbstractCode, Dict, Float, Int, List, Str, StructureData, TrajectoryData
from aiida_quantumespresso.workflows.protocols.utils import recursive_merge
from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain

from aiida_equitrain.calculations.arrays import trajectory_atoms
from aiida_equitrain.calculations.functions.label import HARMONIC, RATTLE, SELECTION
from aiida_equitrain.calculations.relax import RelaxCalculation
from aiida_equitrain.calculations.script_job import SERIAL_RESOURCES
from aiida_equitrain.common.names import Recipe
from aiida_equitrain.common.validation import nearest
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science.harmonic_frames import primitive_cell
from aiida_equitrain.science.structures import check_size
from aiida_equitrain.science.supercells import make_supercell
from aiida_equitrain.workflows.base import EquitrainProtocolMixin, schema_of
from aiida_equitrain.workflows.checks import kinds_problem, structure_problem
from aiida_equitrain.workflows.dft import functional_of, pw_builder, unit_cell_relax_builder
from aiida_equitrain.workflows.fitting import EDGE, FITTING, fit_cell, take_gamma
from aiida_equitrain.workflows.label.checks import (
    phonon_supercell_matrix,
    supercell_matrix,
    validate_harmonic,
    validate_rattle,
)
from aiida_equitrain.workflows.options import GPU, options_for, set_options, take_options
from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain

#: Thresholds of pw.x that grow with the number of atoms: those of frames are not those of the primitive cell.
EXTENSIVE = {'CONTROL': 'etot_conv_thr', 'ELECTRONS': 'conv_thr'}
#: Recipes of frames by the name that a user gives.
RECIPES = {**{item.value: (item,) for item in Recipe}, 'mixed': tuple(Recipe)}


class LabelBuilder(EquitrainProtocolMixin):
    """How a protocol fills in the inputs of labelling."""

    PROTOCOL = 'label'
    TABLES = {
        'rattle': RATTLE,
        'harmonic': HARMONIC,
        'selection': SELECTION,
        'relax': RelaxCalculation.SETTINGS,
        'relax_structure': RelaxCalculation.SETTINGS,
    }

    @classmethod
    def get_override_schema(cls) -> dict[str, Any]:
        """Return the keys that overrides may have, those of PwBaseWorkChain below `pw`."""
        schema, pw = super().get_override_schema(), schema_of(PwBaseWorkChain)
        pw.pop('pseudo_family')
        schema['relax_dft']['base_relax'] = {**schema['relax_dft']['base_relax'], **pw}
        return {**schema, 'pw': pw}

    @classmethod
    def get_protocol_inputs(
        cls, protocol: str | None = None, overrides: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the inputs of a protocol, with the supercell and the relaxation of the phonons of that protocol."""
        inputs = super().get_protocol_inputs(protocol, overrides)
        phonons = PhononsWorkChain.get_protocol_inputs(protocol)
        given = dict(overrides or {})
        if 'min_length_angstrom' not in (given.get('harmonic') or {}):
            inputs['harmonic']['min_length_angstrom'] = phonons['settings']['min_length_angstrom']
        # Labels and phonons of DFT relax the same crystal, and the second finds the result of the first in the cache.
        base = recursive_merge(phonons['pw'], without_extensive(given.get('pw') or {}))
        relax = recursive_merge(phonons['relax'], given.get('relax_dft') or {})
        inputs['relax_dft'] = {**relax, 'base_relax': recursive_merge(base, relax['base_relax'])}
        return inputs

    @classmethod
    def get_builder_from_protocol(
        cls,
        *,
        structure: StructureData | None,
        foundation: PotentialData,
        python_code: AbstractCode,
        pw_code: AbstractCode,
        pseudo_family: str,
        electronic_type: str = 'insulator',
        functional: str | None = None,
        frames: TrajectoryData | None = None,
        recipe: str | None = None,
        postprocess_code: AbstractCode | None = None,
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        :param structure: crystal to rattle; may be ``None`` if ``frames`` are given.
        :param foundation: potential that relaxes the rattled supercells.
        :param python_code: a Python with MACE.
        :param pw_code: pw.x.
        :param pseudo_family: label of an installed family.
        :param electronic_type: ``insulator`` (fixed occupations) or ``metal`` (smearing).
        :param functional: of the labels; read from the name of the family if ``None``.
        :param frames: your own frames, to be labelled as they are instead of rattled supercells.
        :param recipe: ``paper`` (rattled, strained, relaxed by the foundation: to bend the potential), ``harmonic``
            (the supercell of the phonons with small displacements: to pin these) or ``mixed``; that of the protocol if
            ``None``.
        :param postprocess_code: a Python with phonopy, where that of the foundation has none.
        :param protocol: ``fast``, ``balanced``, ``stringent`` or ``paper``.
        :param overrides: inputs in the nesting of the ports; ``cutoff_stringency`` chooses among the family's cut-offs.
        :param options: ``metadata.options`` of all jobs, those of pw.x alone under ``dft``, see ``workflows.options``.
        :raises ValueError: with a sentence, if a key or a value is wrong or the inputs do not fit together.
        """
        protocol = protocol or cls.get_default_protocol()
        overrides, options = take_options(overrides, options)
        inputs = cls.get_protocol_inputs(protocol, overrides)
        made = recipes_of(recipe or inputs['recipe'])
        if structure is not None:
            check_crystal(structure, foundation, inputs, made, is_rattled=frames is None)
            if protocol in FITTING and 'max_atoms' not in overrides:
                fit_cells(structure, inputs, overrides, made)
        sample = sample_structure(structure, frames, inputs, made)
        builder: ProcessBuilder = cls.get_builder()
        builder.pw = pw_builder(pw_code, sample, pseudo_family, electronic_type, protocol, inputs, overrides)
        if protocol in FITTING and structure is not None and 'kpoints_distance' not in (overrides.get('pw') or {}):
            take_gamma(builder['pw'], sample.cell, electronic_type)
        for name, node in (('structure', structure), ('frames', frames)):
            if node is not None:
                builder[name] = node
        builder.foundation = foundation
        builder.python_code = python_code
        if postprocess_code is not None:
            builder.postprocess_code = postprocess_code
        builder.functional = Str(functional or functional_of(pseudo_family, builder['pw']))
        if inputs.get('supercell_matrix') is not None:
            builder.supercell_matrix = List(inputs['supercell_matrix'])
        harmonic = Recipe.HARMONIC in made
        names = ['selection', *(['rattle', 'relax'] if Recipe.PAPER in made else [])]
        names += ['harmonic'] if harmonic else []
        by = inputs['harmonic']['relax'] if harmonic else None
        names += ['relax_structure'] if Recipe.PAPER in made or by == 'potential' else []
        for name in names:
            if inputs.get(name) is not None:
                builder[name] = Dict(inputs[name])
        if structure is not None and by == 'dft':
            builder.relax_dft = unit_cell_relax_builder(
                pw_code,
                StructureData(ase=primitive_cell(structure.get_ase(), inputs['symprec'])),
                pseudo_family,
                inputs['relax_dft'],
                inputs.get('cutoff_stringency'),
                electronic_type,
                protocol,
            )
        else:
            builder.pop('relax_dft', None)
        if harmonic and inputs.get('phonon_supercell_matrix') is not None:
            builder.phonon_supercell_matrix = List(inputs['phonon_supercell_matrix'])
        if made == (Recipe.HARMONIC,) and frames is None and 'min_frames' not in overrides:
            inputs['min_frames'] = 1
        builder.symprec = Float(inputs['symprec'])
        for name in ('seed', 'max_concurrent', 'min_frames', 'max_atoms'):
            builder[name] = Int(inputs[name])
        on_gpu = 'cuda' in {(inputs.get(name) or {}).get('device') for name in ('relax', 'relax_structure')}
        if of_python := options_for(options, *([GPU] if on_gpu else [])):
            builder.options = Dict({**of_python, 'withmpi': False, 'resources': dict(SERIAL_RESOURCES)})
        return set_options(builder, overrides, options)


def fit_cells(
    structure: StructureData, inputs: dict[str, Any], overrides: Mapping[str, Any], recipes: tuple[Recipe, ...]
) -> None:
    """Shorten the shortest edge of supercells that are larger than `max_atoms`, unless edge or supercell are given.

    :param inputs: of the protocol; the edges in them are changed.
    """
    stages = {
        Recipe.PAPER: ('rattle', 'supercell_matrix', supercell_matrix),
        Recipe.HARMONIC: ('harmonic', 'phonon_supercell_matrix', phonon_supercell_matrix),
    }
    for recipe in recipes:
        stage, port, matrix_of = stages[recipe]
        given = overrides.get(stage) or {}
        if inputs.get(port) is not None or EDGE in given:
            continue
        choose = partial(matrix_of, structure, None, symprec=inputs['symprec'])
        inputs[stage] = fit_cell(structure, inputs[stage], inputs['max_atoms'], choose)


def recipes_of(name: str) -> tuple[Recipe, ...]:
    """Return the recipes that a name stands for.

    :raises ValueError: if it stands for none.
    """
    if name not in RECIPES:
        raise ValueError(f'unknown `recipe` `{name}`: {nearest(name, RECIPES)}')
    return RECIPES[name]


def without_extensive(pw: Mapping[str, Any]) -> dict[str, Any]:
    """Return overrides of a pw.x calculation without the thresholds that grow with the number of atoms."""
    calculation = dict(pw.get('pw') or {})
    parameters = dict(calculation.get('parameters') or {})
    if not parameters:
        return dict(pw)
    for namelist, name in EXTENSIVE.items():
        if namelist in parameters:
            parameters[namelist] = {key: value for key, value in (parameters[namelist] or {}).items() if key != name}
    return {**pw, 'pw': {**calculation, 'parameters': parameters}}


def check_crystal(
    structure: StructureData,
    foundation: PotentialData,
    inputs: Mapping[str, Any],
    recipes: tuple[Recipe, ...],
    *,
    is_rattled: bool,
) -> None:
    """Refuse a crystal, or settings of its frames, from which no supercell can be made.

    :raises ValueError: with a sentence.
    """
    problem = structure_problem(structure, foundation.elements) or kinds_problem(structure)
    if Recipe.PAPER in recipes and is_rattled:
        problem = problem or validate_rattle(Dict(inputs['rattle']), None)
    if Recipe.HARMONIC in recipes:
        problem = problem or validate_harmonic(Dict(inputs['harmonic']), None)
    if problem:
        raise ValueError(problem)


def sample_structure(
    structure: StructureData | None,
    frames: TrajectoryData | None,
    inputs: Mapping[str, Any],
    recipes: tuple[Recipe, ...],
) -> StructureData:
    """Return a structure like those that DFT will get, from which its inputs follow.

    :raises ValueError: if there is none, or it is too large.
    """
    is_harmonic, is_rattled = Recipe.HARMONIC in recipes, Recipe.PAPER in recipes and frames is None
    if structure is None:
        if frames is None or is_harmonic:
            raise ValueError('give a `structure` to rattle or to displace, or `frames` to label')
        return StructureData(ase=trajectory_atoms(frames)[0])
    images = [] if frames is None else [trajectory_atoms(frames)[0]]
    if is_rattled:
        matrix = supercell_matrix(structure, inputs.get('supercell_matrix'), inputs['rattle'], inputs['symprec'])
        images.append(_supercell(structure, matrix, inputs['max_atoms']))
    if is_harmonic:
        matrix = phonon_supercell_matrix(
            structure, inputs.get('phonon_supercell_matrix'), inputs['harmonic'], inputs['symprec']
        )
        images.append(_supercell(structure, matrix, inputs['max_atoms']))
    # Thresholds are per atom: those of the smallest are good enough for all.
    return StructureData(ase=min(images, key=len))


def _supercell(structure: StructureData, matrix: Any, max_atoms: int) -> Any:
    """Return a supercell.

    :raises ValueError: if it is too large.
    """
    problem = check_size(len(structure.sites), max_atoms, matrix, 'label')
    if problem:
        raise ValueError(problem)
    return make_supercell(structure.get_ase(), matrix)
