"""What ``mace_run_train`` reads and writes: labelled frames, its settings, its history."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..job_io import DriverFailure, is_out_of_memory

#: Name of a run of MACE, of the head that is trained on the new frames, and of the one that keeps the foundation's.
NAME, HEAD, REPLAY_HEAD = 'model', 'Default', 'pt_head'
START, CONFIG, LOG = 'start.model', 'config.yaml', 'mace.log'
#: MACE's ``--freeze`` counts modules; these are the numbers at which something changes, and what is frozen then.
FREEZE_LEVELS = {1: ('node_embedding',), 5: ('node_embedding', 'interactions'),
                 6: ('node_embedding', 'interactions', 'products')}  # fmt: skip
#: MACE's groups of parameters, and the part whose factor on the learning rate is theirs.
PARTS = {'embedding': 'embedding', 'interactions_decay': 'interactions', 'interactions_no_decay': 'interactions',
         'products': 'products', 'readouts': 'readouts'}  # fmt: skip
QUANTITIES = {'energy': 'mae_e_per_atom', 'forces': 'mae_f', 'stress': 'mae_stress'}


def write_frames(path: Path, frames: Sequence[Any], factor: float = 1.0) -> None:
    """Write labelled frames as extended XYZ, with the weights that make MACE's loss the one of Equitrain.

    Equitrain takes the Huber loss of the energy of a frame and divides it by the number of atoms; MACE's universal
    loss takes the Huber loss of (weight times energy per atom). So the weight is the number of atoms, and the division
    is in :func:`energy_factor`.

    :param factor: factor on all errors of these frames.
    """
    import ase.io

    images = []
    for frame in frames:
        atoms = frame.to_atoms(keys=True)
        atoms.info = {key: value for key, value in atoms.info.items() if key.startswith('REF_')}
        atoms.info['config_energy_weight'] = factor * len(frame)
        atoms.info['config_forces_weight'] = atoms.info['config_stress_weight'] = factor
        images.append(atoms)
    ase.io.write(path, images, format='extxyz')


def energy_factor(frames: Sequence[Any]) -> float:
    """Return what the weight of the energy is multiplied by: one over the number of atoms, where all frames agree."""
    return float(np.mean([1.0 / len(frame) for frame in frames]))


def config(values: dict[str, Any], seed: int, factor: float, counts: dict[str, int], neighbours: float,
           multihead: bool = False) -> dict[str, Any]:  # fmt: skip
    """Return the settings of ``mace_run_train`` that do not depend on the strategy, and its heads.

    :param values: the hyperparameters.
    :param factor: see :func:`energy_factor`.
    :param counts: number of frames by role: ``train``, ``valid``, with replay ``replay_train``, ``replay_valid``.
    :param neighbours: average number of neighbours, of the foundation.
    """
    n_train = counts['train'] + counts.get('replay_train', 0)
    content: dict[str, Any] = {
        'name': NAME,
        'seed': seed,
        'model': 'ScaleShiftMACE',
        'foundation_model': START,
        'foundation_model_elements': True,
        'multiheads_finetuning': multihead,
        # The labels were referred to the foundation before, which is what `estimated` would do here.
        'E0s': 'foundation',
        'avg_num_neighbors': float(neighbours),
        'compute_avg_num_neighbors': False,
        'scaling': 'no_scaling',
        'train_file': 'train.xyz',
        'valid_file': 'valid.xyz',
        'energy_key': 'REF_energy',
        'forces_key': 'REF_forces',
        'stress_key': 'REF_stress',
        'loss': 'universal',
        'energy_weight': values['energy_weight'] * factor,
        'forces_weight': values['forces_weight'],
        'stress_weight': values['stress_weight'],
        'huber_delta': values['huber_delta'],
        'batch_size': min(values['batch_size'], n_train),
        'valid_batch_size': batch_without_rest(values['batch_size'], counts['valid']),
        'max_num_epochs': values['epochs'],
        # MACE's own patience only stops distributed training; who watches the run does it.
        'patience': 10**6,
        'lr': values['lr'],
        'lr_params_factors': json.dumps({name: values[name] for name in values if name.endswith('_lr_factor')}),
        'beta': values['beta'],
        'weight_decay': values['weight_decay'],
        'optimizer': values['opt'],
        'scheduler': {'plateau': 'ReduceLROnPlateau', 'exponential': 'ExponentialLR'}[values['scheduler']],
        'lr_factor': values['plateau_factor'],
        'scheduler_patience': values['plateau_patience'],
        'lr_scheduler_gamma': values['gamma'],
        'clip_grad': str(values['gradient_clipping']),
        'default_dtype': values['dtype'],
        'device': values['device'],
        'error_table': 'PerAtomMAE',
        'plot': False,
        # All checkpoints, as MACE's own choice of the best is that of the total loss; the watcher deletes them.
        'keep_checkpoints': True,
        'save_all_checkpoints': True,
    }
    if values['ema']:
        content |= {'ema': True, 'ema_decay': values['ema_decay']}
    if multihead:
        content |= {
            'pt_train_file': 'replay_train.xyz',
            'pt_valid_file': 'replay_valid.xyz',
            'real_pt_data_ratio_threshold': values['replay_ratio'],
            # Without it MACE sets its own learning rate and average.
            'force_mh_ft_lr': True,
        }
    return content


def write_config(folder: Path, content: dict[str, Any]) -> None:
    """Write the settings; JSON is YAML too."""
    (folder / CONFIG).write_text(json.dumps(content, indent=1), encoding='utf-8')


def batch_without_rest(largest: int, frames: int) -> int:
    """Return the largest batch size that divides the frames: MACE's mean over batches is the one over frames then."""
    return max(size for size in range(1, min(largest, frames) + 1) if frames % size == 0)


