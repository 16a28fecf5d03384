"""Have the files made that other programs take of a potential: by a job, as that runs what is in a model file."""

from __future__ import annotations

from typing import Any

from aiida.common.exceptions import NotExistent
from aiida.manage import get_manager
from aiida.manage.caching import enable_caching

from aiida_equitrain.calculations.convert import CONVERTED, ConvertCalculation
from aiida_equitrain.data.imported import is_imported
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.launch.in_process import run_here
from aiida_equitrain.launch.labels import name_of
from aiida_equitrain.launch.run import describe_end
from aiida_equitrain.setup.defaults import find_code, python_label


class ConversionError(ValueError):
    """No file can be made, for a reason that is one sentence."""


def came_with_archive(potential: PotentialData) -> bool:
    """Return whether the files of a potential, or of its foundation, may be a stranger's."""
    root = potential.foundation
    return is_imported(potential) or (root is not None and is_imported(root))


def convert(potential: PotentialData, python: str | None = None, needs: str = 'lammps') -> Any:
    """Return the job that made the files of a potential; what was made before is taken from the cache.

    The job runs in this process, on the computer of its code; Ctrl-C ends it.

    :param python: label of the code; by default the Python of the set-up that has the potential's family.
    :param needs: the output without which it is of no use.
    :raises ConversionError: if there is no such code, the profile takes no jobs, or the job fails.
    """
    if potential.family not in CONVERTED:
        raise ConversionError(f'the family {potential.family} has no converter for LAMMPS')
    if get_manager().get_profile_storage().read_only:
        raise ConversionError('the profile is read-only: no job can be run in it')
    try:
        code = find_code(python or python_label(potential))
    except NotExistent as exception:
        raise ConversionError(str(exception)) from exception
    builder: Any = ConvertCalculation.get_builder()
    builder.code, builder.potential = code, potential
    builder.metadata.label = f'{name_of(potential)}, for LAMMPS'
    with enable_caching(identifier='aiida.calculations:equitrain.convert'):
        node: Any = run_here(builder)
    if needs not in node.outputs:
        raise ConversionError(f'{node.process_label} {node.pk} {describe_end(node)}')
    return node
