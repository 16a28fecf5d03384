"""Write a potential as the files that other programs load, in a job: to do so runs what is in a model file."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine.processes.process_spec import CalcJobProcessSpec

from aiida_equitrain.calculations.evaluation import COMMON_SETTINGS
from aiida_equitrain.calculations.script_job import Output, PotentialScriptCalculation
from aiida_equitrain.common.names import Family
from aiida_equitrain.data.potential import PotentialData

#: Families with a converter for LAMMPS of their own.
CONVERTED = (Family.MACE.value, Family.SEVENNET.value)


def validate_potential(value: PotentialData | None, _: Any) -> str | None:
    """Return a sentence if the family has no converter."""
    if value is None or value.family in CONVERTED:
        return None
    return (
        f'`potential` is of the family {value.family}, which has no converter for LAMMPS; what adapters of Nequix '
        'amount to is written without any job (`aiida-equitrain potential export`).'
    )


class ConvertCalculation(PotentialScriptCalculation):
    """Put an adapter and its foundation together, and make the file for LAMMPS by the family's own converter."""

    DRIVER = 'convert'
    OUTPUTS = {
        'whole_model': Output(
            'whole_model',
            'Of an adapter: the model that it makes of its foundation, as one file of the family.',
            orm.SinglefileData,
            may_lack=True,
        ),
        'lammps': Output(
            'lammps.pt',
            'What LAMMPS takes: of `mace_create_lammps_model` for `pair_style mace`, of `sevenn get_model` for '
            '`pair_style e3gnn`.',
            orm.SinglefileData,
        ),
    }
    SETTINGS = {name: COMMON_SETTINGS[name] for name in ('dtype', 'threads')}
    MEMORY = 'take more memory'
    POTENTIAL_PORT, DEVICE_PORT = 'potential', 'settings'
    FAILURES = PotentialScriptCalculation.FAILURES | {'not_converted': 'ERROR_NOT_CONVERTED'}

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare the port of the potential, and how a conversion can fail."""
        super().define(spec)
        spec.input('potential', valid_type=PotentialData, validator=validate_potential, help='The potential.')
        spec.exit_code(
            325,
            'ERROR_NOT_CONVERTED',
            message='The converter of the family makes no file for LAMMPS of `potential`, whose model may have parts '
            'that it does not know: {message}',
        )

    def get_job(self) -> dict[str, Any]:
        """Return the content of ``job.json``."""
        node = self.inputs.potential
        potential = {'filename': node.FILENAME, 'family': node.family, 'head': node.head, 'dtype': node.dtype}
        return {'potential': potential, 'settings': self.get_settings()}

    def get_copies(self) -> list[tuple[str, str, str]]:
        """Return the files of the potential."""
        copies: list[tuple[str, str, str]] = self.inputs.potential.stage()
        return copies
