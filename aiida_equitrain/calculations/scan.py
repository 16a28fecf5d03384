"""Evaluate a potential on structures of different sizes, or relax them: all in one job."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine.processes.process_spec import CalcJobProcessSpec
from ase.data import chemical_symbols
from numpy.typing import NDArray

from aiida_equitrain.calculations.evaluation import COMMON_SETTINGS, PARTIAL, EvaluationCalculation
from aiida_equitrain.calculations.relax import RelaxCalculation
from aiida_equitrain.calculations.script_job import Output
from aiida_equitrain.common.settings import Setting
from aiida_equitrain.science.frames import PACKED
from aiida_equitrain.science.structures import check_elements


class BatchCalculation(EvaluationCalculation):
    """Base of the jobs that take structures of different sizes."""

    CHECKED = ('potential', 'frames')

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare the structures."""
        super().define(spec)
        spec.input(
            'frames',
            valid_type=orm.ArrayData,
            help='Structures, one after another: `n_atoms` (F,), `numbers` and `positions` (Å) of all atoms, `cells` '
            '(F, 3, 3) Å.',
        )

    @classmethod
    def validate_inputs(cls, inputs: dict[str, Any]) -> str | None:
        """Return a sentence if the structures are incomplete, or have elements that the potential does not know."""
        frames = inputs['frames']
        missing = [name for name in PACKED if name not in frames.get_arraynames()]
        if missing:
            return f'`frames` lacks the array(s) {", ".join(missing)}; take those of `ModesCalculation`.'
        symbols = {chemical_symbols[number] for number in frames.get_array('numbers')}
        return check_elements(symbols, inputs['potential'].elements, 'frames')

    def get_structures(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of ``structures.npz``."""
        return {name: self.inputs.frames.get_array(name) for name in PACKED}


class ScanCalculation(BatchCalculation):
    """Energies, forces and stresses of structures of different sizes."""

    DRIVER = 'scan'
    OUTPUTS = PARTIAL | {
        'scan': Output(
            'scan.npz',
            '`energies` (F,) eV, `forces` (all atoms, 3) eV/Å, `stress` (F, 3, 3) eV/Å³, positive under tension.',
        ),
    }
    SETTINGS = COMMON_SETTINGS


class RelaxPhasesCalculation(BatchCalculation):
    """Relax displaced structures, first with the cell fixed, then with the cell free."""

    DRIVER = 'relax_phases'
    OUTPUTS = PARTIAL | {
        'relaxed': Output(
            'relaxed.npz',
            '`n_atoms` (F,), `numbers`, and for `fixed` and `free` cells: `<cell>_positions` (Å), `<cell>_cells` '
            '(F, 3, 3) Å, `<cell>_energies` (F,) eV, `<cell>_converged` (F,).',
        ),
    }
    SETTINGS = {
        **{
            key: value
            for key, value in RelaxCalculation.SETTINGS.items()
            if key not in ('relax_cell', 'volume_factors')
        },
        'fix_symmetry': Setting(True, 'keep the space group of the start, so that each direction has its own child'),
        'symprec': Setting(1e-3, 'tolerance of that space group, Å', minimum=0.0, exclusive=True),
    }
    FAILURES = EvaluationCalculation.FAILURES | {'not_converged': 'ERROR_NOT_CONVERGED'}

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare the exit code."""
        super().define(spec)
        spec.exit_code(
            400,
            'ERROR_NOT_CONVERGED',
            message='No structure relaxed; raise `max_steps` or `fmax_ev_per_angstrom` of `settings`: {message}',
        )
