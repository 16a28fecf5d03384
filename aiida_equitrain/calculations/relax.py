"""Relax structures with a potential: all of them in one job."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine.processes.process_spec import CalcJobProcessSpec
from numpy.typing import NDArray

from aiida_equitrain.calculations.arrays import structure_arrays, trajectory_arrays
from aiida_equitrain.calculations.evaluation import COMMON_SETTINGS, PARTIAL, EvaluationCalculation, frames_problem
from aiida_equitrain.calculations.script_job import Output
from aiida_equitrain.common.phonon_settings import shared
from aiida_equitrain.common.settings import Setting


class RelaxCalculation(EvaluationCalculation):
    """Relax one structure, or many frames of the same atoms, and keep every step of every trajectory."""

    DRIVER = 'relax'
    OUTPUTS = PARTIAL | {
        'trajectory': Output(
            'trajectory.npz',
            'Every step of every trajectory, one after another; step ids count through. Arrays beside positions '
            'and cells: `energies` (S,) eV, `forces` (S, N, 3) eV/Å, `stress` (S, 3, 3) eV/Å³, positive under '
            'tension, `trajectory_index` (S,), `trajectory_step` (S,).',
            orm.TrajectoryData,
        ),
    }
    SETTINGS = COMMON_SETTINGS | {
        'fmax_ev_per_angstrom': Setting(
            1e-4, 'largest force (and virial per atom, in eV) when converged', minimum=0.0, exclusive=True
        ),
        'max_steps': Setting(500, 'steps after which a trajectory is given up', minimum=0),
        'relax_cell': Setting(True, 'relax the cell as well'),
        'constant_volume': Setting(False, 'relax the shape of the cell only, if the cell is relaxed'),
        'fix_symmetry': Setting(False, 'keep the space group'),
        **shared('symprec'),
        'volume_factors': Setting(
            [], 'volumes, in units of the relaxed one, at which `structure` is then relaxed again, cell shape included'
        ),
        'optimizer': Setting('BFGS', 'ASE optimizer', choices=('BFGS', 'LBFGS', 'FIRE')),
    }
    FAILURES = EvaluationCalculation.FAILURES | {
        'not_converged': 'ERROR_NOT_CONVERGED',
        'cell_diverged': 'ERROR_CELL_DIVERGED',
    }

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare the ports."""
        super().define(spec)
        spec.input('structure', valid_type=orm.StructureData, required=False, help='The structure; or give `frames`.')
        spec.input(
            'frames',
            valid_type=orm.TrajectoryData,
            required=False,
            help='Structures of the same atoms, each the start of a trajectory; or give `structure`.',
        )
        spec.output(
            'relaxed_structure',
            valid_type=orm.StructureData,
            required=False,
            help='The last step, if `structure` was given and it converged; not that of a `volume_factors`.',
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
        settings = dict(inputs['settings']) if 'settings' in inputs else {}
        if settings.get('volume_factors') and given != ['structure']:
            return '`settings.volume_factors` is for one `structure`, not for `frames`.'
        return frames_problem(inputs, given[0])

    @classmethod
    def validate_settings(cls, value: orm.Dict | None, ctx: Any) -> str | None:
        """Return a sentence if a key is unknown or its value is wrong."""
        problem = super().validate_settings(value, ctx)
        if problem or value is None:
            return problem
        return volumes_problem(dict(value).get('volume_factors', []))

    def get_structures(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of ``structures.npz``."""
        if 'structure' in self.inputs:
            return structure_arrays(self.inputs.structure)
        return trajectory_arrays(self.inputs.frames)


def volumes_problem(factors: list[Any]) -> str | None:
    """Return a sentence if volumes relative to the relaxed one are no such numbers."""
    if all(isinstance(item, int | float) and not isinstance(item, bool) and 0.5 < item < 2 for item in factors):
        return None
    return f'`settings.volume_factors` must be numbers between 0.5 and 2, such as [0.97, 1.0, 1.03], not {factors}.'


def last_steps(trajectory: orm.TrajectoryData) -> NDArray[np.int64]:
    """Return the index of the last step of each trajectory."""
    owners = trajectory.get_array('trajectory_index')
    return np.flatnonzero(np.append(owners[1:] != owners[:-1], True))
