"""Fine-tune a potential on labelled frames.

Reads ``job.json``, ``foundation.model``, ``frames.npz`` and, if they are there, ``forgetting.npz`` and
``checkpoint_in.pt``, and ``foundation.safetensors`` of a foundation that is an adapter. Writes ``potential.model`` or
``adapter.safetensors``, ``metrics.npz`` (one row per epoch), ``predictions.npz``, ``summary.json``, ``progress.json``;
``checkpoint.pt`` when it is interrupted and ``failure.json`` when it fails.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from pathlib import Path
from typing import Any

from job_io import (
    SUMMARY_FILE,
    DriverFailure,
    is_out_of_memory,
    limit_threads,
    read_job,
    run_driver,
    versions,
    write_json,
    write_progress,
)

FOUNDATION, FRAMES, FORGETTING = 'foundation.model', 'frames.npz', 'forgetting.npz'
CHECKPOINT_IN, CHECKPOINT = 'checkpoint_in.pt', 'checkpoint.pt'
POTENTIAL, METRICS, PREDICTIONS = 'potential.model', 'metrics.npz', 'predictions.npz'
ADAPTER, FOUNDATION_ADAPTER = 'adapter.safetensors', 'foundation.safetensors'
PACKAGES = ('equitrain', 'mace-torch', 'torch', 'e3nn', 'numpy', 'ase')

START = time.time()


def main() -> None:
    """Run the stages of the job."""
    job = read_job()
    limit_threads(job['hyperparameters']['threads'])
    write_progress('start', 0, 1)
    TrainJob(job).run()


class TrainJob:
    """One training: labels, foundation's errors, training, errors of the result.

    :param job: the content of ``job.json``.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        from equitrain_job.science.frames import Frames
        from potential_loader import check_device, set_threads

        self.job, self.hyperparameters = job, job['hyperparameters']
        check_device(self.hyperparameters['device'])
        set_threads(self.hyperparameters['threads'])
        self.frames = Frames.load(FRAMES)
        self.check_frames()
        calculator = self.calculator(FOUNDATION)
        extra = Frames.load(FORGETTING) if Path(FORGETTING).exists() else []
        self.n_forgetting = len(extra)
        from train_errors import others

        self.others = others(extra, self.frames, job['elements'])
        start = time.time()
        self.before, self.others_before = self.predict(calculator, 'foundation')
        self.evaluation_seconds = time.time() - start
        self.shift = self.shift_labels()

    def check_frames(self) -> None:
        """Refuse a dataset that cannot be trained on; the same is checked before submission."""
        for role in ('train', 'valid'):
            if not len(self.frames.with_role(role)):
                raise DriverFailure('bad_input', f'the dataset has no frame with the role `{role}`')
        if self.hyperparameters['stress_weight'] and any(frame.stress is None for frame in self.frames):
            # Equitrain would train towards a stress of zero where there is none.
            raise DriverFailure('bad_input', '`stress_weight` is not 0, but there are frames without stress')

    def calculator(self, path: str, adapter: str | None = None) -> Any:
        """Return a calculator for a model file, in the precision of the training.

        :param adapter: file of the adapter to apply; by default the one beside the model, if there is one.
        """
        from equitrain_job.science.adapter import read_adapter
        from potential_loader import load_calculator

        values = self.hyperparameters
        head = self.job['head'] if path == FOUNDATION else None
        changes = read_adapter(Path(adapter).read_bytes()) if adapter else None
        return load_calculator(path, self.job['family'], head, values['device'], values['dtype'], changes)

    def predict(self, calculator: Any, stage: str) -> tuple[Any, Any]:
        """Return predictions for the dataset, and for the frames on which forgetting is measured."""
        from train_errors import Predictions

        total = len(self.frames) + len(self.others)
        own = Predictions(self.frames, calculator, lambda done: write_progress(stage, done, total))
        shift = len(self.frames)
        other = Predictions(self.others, calculator, lambda done: write_progress(stage, shift + done, total))
        return own, other

    def shift_labels(self) -> dict[str, Any]:
        """Refer the energies of the dataset to the foundation, in place; return the shift per atom of each element.

        The electronic-structure code and the foundation count energies from different atoms. Without this the weights
        would be spent on a constant. Fitted on the training frames only.
        """
        import numpy as np
        from ase.data import chemical_symbols
        from equitrain_job.science.energy_shift import fit_energy_shift

        chosen = [index for index, frame in enumerate(self.frames) if frame.role == 'train']
        numbers = [self.frames[index].numbers for index in chosen]
        labels = np.array([self.frames[index].energy for index in chosen])
        try:
            shift = fit_energy_shift(numbers, labels, self.before.energies[chosen])
            for frame in self.frames:
                frame.energy = shift.apply(frame.numbers, frame.energy)
        except ValueError as error:
            message = f'the energies of the dataset cannot be referred to the foundation: {error}'
            raise DriverFailure('bad_input', message) from error
        return {
            'subtracted_ev_per_atom': {
                chemical_symbols[number]: value for number, value in zip(shift.numbers, shift.shifts, strict=True)
            },
            'rank': shift.rank,
            'rmse_mev_per_atom': 1e3 * shift.rmse_per_atom,
            'fitted_to': 'energies of the foundation for the training frames',
        }

    def run(self) -> None:
        """Train, and write whatever there is in the end, before saying how it ended."""
        from equitrain_engine import Outcome

        trainer = self.trainer()
        try:
            outcome = trainer.run(CHECKPOINT)
        except Exception as error:
            if not is_out_of_memory(error) and getattr(error, 'reason', '') != 'out_of_memory':
                raise
            outcome = Outcome('out_of_memory', f'the device ran out of memory in epoch {trainer.epoch}: {error}')
        self.finish(trainer, outcome)
        if outcome.reason not in ('finished', 'patience'):
            raise DriverFailure(outcome.reason, outcome.message)

    def trainer(self) -> Any:
        """Return Equitrain's loop, ready to start or to continue."""
        from equitrain_engine import Trainer, wrap
        from potential_loader import load_model

        values = self.hyperparameters
        foundation = load_model(FOUNDATION, self.job['family'], self.job['head'], values['device'], values['dtype'])
        self.n_parameters = sum(item.numel() for item in foundation.parameters())
        module = wrap(foundation, self.job['strategy'], values)
        limit = self.job['limits']['max_seconds']
        deadline = math.inf
        if limit:
            # What follows training takes about as long as the evaluation before it.
            deadline = START + limit - self.job['limits']['reserve_seconds'] - 1.5 * self.evaluation_seconds
        files = self.preprocess(float(module.r_max))
        trainer = Trainer(
            module, values, self.job['seed'], files, self.fingerprint(), watch=self.tell, deadline=deadline
        )
        if Path(CHECKPOINT_IN).exists():
            trainer.load(CHECKPOINT_IN)
        return trainer

    def preprocess(self, cutoff: float) -> dict[str, str]:
        """Write the labels as Equitrain wants them; return its files."""
        import ase.io
        from equitrain import get_args_parser_preprocess, preprocess
        from equitrain_job.science.frames import ENERGY_KEY, FORCES_KEY, STRESS_KEY

        args = get_args_parser_preprocess().parse_args([])
        for role in ('train', 'valid'):
            atoms = [frame.to_atoms(keys=True) for frame in self.frames.with_role(role)]
            for item in atoms:
                if STRESS_KEY in item.info:
                    item.info[STRESS_KEY] = item.info[STRESS_KEY][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
                item.info = {key: value for key, value in item.info.items() if key.startswith('REF_')}
            ase.io.write(f'{role}.xyz', atoms, format='extxyz')
        args.train_file, args.valid_file, args.output_dir, args.r_max = 'train.xyz', 'valid.xyz', 'data', cutoff
        args.energy_key, args.forces_key, args.stress_key = ENERGY_KEY, FORCES_KEY, STRESS_KEY
        for old in Path('data').glob('*.h5'):
            old.unlink()
        preprocess(args)
        return {'train': 'data/train.h5', 'valid': 'data/valid.h5'}

    def fingerprint(self) -> str:
        """Return what a checkpoint must agree with."""
        fixed = {key: value for key, value in self.hyperparameters.items() if key not in self.job['may_change']}
        parts = [json.dumps([self.job['strategy'], self.job['seed'], fixed], sort_keys=True).encode()]
        names = (FOUNDATION, FOUNDATION_ADAPTER, FRAMES)
        parts += [Path(name).read_bytes() for name in names if Path(name).exists()]
        return hashlib.sha256(b''.join(hashlib.sha256(part).digest() for part in parts)).hexdigest()

    def tell(self, trainer: Any) -> None:
        """Write the progress after an epoch."""
        row, epochs = trainer.rows[-1], self.hyperparameters['epochs']
        per_epoch = trainer.seconds / max(trainer.epoch, 1)
        write_progress(
            'train',
            trainer.epoch,
            epochs,
            seconds=round(time.time() - START, 1),
            seconds_left=round(per_epoch * (epochs - trainer.epoch), 1),
            best_epoch=trainer.best.epoch,
            **{name: value for name, value in row.items() if name not in ('epoch', 'seconds')},
        )

    def finish(self, trainer: Any, outcome: Any) -> None:
        """Write the model, the history and the summary; a checkpoint where training can go on."""
        write_metrics(trainer.rows)
        summary = self.summary(trainer, outcome)
        if outcome.reason == 'walltime':
            trainer.save(CHECKPOINT)
        else:
            Path(CHECKPOINT).unlink(missing_ok=True)
        if trainer.best.state:
            from equitrain_engine import export

            trainer.use_best()
            summary['weights_sha256'] = weights_sha256(trainer.module.model, trainer.best.state)
            export(trainer.module, POTENTIAL)
            summary['stored_as'] = self.store_adapter()
        elif outcome.reason == 'finished':
            raise DriverFailure('no_model', 'no epoch gave a finite validation error, so there is no model to keep')
        write_json(SUMMARY_FILE, summary)
        if trainer.best.state and outcome.reason in ('finished', 'patience', 'diverged'):
            self.judge(summary)
            write_json(SUMMARY_FILE, summary)

    def store_adapter(self) -> str:
        """Leave an adapter in place of the exported model, where the strategy changes few entries; say which it is."""
        from adapter_writer import write_adapter
        from equitrain_job.common.names import ADAPTER_STRATEGIES

        if self.job['strategy'] not in ADAPTER_STRATEGIES:
            return 'full model'
        try:
            write_adapter(FOUNDATION, POTENTIAL, ADAPTER, self.job)
        except ValueError as error:
            return f'full model: {error}'
        Path(POTENTIAL).unlink()
        return 'adapter'

    def judge(self, summary: dict[str, Any]) -> None:
        """Add the errors of the stored file to the summary: what is measured is what others will load."""
        from train_errors import errors_by_role, forgetting

        calculator = self.calculator(FOUNDATION, ADAPTER) if Path(ADAPTER).exists() else self.calculator(POTENTIAL)
        after, others_after = self.predict(calculator, 'evaluate')
        summary['errors']['after'] = errors_by_role(self.frames, after)
        if self.others:
            summary['forgetting'] = forgetting(self.others, self.others_before, others_after, self.n_forgetting)
        summary['seconds'] = time.time() - START
        write_predictions(self.frames, self.before, after)

    def summary(self, trainer: Any, outcome: Any) -> dict[str, Any]:
        """Return what is known when training ends."""
        import torch
        from train_errors import errors_by_role

        device = self.hyperparameters['device']
        return {
            'strategy': self.job['strategy'],
            'seed': self.job['seed'],
            'stopped_by': outcome.reason,
            'epochs': trainer.epoch,
            'best_epoch': trainer.best.epoch,
            'best_by': self.hyperparameters['best_by'],
            'best_value': trainer.best.value,
            'n_parameters': self.n_parameters,
            'n_trained_parameters': sum(item.numel() for item in trainer.trained().values()),
            'errors': {'before': errors_by_role(self.frames, self.before)},
            'energy_shift': self.shift,
            'seconds': time.time() - START,
            'seconds_training': trainer.seconds,
            'seconds_per_epoch': trainer.seconds / max(trainer.epoch, 1),
            'threads': torch.get_num_threads(),
            'device': device,
            'device_name': 'cpu' if device == 'cpu' else torch.cuda.get_device_name(device),
            'dtype': self.hyperparameters['dtype'],
            'reproducible': 'same weights on the same machine with the same versions'
            if device == 'cpu'
            else 'no: sums on a GPU have no fixed order',
            'versions': versions(*PACKAGES),
        }


def write_metrics(rows: list[dict[str, float]]) -> None:
    """Write one array per column; row 0 is the foundation before training."""
    import numpy as np

    columns: dict[str, Any] = {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0]}
    np.savez(METRICS, **columns)


def write_predictions(frames: Any, before: Any, after: Any) -> None:
    """Write reference and predicted labels of the whole dataset, for parity plots."""
    import numpy as np

    np.savez(
        PREDICTIONS,
        frame_index=np.repeat(np.arange(len(frames)), [len(frame) for frame in frames]),
        is_train=np.array([frame.role == 'train' for frame in frames]),
        is_valid=np.array([frame.role == 'valid' for frame in frames]),
        forces_reference=np.concatenate([frame.forces for frame in frames]),
        forces_before=np.concatenate(before.forces),
        forces_after=np.concatenate(after.forces),
        energies_reference=np.array([frame.energy for frame in frames]),
        energies_before=before.energies,
        energies_after=after.energies,
    )


def weights_sha256(model: Any, trained: dict[str, Any]) -> str:
    """Return a hash of the foundation's weights and what was trained: equal numbers, equal hash."""
    digest = hashlib.sha256()
    for items in (model.state_dict(), trained):
        for name in sorted(items):
            digest.update(name.encode())
            digest.update(items[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


if __name__ == '__main__':
    run_driver(main)