def scale_rates(optimizer: dict[str, Any], rate: float, values: dict[str, Any]) -> None:
    """Set the learning rates in the state of an optimiser, those of the parts by their factors.

    :param optimizer: of a checkpoint of MACE.
    :param rate: without a factor.
    """
    for group in optimizer['param_groups']:
        part = PARTS.get(group.get('name'))
        group['lr'] = rate * (values[f'{part}_lr_factor'] if part else 1.0)


def freeze_level(frozen: Sequence[int], names: Sequence[str]) -> int | None:
    """Return MACE's ``--freeze`` for the numbers of frozen layers; ``None`` where it has none."""
    for level, groups in FREEZE_LEVELS.items():
        if list(frozen) == [index for index, name in enumerate(names) if name.partition('.')[0] in groups]:
            return level
    return None


def is_trained(log: Path) -> bool:
    """Tell whether MACE has finished its last epoch; what it does afterwards is not needed."""
    return log.exists() and 'Training complete' in log.read_text(encoding='utf-8', errors='replace')


def crash(log: Path, code: int) -> DriverFailure:
    """Return why MACE ended before its time.

    :param code: what its process returned.
    """
    lines = log.read_text(encoding='utf-8', errors='replace').strip().splitlines()
    message = f'mace_run_train ended with {code}: {lines[-1] if lines else "no output"}'
    print('\n'.join(lines[-20:]))
    killed = code == -signal.SIGKILL or any(is_out_of_memory(RuntimeError(line)) for line in lines[-20:])
    return DriverFailure('out_of_memory' if killed else 'crashed', message)


class Rate:
    """The learning rate, which MACE does not write down: its schedulers, run on the losses that it does write."""

    def __init__(self, values: dict[str, Any]) -> None:
        import torch

        self.optimizer = torch.optim.SGD([torch.zeros(1)], lr=values['lr'])
        schedulers = torch.optim.lr_scheduler
        self.is_plateau = values['scheduler'] == 'plateau'
        self.scheduler: Any = (
            schedulers.ReduceLROnPlateau(
                self.optimizer, factor=values['plateau_factor'], patience=values['plateau_patience']
            )
            if self.is_plateau
            else schedulers.ExponentialLR(self.optimizer, gamma=values['gamma'])
        )

    def step(self, loss: float) -> None:
        """Go on to the next epoch, ``loss`` being that of the validation frames after the last one."""
        if self.is_plateau:
            self.scheduler.step(metrics=loss)
        else:
            self.optimizer.step()
            self.scheduler.step()

    @property
    def value(self) -> float:
        """Learning rate of the present epoch."""
        return float(self.optimizer.param_groups[0]['lr'])

    @value.setter
    def value(self, rate: float) -> None:
        self.optimizer.param_groups[0]['lr'] = rate


class History:
    """The epochs that MACE has written, as rows with the names of Equitrain's engine.

    :param path: the JSON lines of MACE.
    :param batches: number of frames, and of batches, of each head's validation frames.
    """

    def __init__(self, path: Path, batches: dict[str, tuple[int, int]]) -> None:
        self.path, self.batches = path, batches
        self.position = 0
        self.steps: list[dict[str, Any]] = []
        self.heads: dict[str, dict[str, Any]] = {}

    def read(self) -> list[tuple[int, dict[str, float]]]:
        """Return new rows with MACE's number of their epoch, -1 for the one before training."""
        if not self.path.exists():
            return []
        with self.path.open(encoding='utf-8') as handle:
            handle.seek(self.position)
            text = handle.read()
        whole = text[: text.rfind('\n') + 1]
        self.position += len(whole.encode('utf-8'))
        rows = []
        for line in whole.splitlines():
            entry = json.loads(line)
            if entry['mode'] == 'opt':
                self.steps.append(entry)
            elif entry['mode'] == 'eval':
                self.heads[entry['head']] = entry
                if entry['head'] == HEAD:
                    rows.append((-1 if entry['epoch'] is None else int(entry['epoch']), self.row()))
        return rows

    def row(self) -> dict[str, float]:
        """Return the row of the epoch that has been read, and begin the next one."""
        losses = [float(step['loss']) for step in self.steps]
        row = {'train_loss': float(np.mean(losses)) if losses else math.nan}
        # MACE evaluates no errors on the training frames.
        row |= {f'train_{quantity}_mae': math.nan for quantity in QUANTITIES}
        row |= self.errors('valid', HEAD)
        if REPLAY_HEAD in self.batches:
            row |= self.errors('replay', REPLAY_HEAD)
        entries = [*self.steps, *self.heads.values()]
        row['seconds'] = float(sum(entry.get('time', 0.0) for entry in entries))
        self.steps, self.heads = [], {}
        return row

    def errors(self, name: str, head: str) -> dict[str, float]:
        """Return the loss and the mean absolute errors of a head; NaN where there is none."""
        entry = self.heads.get(head, {})
        frames, batches = self.batches[head]
        # MACE divides the sum over batches by the number of frames.
        found = {f'{name}_loss': float(entry.get('loss', math.nan)) * frames / batches}
        for quantity, key in QUANTITIES.items():
            found[f'{name}_{quantity}_mae'] = float(entry.get(key, math.nan))
        return found
