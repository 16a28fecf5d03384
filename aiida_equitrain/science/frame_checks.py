"""Checks of labelled frames: one sentence for each way to be wrong."""

from __future__ import annotations

import numpy as np

from ..common.names import Role
from ..common.validation import enumerate_names, nearest
from .frames import Frame, Frames


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
    if frame.energy is None or not np.isfinite(frame.energy):
        return 'its energy is not finite (NaN or infinite)'
    if any(frame.pbc) and abs(np.linalg.det(frame.cell)) < 1e-3:
        return 'it is periodic but its cell has no volume'
    roles = [role.value for role in Role]
    if frame.role not in roles:
        if not frame.role:
            return f'it has no role: give it one of {enumerate_names(roles)}'
        return f'its role `{frame.role}` is unknown: {nearest(frame.role, roles)}'
    return None


def check_roles(frames_roles: list[str]) -> str | None:
    """Return a sentence if a dataset cannot be trained on: no frames to train with or none to validate by."""
    for role in (Role.TRAIN, Role.VALID):
        if role.value not in frames_roles:
            purpose = 'train on' if role is Role.TRAIN else 'validate by'
            return f'the `dataset` has no frames to {purpose}: give at least one the role `{role.value}`'
    return None
