"""Choose frames from relaxation trajectories, and what each is used for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..common.names import Role


def select_steps(energies: Sequence[float] | NDArray[np.float64], n_frames: int, fraction: float = 0.9) -> list[int]:
    """Return steps of one trajectory, equally spaced in energy from its start to ``fraction`` of the way to its end.

    :param energies: energy of each step, eV.
    :param n_frames: number of steps to choose; fewer are returned if the trajectory has fewer.
    :param fraction: of the energy that the relaxation gains, at which the last chosen step lies.
    :returns: different steps in rising order; the first is 0.
    """
    values = np.asarray(energies, dtype=float)
    if n_frames >= len(values):
        return list(range(len(values)))
    targets = values[0] + fraction * (values[-1] - values[0]) * np.linspace(0, 1, max(n_frames, 2))[:n_frames]
    chosen: list[int] = []
    for target in targets:
        distances = np.abs(values - target)
        distances[chosen] = np.inf
        chosen.append(0 if not chosen else int(np.argmin(distances)))
    return sorted(chosen)


def select_frames(
    energies: NDArray[np.float64], trajectory_index: NDArray[np.int64], n_frames: int, fraction: float = 0.9
) -> list[int]:
    """Return the chosen rows of many trajectories that lie one after another, see :func:`select_steps`.

    :param energies: of all steps, eV, shape (S,).
    :param trajectory_index: which trajectory each step belongs to, shape (S,).
    """
    rows: list[int] = []
    for index in np.unique(trajectory_index):
        steps = np.flatnonzero(trajectory_index == index)
        rows.extend(int(steps[step]) for step in select_steps(energies[steps], n_frames, fraction))
    return rows


def split_roles(
    trajectories: Sequence[int], volume_changes: Sequence[float], n_train: int | None = None, seed: int = 0
) -> list[str]:
    """Return the role of each frame, as in the publication.

    The frames of the trajectory at (or nearest to) the unchanged volume validate; of all others ``n_train``, chosen at
    random, train, and the rest tests. If no frame of that trajectory is left, the next nearest volume validates.

    :param trajectories: parent trajectory of each frame.
    :param volume_changes: relative volume change of each trajectory.
    :param n_train: number of training frames; all if ``None``.
    """
    present = sorted(set(trajectories), key=lambda index: (abs(volume_changes[index]), index))
    pool = [row for row, index in enumerate(trajectories) if index != present[0]]
    return _roles(len(trajectories), pool, n_train, seed)


def count_validation(n_frames: int, valid_fraction: float = 0.2) -> int:
    """Return how many of ``n_frames`` validate: that part of them, but at least one unless the part is 0."""
    return max(1, round(valid_fraction * n_frames)) if valid_fraction else 0


def split_random(n_frames: int, valid_fraction: float = 0.2, n_train: int | None = None, seed: int = 0) -> list[str]:
    """Return the role of each of unrelated frames: a random part (one at least) validates, the others as above."""
    order = np.random.default_rng(seed).permutation(n_frames)
    n_valid = min(count_validation(n_frames, valid_fraction), n_frames - 1)
    return _roles(n_frames, sorted(int(row) for row in order[n_valid:]), n_train, seed)


def _roles(n_frames: int, pool: list[int], n_train: int | None, seed: int) -> list[str]:
    """Return roles: a random ``n_train`` of the pool train, the rest of it tests, what is not in it validates."""
    size = len(pool) if n_train is None else min(n_train, len(pool))
    train = set(np.random.default_rng(seed).choice(pool, size=size, replace=False).tolist()) if size else set()
    roles = [Role.VALID.value] * n_frames
    for row in pool:
        roles[row] = Role.TRAIN.value if row in train else Role.TEST.value
    return roles
