"""Compare the phonons of potentials with reference phonons, and with force constants fitted without a potential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiida import orm
from aiida.engine.processes.process_spec import CalcJobProcessSpec
from aiida_phonopy.data.phonopy import PhonopyData
from numpy.typing import NDArray

from aiida_equitrain.calculations.arrays import phonons_problem, phonopy_arrays, validate_phonons
from aiida_equitrain.calculations.harmonic import HarmonicCalculation, verdict_facts
from aiida_equitrain.calculations.script_job import Output, ScriptCalculation
from aiida_equitrain.common.names import Role
from aiida_equitrain.common.phonon_settings import shared
from aiida_equitrain.common.settings import Setting, with_defaults
from aiida_equitrain.common.validation import refuse_unknown
from aiida_equitrain.data.dataset import DatasetData


def validate_candidates(value: Mapping[str, PhonopyData], _: Any) -> str | None:
    """Return a sentence if there is no candidate, or one that has no forces or a reserved name."""
    if not value:
        return 'give at least one set of phonons under `candidates`, such as `candidates.finetuned`'
    reserved = {'reference', 'symfc'} & set(value)
    if reserved:
        return f'`candidates.{reserved.pop()}` has a reserved name; choose another'
    return phonons_problem(value, 'candidates')


def validate_harmonic(value: Mapping[str, orm.Dict], _: Any) -> str | None:
    """Return a sentence if settings of harmonic properties are wrong."""
    problems = ((name, HarmonicCalculation.validate_settings(node, None)) for name, node in value.items())
    return next((f'`harmonic.{name}`: {problem}' for name, problem in problems if problem), None)


#: Ports of a comparison that a WorkChain fills in itself, and so does not show.
FILLED_IN = ('code', 'reference', 'candidates', 'dataset', 'harmonic', 'corrections', 'at_reference')


class CompareCalculation(ScriptCalculation):
    """Errors of phonons on a mesh, curves of all sides, and the symfc baseline, in one job.

    With ``harmonic`` it is also the ``equitrain.harmonic`` of the candidates that are named there: one job less to
    wait for in a queue.
    """

    DRIVER, PARSER = 'compare', 'equitrain.harmonic'
    OUTPUTS = {
        'comparison': Output(
            'comparison.json',
            'Metrics of all sides, units in the keys; frequencies of all sides at the points of the path that have a '
            'name (`points`), and where along it each side is furthest from the reference (`worst`); `at_reference`: '
            'metrics of the candidates at the cell of the reference, with their mean errors at those points.',
        ),
        'bands': Output(
            'bands.npz',
            'Frequencies (THz) of all sides along the path of the reference, or of the first candidate, and densities '
            'of states (per THz) on the mesh.',
        ),
        'thermal': Output(
            'thermal.npz',
            'Heat capacity and entropy (J/K/mol), free energy (kJ/mol) of all sides over temperature (K).',
        ),
    }
    NEEDS = INSTALL = 'phonopy, symfc and seekpath'
    MEMORY = 'lower `mesh` of `settings`, or `projected_mesh` of `harmonic`'
    CHECKED = ('candidates', 'reference')
    SETTINGS = {
        **shared('mesh', 'temperature_k', 'stability_tolerance_thz', 'band_points'),
        'acoustic_sum_rule': Setting(True, 'impose it on finite-displacement force constants'),
        'subtract_residual_forces': Setting(False, 'those of the pristine supercell, where they are known'),
        'symfc_roles': Setting([Role.TRAIN.value, Role.VALID.value], 'frames that the fit uses'),
        'temperatures_k': Setting([0.0, 1000.0, 20.0], 'of the curves: [lowest, highest, step]'),
    }
    FRAMES = 'frames.npz'
    FAILURES = ScriptCalculation.FAILURES | {
        'phonons_unusable': 'ERROR_PHONONS_UNUSABLE',
        'different_crystals': 'ERROR_DIFFERENT_CRYSTALS',
    }

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare inputs, outputs and exit codes."""
        super().define(spec)
        spec.input(
            'reference',
            valid_type=PhonopyData,
            required=False,
            validator=validate_phonons,
            help='Phonons that errors are measured against, usually of DFT; without them there are no errors.',
        )
        spec.input_namespace(
            'candidates',
            valid_type=PhonopyData,
            dynamic=True,
            validator=validate_candidates,
            help='Phonons to be judged, by name, such as `foundation` and `finetuned`.',
        )
        spec.input(
            'dataset',
            valid_type=DatasetData,
            required=False,
            help='Labelled frames, for force constants fitted by symfc without a potential.',
        )
        spec.input_namespace(
            'at_reference',
            valid_type=PhonopyData,
            dynamic=True,
            required=False,
            help='By name of a candidate: its phonons at the cell of `reference`, where its own is another. Their '
            'errors are given beside; they have no curves.',
        )
        spec.input_namespace(
            'harmonic',
            valid_type=orm.Dict,
            dynamic=True,
            required=False,
            validator=validate_harmonic,
            help='By name of a candidate: settings of `equitrain.harmonic`, whose outputs for it are made as well.',
        )
        spec.input_namespace(
            'corrections',
            valid_type=orm.Dict,
            dynamic=True,
            required=False,
            help='By name of a candidate in `harmonic`: its `correction`, as of `equitrain.harmonic`.',
        )
        spec.output_namespace(
            'harmonic', dynamic=True, help='By name of a candidate: the outputs of `equitrain.harmonic`.'
        )
        spec.exit_code(
            410,
            'ERROR_PHONONS_UNUSABLE',
            message='No force constants follow from `reference` or one of `candidates`; compute it again: {message}',
        )
        spec.exit_code(
            411,
            'ERROR_DIFFERENT_CRYSTALS',
            message='One of `candidates` is not the crystal of `reference`; a relaxation may have left it: {message}',
        )

    @classmethod
    def validate_inputs(cls, inputs: dict[str, Any]) -> str | None:
        """Return a sentence if a name is none of a candidate, or only some sides have a non-analytical term."""
        for port, known in (
            ('harmonic', 'candidates'),
            ('corrections', 'harmonic'),
            ('at_reference', 'candidates'),
        ):
            unknown = set(inputs.get(port, {})) - set(inputs.get(known, {}))
            if unknown:
                return f'`{port}.{min(unknown)}` has no `{known}.{min(unknown)}`: give it, or leave it out.'
        sides = {f'candidates.{name}': node for name, node in inputs['candidates'].items()}
        sides |= {'reference': inputs['reference']} if 'reference' in inputs else {}
        beside = {f'at_reference.{name}': node for name, node in inputs.get('at_reference', {}).items()}
        if beside and 'reference' not in inputs:
            return f'`{min(beside)}` has no `reference` at whose cell it could be: give it, or leave it out.'
        if problem := phonons_problem(inputs.get('at_reference', {}), 'at_reference'):
            return problem
        sides |= beside
        without = [name for name, node in sides.items() if not node.has_nac_parameters()]
        if without and len(without) < len(sides):
            return (
                f'`{"`, `".join(without)}` have no Born charges but the other phonons do: give all of them the same '
                '`nac`, or what is compared is the non-analytical term.'
            )
        return None

    @classmethod
    def validate_settings(cls, value: orm.Dict | None, ctx: Any) -> str | None:
        """Return a sentence if a key is unknown or its value is wrong."""
        problem = super().validate_settings(value, ctx)
        if problem or value is None:
            return problem
        settings = with_defaults(dict(value), cls.SETTINGS)
        mesh, temperatures = settings['mesh'], settings['temperatures_k']
        if len(mesh) != 3 or not all(isinstance(n, int) and n > 0 for n in mesh):
            return f'`settings.mesh` must be three positive integers, not {mesh!r}.'
        low, high, step = temperatures if len(temperatures) == 3 else (0, -1, 0)
        if low < 0 or high < low or step <= 0:
            return f'`settings.temperatures_k` must be [lowest, highest, step], not {temperatures!r}.'
        return refuse_unknown(settings['symfc_roles'], [role.value for role in Role], '`settings.symfc_roles`')

    @classmethod
    def outputs_of(cls, inputs: Any) -> dict[str, Output]:
        """Return the outputs, those of harmonic properties among them."""
        harmonic = {
            f'harmonic.{side}.{name}': replace(output, file=cls.prefix(side) + output.file)
            for side in (inputs.harmonic if 'harmonic' in inputs else ())
            for name, output in HarmonicCalculation.OUTPUTS.items()
        }
        return cls.OUTPUTS | harmonic

    @classmethod
    def prefix(cls, side: str) -> str:
        """Return how the files begin that hold the harmonic properties of a candidate."""
        return f'harmonic_{side}_'

    def get_job(self) -> dict[str, Any]:
        """Return the content of ``job.json``."""
        harmonic = {
            side: {
                **with_defaults(dict(settings), HarmonicCalculation.SETTINGS),
                'verdict': verdict_facts(self.inputs.candidates[side], self.inputs.get('corrections', {}).get(side)),
                'prefix': self.prefix(side),
                'phonons': self.plain_file(side),
            }
            for side, settings in self.inputs.get('harmonic', {}).items()
        }
        return {
            **self.get_settings(),
            'candidates': sorted(self.inputs.candidates),
            'at_reference': sorted(self.inputs.get('at_reference', {})),
            'harmonic': harmonic,
            'has_reference': 'reference' in self.inputs,
            'has_dataset': 'dataset' in self.inputs,
        }

    def get_arrays(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return the phonons of every side."""
        sides = {f'candidate_{name}.npz': node for name, node in self.inputs.candidates.items()}
        if 'reference' in self.inputs:
            sides['reference.npz'] = self.inputs.reference
        sides |= {f'at_reference_{name}.npz': node for name, node in self.inputs.get('at_reference', {}).items()}
        subtract = self.get_settings()['subtract_residual_forces']
        arrays = {filename: phonopy_arrays(node, subtract) for filename, node in sides.items()}
        plain = {self.plain_file(side): self.inputs.candidates[side] for side in self.inputs.get('harmonic', {})}
        return arrays | {file: phonopy_arrays(node) for file, node in plain.items() if file not in arrays}

    def plain_file(self, side: str) -> str:
        """Return the file of a candidate with its forces as they are, which its harmonic properties are those of."""
        subtract = self.get_settings()['subtract_residual_forces']
        return f'{self.prefix(side)}{HarmonicCalculation.PHONONS}' if subtract else f'candidate_{side}.npz'

    def get_copies(self) -> list[tuple[str, str, str]]:
        """Return the file of the dataset."""
        return self.inputs.dataset.stage(self.FRAMES) if 'dataset' in self.inputs else []
