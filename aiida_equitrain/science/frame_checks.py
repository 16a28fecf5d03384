"""Checks of labelled frames: one sentence for each way to be wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.geometry import minkowski_reduce

from ..common.names import Role
from ..common.validation import enumerate_names, nearest
from .frames import Frame, Frames
from .text_files import shown

#: What no label of a crystal reaches: eV/Å³ (800 GPa), eV/Å. Beyond, the numbers are of another unit.
MAX_STRESS, MAX_FORCE = 5.0, 1000.0
#: An atom is alone if its nearest image is further away, Å; caesium's neighbours are at 5.3 Å.
ALONE = 7.0
#: How far a frame may lie above the lowest, eV an atom, beyond what its forces do over so many Å.
EXCITED, FORCE_REACH = 0.5, 1.0
#: How the sentence of :func:`other_physics` begins.
PHYSICS = 'its labels are of a calculation with'


def check_frames(frames: Frames) -> str | None:
    """Return a sentence about the first frame that is wrong, ``None`` if all are right."""
    if len(frames) == 0:
        return 'the dataset has no frames: give at least one labelled structure'
    for index, frame in enumerate(frames):
        problem = check_frame(frame)
        if problem:
            return f'frame {index}: {problem}'
    return None


def check_frame(frame: Frame) -> str | None:
    """Return a sentence about the first thing that is wrong with a frame."""
    problem = check_labels(frame) or role_problem(frame.role)
    if problem is None and frame.role != Role.TEST.value and is_isolated(frame):
        return 'it is an isolated atom, whose energy would move those of all crystals: leave it out'
    return problem


def check_labels(frame: Frame) -> str | None:
    """Return a sentence about the first thing that is wrong with a frame, its role apart."""
    size = len(frame)
    if size == 0:
        return 'it has no atoms'
    if np.ndim(frame.numbers) != 1 or np.min(frame.numbers) < 1 or np.max(frame.numbers) > 118:
        return 'its atomic numbers are no elements'
    if frame.forces is None or np.size(frame.forces) == 0:
        return 'it has no forces'
    shapes = {'positions': (size, 3), 'forces': (size, 3), 'cell': (3, 3), 'stress': (3, 3)}
    for name, shape in shapes.items():
        value = getattr(frame, name)
        if value is None:
            continue
        if np.shape(value) != shape:
            return f'its {name} have the shape {np.shape(value)} instead of {shape} ({size} atoms)'
        if not np.all(np.isfinite(value)):
            return f'its {name} are not finite (NaN or infinite)'
    if frame.energy is not None and not np.isfinite(frame.energy):
        return 'its energy is not finite (NaN or infinite)'
    if unit := _unit_problem(frame):
        return unit
    if any(frame.pbc) and abs(np.linalg.det(frame.cell)) < 1e-3:
        return 'it is periodic but its cell has no volume'
    return None


def excited_states(frames: Sequence[Frame]) -> dict[int, str]:
    """Return a sentence for each frame of a crystal whose electrons DFT did not bring to their ground state, by index.

    Moving atoms raises the energy only as far as forces and stress tell. A frame that lies further above the lowest one
    than :data:`EXCITED` is a calculation that ended in another state, which the variational principle puts above the
    ground state; so the lowest is the one that is right.

    :param frames: of one composition, near a minimum, by the same settings.
    """
    energies = {index: frame.energy / len(frame) for index, frame in enumerate(frames) if frame.energy is not None}
    found = {}
    for index, energy in energies.items():
        frame, above = frames[index], energy - min(energies.values())
        force = float(np.sqrt(np.mean(np.sum(frame.forces**2, axis=1))))
        stress = 0.0 if frame.stress is None else float(np.abs(frame.stress).max())
        work = FORCE_REACH * force + stress * abs(np.linalg.det(frame.cell)) / len(frame)
        if above > EXCITED + work:
            found[index] = (
                f'its energy is {above:.2f} eV an atom above the lowest frame, where forces and stress account for '
                f'{work:.2f}: DFT did not find the ground state of its electrons'
            )
    return found


def other_physics(has_spin: bool, has_u: bool) -> list[str]:
    """Return a sentence about what a calculation of labels had and a dataset does not say."""
    found = [name for name, there in (('spin', has_spin), ('a Hubbard U', has_u)) if there]
    return [f'{PHYSICS} {" and ".join(found)}, which is not kept: mix it with no frames without'] if found else []


def role_problem(role: str) -> str | None:
    """Return a sentence if a role is none of ours."""
    roles = [item.value for item in Role]
    if role in roles:
        return None
    if not role:
        return f'it has no role: give it one of {enumerate_names(roles)}'
    return f'its role `{shown(role)}` is unknown: {nearest(role[:40], roles)}'


def is_isolated(frame: Frame) -> bool:
    """Return whether a frame is one atom without neighbours, whose energy would move those of all crystals."""
    if len(frame) != 1:
        return False
    if not any(frame.pbc):
        return True
    cell, _ = minkowski_reduce(frame.cell, frame.pbc)
    return float(np.linalg.norm(cell[np.array(frame.pbc)], axis=1).min()) > ALONE


def _unit_problem(frame: Frame) -> str | None:
    """Return a sentence if the size of a label says that it is of another unit."""
    stress = 0.0 if frame.stress is None else float(np.abs(frame.stress).max())
    if stress > MAX_STRESS:
        return (
            f'its stress reaches {stress:g}, where {MAX_STRESS:g} eV/Å³ are 801 GPa: it is likely in kbar or GPa; '
            'multiply by 0.00062415 (kbar) or 0.0062415 (GPa) to get eV/Å³'
        )
    force = float(np.abs(frame.forces).max())
    if force > MAX_FORCE:
        return f'its forces reach {force:g}, beyond {MAX_FORCE:g} eV/Å: they are likely in meV/Å; divide them by 1000'
    return None


def check_roles(frames_roles: list[str]) -> str | None:
    """Return a sentence if a dataset cannot be trained on: no frames to train with or none to validate by."""
    for role in (Role.TRAIN, Role.VALID):
        if role.value not in frames_roles:
            purpose = 'train on' if role is Role.TRAIN else 'validate by'
            return f'the `dataset` has no frames to {purpose}: give at least one the role `{role.value}`'
    return None
