"""What the engines share: how training ends, its best epoch, its checkpoints, its files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...science import nequix_file
from ...science.energy_shift import EnergyShift, composition, fit_energy_shift
from ...science.epoch_choice import choose_epoch, rank
from ...science.frames import Frame
from ..job_io import DriverFailure

#: Seconds between checkpoints that are written in case that the job is killed.
CHECKPOINT_SECONDS = 60.0


@dataclass
class Best:
    """The best epoch so far, its weights, and what its energies still lack per atom of each element, eV."""

    epoch: int = 0
    value: float = math.inf
    state: dict[str, torch.Tensor] = field(default_factory=dict)
    shift: dict[int, float] = field(default_factory=dict)


@dataclass
class Outcome:
    """How training ended: ``finished``, ``patience``, ``walltime``, ``diverged``, ``no_replay``, ``out_of_memory``."""

    reason: str
    message: str = ''


class Judge:
    """What an epoch is worth: its energies after the best shift, and whether it is the one to keep.

    :param frames: by role: ``train`` and ``valid``.
    :param foundation: errors of the foundation on validation frames, by quantity, of those with a weight above 0.
    :param values: hyperparameters.
    :param by_element: whether the model has an energy for each element, or one number for all.
    """

    def __init__(
        self,
        frames: Mapping[str, Sequence[Frame]],
        foundation: dict[str, float],
        values: dict[str, Any],
        by_element: bool = True,
    ) -> None:
        self.foundation, self.values = foundation, values
        self.numbers = {role: [frame.numbers * by_element for frame in items] for role, items in frames.items()}
        self.labels = {role: np.array([frame.energy for frame in items], float) for role, items in frames.items()}
        self.has_energies = all(np.isfinite(labels).all() for labels in self.labels.values())

    def refit(self, energies: dict[str, Any]) -> tuple[dict[int, float], dict[str, float]]:
        """Return the shift per atom of each element that the energies still lack, and the errors that are left.

        While energies are in flight their common offset moves most. It is a constant of the model that can be set
        once training is over, so epochs are judged without it. Fitted on the training frames only.

        :param energies: of the model by role, in the order of the frames, eV.
        """
        try:
            shift = fit_energy_shift(self.numbers['train'], self.labels['train'], energies['train'])
        except ValueError:  # the model has diverged
            return {}, {f'{role}_energy_mae': math.nan for role in self.labels} | {'energy_shift': math.nan}
        errors = {f'{role}_energy_mae': self._error(shift, role, energies[role]) for role in self.labels}
        counts = composition(self.numbers['train'], shift.numbers)
        per_atom = counts @ np.array(shift.shifts) / counts.sum(axis=1)
        return dict(zip(shift.numbers, shift.shifts, strict=True)), {**errors, 'energy_shift': float(per_atom.mean())}

    def _error(self, shift: EnergyShift, role: str, energies: Any) -> float:
        """Return the mean absolute error of the shifted energies, eV/atom."""
        counts = composition(self.numbers[role], shift.numbers)
        left = energies + counts @ np.array(shift.shifts) - self.labels[role]
        return float(np.mean(np.abs(left) / [len(item) for item in self.numbers[role]]))

    def is_best(self, rows: list[dict[str, float]]) -> bool:
        """Tell whether the last epoch is the one to keep so far; row 0 is the model before training."""
        return bool(choose_epoch(rows, self.values['best_by'], self.foundation) == len(rows) - 1)

    def out_of_patience(self, rows: list[dict[str, float]]) -> Outcome | None:
        """Return how training ends if the last epochs brought too little, or None.

        An epoch counts that is better than the last one that counted, by more than the fraction
        ``patience_threshold``, or where fewer quantities are worse than the foundation's than ever before.

        :param rows: of all epochs; row 0 is the model before training.
        """
        if self.values['patience'] is None:
            return None
        last, fewest, epoch = math.inf, math.inf, 0
        for row in rows[1:]:
            n_worse, error = rank(row, self.values['best_by'], self.foundation)
            if error < last * (1 - self.values['patience_threshold']) or n_worse < fewest:
                last, fewest, epoch = min(error, last), min(n_worse, fewest), int(row['epoch'])
        waited = len(rows) - 1 - epoch
        if waited < self.values['patience']:
            return None
        return Outcome('patience', f'no better epoch than {epoch} in {waited}')


def safest_rate(rows: list[dict[str, float]], best: Best) -> float:
    """Return the smallest learning rate that any epoch since the best one had."""
    return min(row['learning_rate'] for row in rows[best.epoch :])


def restart_rate(content: dict[str, Any], lr: float) -> float:
    """Return the learning rate with which a checkpoint is continued: as it was, times the change of ``lr`` since."""
    return float(content['rate']) * lr / float(content['lr'])


def write_checkpoint(path: str | Path, content: dict[str, Any]) -> None:
    """Write a checkpoint atomically."""
    partial = Path(f'{path}.part')
    torch.save(content, partial)
    partial.replace(path)


def read_checkpoint(path: str | Path, fingerprint: str, device: Any = 'cpu') -> dict[str, Any]:
    """Return the content of a checkpoint; nothing in the file is run.

    :param fingerprint: of this training.
    :raises DriverFailure: ``bad_checkpoint``, if it is no checkpoint of this training.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        found = content['fingerprint']
    except Exception as error:
        raise DriverFailure('bad_checkpoint', f'the checkpoint cannot be read: {error}') from error
    if found != fingerprint:
        raise DriverFailure(
            'bad_checkpoint',
            'the checkpoint belongs to another training: the foundation, the dataset, the strategy, the engine, the '
            'seed or a hyperparameter differs; give the same inputs, or leave out `checkpoint`',
        )
    return content


def write_metrics(path: str | Path, rows: list[dict[str, float]]) -> None:
    """Write one array per column; row 0 is the model before training."""
    # An epoch of a checkpoint that an earlier version wrote lacks a column.
    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[str, Any] = {name: np.array([row.get(name, math.nan) for row in rows]) for name in names}
    np.savez(path, **columns)


def write_predictions(path: str | Path, frames: Any, before: Any, after: Any) -> None:
    """Write reference and predicted labels of the whole dataset, for parity plots."""
    np.savez(
        path,
        frame_index=np.repeat(np.arange(len(frames)), [len(frame) for frame in frames]),
        is_train=np.array([frame.role == 'train' for frame in frames]),
        is_valid=np.array([frame.role == 'valid' for frame in frames]),
        forces_reference=np.concatenate([frame.forces for frame in frames]),
        forces_before=np.concatenate(before.forces),
        forces_after=np.concatenate(after.forces),
        energies_reference=np.array([np.nan if frame.energy is None else frame.energy for frame in frames]),
        energies_before=before.energies,
        energies_after=after.energies,
    )


def weights_sha256(path: str | Path, family: str = 'mace') -> str:
    """Return a hash of the weights in a model file: equal numbers, equal hash, whatever else is in the file."""
    digest = hashlib.sha256()
    for name, values in sorted(_weights(path, family).items()):
        digest.update(name.encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _weights(path: str | Path, family: str) -> dict[str, Any]:
    """Return the tensors in a model file by name, as arrays."""
    if family == 'nequix':
        return nequix_file.read(Path(path).read_bytes())[1]
    content = torch.load(path, map_location='cpu', weights_only=False)
    state = content['model_state_dict'] if isinstance(content, dict) else content.state_dict()
    return {name: item.detach().contiguous().numpy() for name, item in state.items()}
