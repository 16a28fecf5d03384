"""Read the phonons that were staged for a job."""

from __future__ import annotations

from typing import Any

from .job_io import DriverFailure, read_arrays


def read_phonon(file: str, name: str, acoustic_sum_rule: bool = True) -> Any:
    """Return the phonons of a file with force constants.

    :param name: what they are called in the inputs.
    :raises DriverFailure: if no force constants follow from them.
    """
    from ..science.phonopy_io import phonon_from_arrays

    arrays = read_arrays(file)
    try:
        return phonon_from_arrays(arrays, acoustic_sum_rule)
    except (ValueError, RuntimeError) as error:
        raise DriverFailure('phonons_unusable', f'no force constants of `{name}`: {error}') from error
