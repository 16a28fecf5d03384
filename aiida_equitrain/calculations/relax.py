"""Relax structures with a potential: all of them in one job."""

from __future__ import annotations

from typing import Any

from aiida import orm
from numpy.typing import NDArray

from aiida_equitrain.calculations.evaluation import (
    COMMON_SETTINGS,
    EvaluationCalculation,
    frames_problem,
    structure_arrays,
    trajectory_arrays,
)
from aiida_equitrain.common.settings import Setting


class RelaxCalculation(EvaluationCalculation):
    """Relax one structure, or many frames of the same atoms, and keep every step of every trajectory."""

    DRIVER = 'relax.py'
    RESULTS = ('trajectory.npz',)
    SETTINGS = COMMON_SETTINGS | {
        'fmax_ev_per_angstrom': Setting(
            1e-4, 'largest force (and virial per atom, in eV) when converged', minimum=0.0, exclusive=True
        ),
        'max_steps': Setting(500, 'steps after which a trajectory is given up', minimum=0),
        'relax_cell': Setting(True, 'relax the cell as well'),
        'constant_volume': Setting(False, 'relax the shape of the cell only, if the cell is relaxed'),
        'fix_symmetry': Setting(False, 'keep the space group'),
        'symprec': Setting(1e-4, 'tolerance of the space group, Å', minimum=0.0, exclusive=True),
        'optimizer': Setting('BFGS', 'ASE optimizer', choices=('BFGS', 'LBFGS', 'FIRE')),
    }
    FAILURES = EvaluationCalculation.FAILURES | {
        'not_converged': 'ERROR_NOT_CONVERGED',
        'cell_diverged': 'ERROR_CELL_DIVERGED',
    }

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare the ports."""
        super().define(spec)
        spec.input('structure', valid_type=orm.StructureData, required=False, help='The structure; or give `frames`.')
        spec.input(
            'frames',
            valid_type=orm.TrajectoryData,
            required=False,
            help='Structures of the same atoms, each the start of a trajectory; or give `structure`.',
        )
        spec.inputs['metadata']['options']['parser_name'].default = 'equitrain.relax'
        spec.output(
            'trajectory',
            valid_type=orm.TrajectoryData,
            required=False,
            help='Every step of every trajectory, one after another; step ids count through. Arrays beside positions '
            'and cells: `energies` (S,) eV, `forces` (S, N, 3) eV/Å, `stress` (S, 3, 3) eV/Å³, positive under '
            'tension, `trajectory_index` (S,), `trajectory_step` (S,).',
        )
        spec.output(
            'relaxed_structure',
            valid_type=orm.StructureData,
            required=False,
            help='The last step, if `structure` was given and it converged.',
        )
        spec.exit_code(
            400,
            'ERROR_NOT_CONVERGED',
            message='A relaxation did not converge; raise `max_steps` or `fmax_ev_per_angstrom` of `settings`, or '
            'go on from the end of `trajectory`: {message}',
        )
        spec.exit_code(
            411,
            'ERROR_CELL_DIVERGED',
            message='A cell exploded or collapsed: `potential` is unfit for the structure: {message}',
        )

    @classmethod
    def validate_inputs(cls, inputs: dict[str, Any]) -> str | None:
        """Return a sentence if not exactly one kind of structure is given, or if the potential cannot treat it."""
        given = [name for name in ('structure', 'frames') if name in inputs]
        if len(given) != 1:
            return 'give either `structure` or `frames`' + (', not both.' if given else '.')
        return frames_problem(inputs, given[0])

    def get_structures(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of ``structures.npz``."""
        if 'structure' in self.inputs:
            return structure_arrays(self.inputs.structure)
        return trajectory_arrays(self.inputs.frames)
