"""Evaluate forces on displaced supercells with a potential: all of them in one job."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine.processes.process_spec import CalcJobProcessSpec
from numpy.typing import NDArray

from aiida_equitrain.calculations.arrays import structure_arrays, structure_symbols, trajectory_arrays
from aiida_equitrain.calculations.evaluation import (
    BATCH_SIZE,
    COMMON_SETTINGS,
    PARTIAL,
    EvaluationCalculation,
    frames_problem,
)
from aiida_equitrain.calculations.script_job import Output
from aiida_equitrain.common.names import ForceMethod
from aiida_equitrain.common.settings import Setting
from aiida_equitrain.common.strategies import check_evaluation


class ForcesCalculation(EvaluationCalculation):
    """Evaluate energies, forces and stresses of many frames of the same atoms in one process."""

    DRIVER = 'forces'
    OUTPUTS = PARTIAL | {
        'forces': Output(
            'forces.npz',
            '`forces` (F, N, 3) eV/Å, `energies` (F,) eV, `stress` (F, 3, 3) eV/Å³ (not of the Hessian), '
            '`residual_forces` (N, 3) eV/Å of `supercell`. Of the Hessian, the forces are -Φ·u, without the residual.',
        ),
    }
    SETTINGS = COMMON_SETTINGS | {
        'method': Setting(
            ForceMethod.FINITE_DIFFERENCES.value,
            'evaluate every frame, or take -Φ·u from the analytic Hessian Φ of `supercell`',
            choices=tuple(method.value for method in ForceMethod),
        ),
        'batch_size': BATCH_SIZE,
    }
    FAILURES = EvaluationCalculation.FAILURES | {'hessian_unavailable': 'ERROR_HESSIAN_UNAVAILABLE'}

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare the ports."""
        super().define(spec)
        spec.input('frames', valid_type=orm.TrajectoryData, help='Structures of the same atoms.')
        spec.input(
            'supercell',
            valid_type=orm.StructureData,
            required=False,
            help='The undisplaced supercell: its forces are evaluated as well; the Hessian needs it.',
        )
        spec.exit_code(
            324,
            'ERROR_HESSIAN_UNAVAILABLE',
            message='The family of `potential` has no analytic Hessian; set `method` of `settings` to '
            '`finite-differences`: {message}',
        )

    @classmethod
    def validate_inputs(cls, inputs: dict[str, Any]) -> str | None:
        """Return a sentence if the frames do not fit the potential, the supercell or the method."""
        problem = frames_problem(inputs)
        if problem:
            return problem
        if 'supercell' in inputs:
            problem = frames_problem(inputs, 'supercell')
            if problem:
                return problem
            if structure_symbols(inputs['supercell']) != list(inputs['frames'].symbols):
                return '`supercell` and `frames` must hold the same atoms in the same order.'
        settings = inputs['settings'].get_dict() if 'settings' in inputs else {}
        if settings.get('method') == ForceMethod.HESSIAN.value and 'supercell' not in inputs:
            return 'the method `hessian` needs the undisplaced `supercell`.'
        if 'potential' not in inputs:
            return None
        return check_evaluation(inputs['potential'].family, settings.get('method'), settings.get('batch_size'))

    def get_structures(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of ``structures.npz``."""
        arrays = trajectory_arrays(self.inputs.frames)
        if 'supercell' in self.inputs:
            supercell = structure_arrays(self.inputs.supercell)
            arrays['supercell_positions'] = supercell['positions'][0]
            arrays['supercell_cell'] = supercell['cells'][0]
        return arrays
