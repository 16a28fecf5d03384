"""Read the phonons that were staged for a job."""

from __future__ import annotations

from typing import Any

from .job_io import DriverFailure, read_arrays

#: The file, where a job has one.
PHONONS = 'phonons.npz'


def read_phonons(file: str = PHONONS, name: str = 'phonopy_data', acoustic_sum_rule: bool = True) -> Any:
    """Return the phonons of a file with force constants.

    :param name: what they are called in the inputs.
    :raises DriverFailure: if no force constants follow from them.
    """
    from ..science.phonopy_io import phonon_from_arrays

    arrays = read_arrays(file)
    try:
        return phonon_from_arrays(arrays, acoustic_sum_rule)
    except Exception as error:  # phonopy and symfc raise many kinds
        raise DriverFailure('phonons_unusable', f'no force constants of `{name}`: {error}') from error
