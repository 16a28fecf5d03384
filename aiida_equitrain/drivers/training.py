"""What the engines share: how training ends, its best epoch, its checkpoints, its files. A helper of ``train.py``."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from job_io import DriverFailure

QUANTITIES = ('energy', 'forces', 'stress')
#: Seconds between checkpoints that are written in case that the job is killed.
CHECKPOINT_SECONDS = 60.0


@dataclass
class Best:
    """The best epoch so far, and its weights."""

    epoch: int = 0
    value: float = math.inf
    state: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass
class Outcome:
    """How training ended: ``finished``, ``patience``, ``walltime``, ``diverged``, ``no_replay``, ``out_of_memory``."""

    reason: str
    message: str = ''


def watched(row: dict[str, float], best_by: str) -> float:
    """Return the validation error of an epoch that the hyperparameter ``best_by`` names."""
    return row['valid_loss'] if best_by == 'total' else row[f'valid_{best_by}_mae']


def out_of_patience(rows: list[dict[str, float]], values: dict[str, Any]) -> Outcome | None:
    """Return how training ends if the last epochs brought too little, or None.

    :param rows: of all epochs; row 0 is the model before training.
    :param values: hyperparameters. An epoch counts that is better than the last one that counted, by more than the
        fraction ``patience_threshold``.
    """
    if values['patience'] is None:
        return None
    last, epoch = math.inf, 0
    for row in rows[1:]:
        value = watched(row, values['best_by'])
        if value < last * (1 - values['patience_threshold']):
            last, epoch = value, int(row['epoch'])
    waited = len(rows) - 1 - epoch
    return Outcome('patience', f'no better epoch than {epoch} in {waited}') if waited >= values['patience'] else None


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
    columns: dict[str, Any] = {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0]}
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


def weights_sha256(path: str | Path) -> str:
    """Return a hash of the weights in a model file: equal numbers, equal hash, whatever else is in the file."""
    content = torch.load(path, map_location='cpu', weights_only=False)
    state = content['model_state_dict'] if isinstance(content, dict) else content.state_dict()
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
