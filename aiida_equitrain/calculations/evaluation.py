"""What the jobs that evaluate a potential share: ports, settings, structures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida import orm
from aiida.engine.processes.process_spec import CalcJobProcessSpec
from numpy.typing import NDArray

from aiida_equitrain.calculations.arrays import structure_symbols
from aiida_equitrain.calculations.script_job import Output, PotentialScriptCalculation
from aiida_equitrain.common.settings import Setting
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science.structures import check_elements

#: Of jobs that evaluate many structures.
BATCH_SIZE = Setting(1, 'frames evaluated at once; above 1 for GPUs only', minimum=1)
#: What is done of a job that ends before all is.
PARTIAL = {
    'partial': Output(
        'partial.npz',
        'What was done when the job was ended from outside, for the input `partial` of the next one.',
        orm.SinglefileData,
        may_lack=True,
    )
}
#: Settings of every job that evaluates a potential.
COMMON_SETTINGS = {
    'dtype': Setting('float64', 'precision of the model', choices=('float64', 'float32')),
    'device': Setting('cpu', 'where torch computes', choices=('cpu', 'cuda')),
    'threads': Setting(0, 'threads of torch and BLAS; 0: as the machine and its environment like', minimum=0),
}


class EvaluationCalculation(PotentialScriptCalculation):
    """Base of the jobs that run a driver with a potential on structures of the same atoms."""

    SETTINGS = COMMON_SETTINGS
    MEMORY = 'lower `batch_size` of `settings` or take more memory'
    CHECKED: ClassVar[tuple[str, ...]] = ('potential', 'frames')
    POTENTIAL_PORT, DEVICE_PORT = 'potential', 'settings'
    STRUCTURES, PARTIAL_IN = 'structures.npz', 'partial_in.npz'
    FAILURES = PotentialScriptCalculation.FAILURES | {'forces_not_finite': 'ERROR_FORCES_NOT_FINITE'}

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare the ports that all evaluations share."""
        super().define(spec)
        spec.input('potential', valid_type=PotentialData, help='The potential.')
        if 'partial' in cls.OUTPUTS:
            spec.input(
                'partial',
                valid_type=orm.SinglefileData,
                required=False,
                help='What an interrupted job with the same inputs has done, to be continued.',
            )
        spec.exit_code(
            410,
            'ERROR_FORCES_NOT_FINITE',
            message='The `potential` gives forces that are not finite; it is broken or far from its data: {message}',
        )

    def get_job(self) -> dict[str, Any]:
        """Return the content of ``job.json``."""
        potential = self.inputs.potential
        return {
            'potential': {'filename': potential.FILENAME, 'family': potential.family, 'head': potential.head},
            'settings': self.get_settings(),
        }

    def get_structures(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of ``structures.npz``."""
        raise NotImplementedError

    def get_arrays(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return the structures."""
        return {self.STRUCTURES: self.get_structures()}

    def get_copies(self) -> list[tuple[str, str, str]]:
        """Return the files of the potential."""
        copies: list[tuple[str, str, str]] = self.inputs.potential.stage()
        if 'partial' in self.inputs:
            copies.append((self.inputs.partial.uuid, self.inputs.partial.filename, self.PARTIAL_IN))
        return copies


def frames_problem(inputs: Mapping[str, Any], name: str = 'frames') -> str | None:
    """Return what is wrong with ``inputs[name]`` for ``inputs['potential']``, or ``None``."""
    frames = inputs[name]
    if isinstance(frames, orm.StructureData):
        if frames.is_alloy or frames.has_vacancies:
            return f'`{name}` has sites with partial occupancy; a potential needs one whole atom per site.'
        symbols, periodic = structure_symbols(frames), all(frames.pbc)
    else:
        if frames.get_cells() is None:
            return f'`{name}` has no cells; give periodic frames.'
        symbols, periodic = list(frames.symbols), frames.pbc is None or all(frames.pbc)
    if not periodic:
        return f'`{name}` is not periodic in all three directions.'
    potential = inputs.get('potential')
    return None if potential is None else check_elements(symbols, potential.elements, name)
