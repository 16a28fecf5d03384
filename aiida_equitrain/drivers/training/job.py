"""Fine-tune a potential on labelled frames.

Reads ``job.json``, ``foundation.model``, ``frames.npz`` and, if they are there, ``forgetting.npz``, ``replay.npz``,
``checkpoint_in.pt``, and ``foundation.safetensors`` of a foundation that is an adapter. Writes ``potential.model`` or
``adapter.safetensors``, ``metrics.npz`` (one row per epoch), ``predictions.npz``, ``summary.json``, ``progress.json``;
``checkpoint.pt`` when it can be continued and ``failure.json`` when it fails.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from pathlib import Path
from typing import Any

from ..job_io import (
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
REPLAY, RANDOM = 'replay.npz', 'random.model'
CHECKPOINT_IN, CHECKPOINT = 'checkpoint_in.pt', 'checkpoint.pt'
POTENTIAL, METRICS, PREDICTIONS = 'potential.model', 'metrics.npz', 'predictions.npz'
ADAPTER, FOUNDATION_ADAPTER = 'adapter.safetensors', 'foundation.safetensors'
PACKAGES = ('equitrain', 'mace-torch', 'sevenn', 'nequix', 'torch', 'e3nn', 'numpy', 'ase')

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
        from ...science.frames import Frames
        from ..potential_loader import check_device, set_threads
        from .errors import check_frames, refer_to_foundation, warnings, widest_stress_gap

        self.job, self.hyperparameters = job, job['hyperparameters']
        check_device(self.hyperparameters['device'])
        set_threads(self.hyperparameters['threads'])
        self.frames = Frames.load(FRAMES)
        check_frames(self.frames, self.hyperparameters['stress_weight'], self.hyperparameters['energy_weight'])
        calculator = self.calculator(FOUNDATION)
        extra = Frames.load(FORGETTING) if Path(FORGETTING).exists() else []
        self.n_forgetting = len(extra)
        from .errors import others

        self.others = others(extra, self.frames, job['elements'])
        start = time.time()
        self.before, self.others_before = self.predict(calculator, 'foundation')
        self.evaluation_seconds = time.time() - start
        self.shift = refer_to_foundation(self.frames, self.before.energies)
        self.gap = widest_stress_gap(self.frames, self.before)
        self.warnings = warnings(self.frames, self.shift, self.gap)
        self.start: dict[str, Any] = {'weights': 'of the foundation'}
        self.replay_facts: dict[str, Any] | None = None

    def calculator(self, path: str, adapter: str | None = None) -> Any:
        """Return a calculator for a model file, in the precision of the training.

        :param adapter: file of the adapter to apply; by default the one beside the model, if there is one.
        """
        from ...science.adapter import read_adapter
        from ..potential_loader import load_calculator

        values = self.hyperparameters
        head = self.job['head'] if path == FOUNDATION else None
        changes = read_adapter(Path(adapter).read_bytes()) if adapter else None
        return load_calculator(path, self.job['family'], head, values['device'], values['dtype'], changes)

    def predict(self, calculator: Any, stage: str) -> tuple[Any, Any]:
        """Return predictions for the dataset, and for the frames on which forgetting is measured."""
        from .errors import Predictions

        total = len(self.frames) + len(self.others)
        own = Predictions(self.frames, calculator, lambda done: write_progress(stage, done, total))
        shift = len(self.frames)
        other = Predictions(self.others, calculator, lambda done: write_progress(stage, shift + done, total))
        return own, other

    def run(self) -> None:
        """Train, and write whatever there is in the end, before saying how it ended."""
        from .engine import Outcome

        trainer = self.trainer()
        try:
            outcome = trainer.run(CHECKPOINT)
        except Exception as error:
            # Without a row not even the model before training was evaluated: there is nothing to keep.
            if not is_out_of_memory(error) or not trainer.rows:
                raise
            outcome = Outcome('out_of_memory', f'the device ran out of memory in epoch {trainer.epoch}: {error}')
        self.finish(trainer, outcome)
        if outcome.reason not in ('finished', 'patience'):
            raise DriverFailure(outcome.reason, outcome.message)

    def trainer(self) -> Any:
        """Return the engine, ready to start or to continue."""
        from .engine import Judge, read_checkpoint
        from .start_model import counts_by_element

        values, model = self.hyperparameters, self.first_model()
        deadline, limit = math.inf, self.job['limits']['max_seconds']
        if limit:
            # What follows training takes about as long as the evaluation before it.
            deadline = START + limit - self.job['limits']['reserve_seconds'] - 1.5 * self.evaluation_seconds
        strategy, seed, mark = self.job['strategy'], self.job['seed'], self.fingerprint()
        frames = {role: self.frames.with_role(role) for role in ('train', 'valid')}
        judge = Judge(frames, self.foundation_errors(), values, counts_by_element(model))
        trainer: Any
        if self.job['engine'] == 'mace':
            from . import mace

            trainer = mace.Trainer(
                model, strategy, values, seed, frames | self.replay(), judge, mark, self.tell, deadline
            )
        else:
            from . import equitrain

            module = equitrain.wrap(model, strategy, values, seed, self.job['family'])
            files = equitrain.preprocess(self.frames, float(module.r_max))
            trainer = equitrain.Trainer(module, values, seed, files, judge, mark, self.tell, deadline)
        if Path(CHECKPOINT_IN).exists():
            trainer.load(read_checkpoint(CHECKPOINT_IN, mark, values['device']))
        return trainer

    def foundation_errors(self) -> dict[str, float]:
        """Return the foundation's errors on validation frames of the quantities that no epoch should make worse."""
        return {name: value / 1e3 for name, value in self.judged(self.before).items()}

    def judged(self, predictions: Any) -> dict[str, float]:
        """Return errors on validation frames, by quantity, in meV and Å, of those with a weight above 0."""
        from .errors import KEYS, errors_by_role

        found = errors_by_role(self.frames, predictions)['valid']
        weighed = {name: key for name, key in KEYS.items() if self.hyperparameters[f'{name}_weight']}
        return {name: found[key] for name, key in weighed.items() if key in found}

    def first_model(self) -> Any:
        """Return the model that training starts from: the foundation, or one like it with random weights."""
        from ..potential_loader import load_model

        values = self.hyperparameters
        foundation = load_model(FOUNDATION, self.job['family'], self.job['head'], values['device'], values['dtype'])
        self.n_parameters = sum(item.numel() for item in foundation.parameters())
        if self.job['strategy'] != 'scratch':
            return foundation
        import torch

        from .errors import Predictions
        from .start_model import random_model, refit_atomic_energies

        model = random_model(foundation, self.job['seed'])
        frames = self.frames.with_role('train')
        torch.save(model, RANDOM)
        energies = Predictions(frames, self.calculator(RANDOM)).energies
        self.start = {
            'weights': 'random',
            'atomic_energies': 'refitted to the training frames; scale and shift are those of the foundation',
            'added_to_atomic_energies_ev': refit_atomic_energies(model, frames, energies),
        }
        return model

    def replay(self) -> dict[str, Any]:
        """Return the frames to replay, labelled, by role; none where the strategy has none."""
        if self.job['strategy'] != 'multihead':
            return {}
        from ...science.frames import Frames
        from . import replay
        from .errors import Predictions, residual_warnings

        values, frames = self.hyperparameters, Frames.load(REPLAY)
        replay.check(frames, self.job['elements'])
        train, valid = replay.choose(len(frames), values['replay_size'], self.job['seed'])
        chosen = [frames[index] for index in (*train, *valid)]
        predictions = Predictions(
            chosen, self.calculator(FOUNDATION), lambda done: write_progress('replay', done, len(chosen))
        )
        labelled, self.replay_facts = replay.label(chosen, predictions, self.job['replay_labels'] == 'given')
        self.replay_facts |= {'n_train': len(train), 'n_valid': len(valid), 'n_given': len(frames)}
        residual, otherwise = self.replay_facts.get('rmse_mev_per_atom'), 'give `replay` as a trajectory without labels'
        self.warnings += residual_warnings(residual, 'replayed frames', otherwise)
        return {'replay_train': labelled[: len(train)], 'replay_valid': labelled[len(train) :]}

    def fingerprint(self) -> str:
        """Return what a checkpoint must agree with."""
        fixed = {key: value for key, value in self.hyperparameters.items() if key not in self.job['may_change']}
        parts = [
            json.dumps([self.job['strategy'], self.job['engine'], self.job['seed'], fixed], sort_keys=True).encode()
        ]
        names = (FOUNDATION, FOUNDATION_ADAPTER, FRAMES, REPLAY)
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
        from .engine import weights_sha256, write_metrics
        from .errors import without_missing

        write_metrics(METRICS, without_missing(trainer.rows, self.frames))
        summary = self.summary(trainer, outcome)
        if outcome.reason == 'walltime':
            trainer.save(CHECKPOINT)
        elif outcome.reason == 'diverged' and trainer.best.state:
            trainer.save_best(CHECKPOINT)
        elif outcome.reason != 'out_of_memory':
            Path(CHECKPOINT).unlink(missing_ok=True)
        if trainer.best.state:
            trainer.export(POTENTIAL)
            summary['energy_shift']['added_after_training_ev_per_atom'] = self.take_shift(trainer.best.shift)
            summary['weights_sha256'] = weights_sha256(POTENTIAL, self.job['family'])
            summary['stored_as'] = self.store_adapter()
        elif outcome.reason == 'finished':
            raise DriverFailure('no_model', 'no epoch gave a finite validation error, so there is no model to keep')
        write_json(SUMMARY_FILE, summary)
        if trainer.best.state and outcome.reason in ('finished', 'patience', 'diverged'):
            self.judge(summary)
            write_json(SUMMARY_FILE, summary)

    def take_shift(self, shift: dict[int, float]) -> dict[str, float]:
        """Build what the energies of the exported model lack per atom into it; return that by symbol, eV."""
        from ..potential_loader import load_model, save_model
        from .start_model import add_to_atomic_energies

        family = self.job['family']
        model = load_model(POTENTIAL, family, None, 'cpu', self.hyperparameters['dtype'], adapter=False)
        added: dict[str, float] = add_to_atomic_energies(model, shift)
        save_model(model, POTENTIAL, family)
        return added

    def store_adapter(self) -> str:
        """Leave an adapter in place of the exported model, where the strategy changes few entries; say which it is."""
        from ...common.names import ADAPTER_STRATEGIES
        from ..potential_loader import write_adapter

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
        from ...science.epoch_choice import describe_worse, worse_quantities
        from .engine import write_predictions
        from .errors import errors_by_role, forgetting

        calculator = self.calculator(FOUNDATION, ADAPTER) if Path(ADAPTER).exists() else self.calculator(POTENTIAL)
        after, others_after = self.predict(calculator, 'evaluate')
        summary['errors']['after'] = errors_by_role(self.frames, after)
        first, last = self.judged(self.before), self.judged(after)
        worse = {name: [first[name], last[name]] for name in worse_quantities(first, last)}
        summary['worse_than_foundation'] = worse
        summary['warnings'] = [*summary.get('warnings', []), *describe_worse(worse)]
        if self.others:
            summary['forgetting'] = forgetting(self.others, self.others_before, others_after, self.n_forgetting)
        summary['seconds'] = time.time() - START
        write_predictions(PREDICTIONS, self.frames, self.before, after)

    def summary(self, trainer: Any, outcome: Any) -> dict[str, Any]:
        """Return what is known when training ends."""
        import torch

        from ...science.epoch_choice import choose_epoch
        from .errors import errors_by_role

        device = self.hyperparameters['device']
        return {
            'strategy': self.job['strategy'],
            'engine': self.job['engine'],
            'start': self.start,
            'replay': self.replay_facts,
            'seed': self.job['seed'],
            'stopped_by': outcome.reason,
            'epochs': trainer.epoch,
            'best_epoch': trainer.best.epoch,
            'best_by': self.hyperparameters['best_by'],
            'best_value': trainer.best.value,
            # What would have been kept, whatever is worse with it than with the foundation.
            'best_epoch_by_that_alone': choose_epoch(trainer.rows, self.hyperparameters['best_by'], {}),
            'n_parameters': self.n_parameters,
            'n_trained_parameters': trainer.n_trained,
            'errors': {'before': errors_by_role(self.frames, self.before)},
            'energy_shift': self.shift,
            'stress_gap_mev_per_angstrom3': None if self.gap is None else 1e3 * self.gap.gap,
            'warnings': self.warnings,
            'seconds': time.time() - START,
            'seconds_training': trainer.seconds,
            'seconds_engine': time.time() - trainer.created,
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


if __name__ == '__main__':
    run_driver(main)
