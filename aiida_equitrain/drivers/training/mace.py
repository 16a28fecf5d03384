"""Train with MACE's own ``mace_run_train``: a child process that is watched, stopped and continued.

Nothing of MACE is replaced: what it does is decided by the settings file that it is given, and what it has done is read
from the history and the checkpoints that it writes. MACE neither stops early nor picks the best epoch by anything but
the total loss, and it goes on through NaN; so the watcher does these.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ...science.epoch_choice import watched_error
from ..job_io import DriverFailure
from .engine import CHECKPOINT_SECONDS, Best, Judge, Outcome, restart_rate, safest_rate, write_checkpoint
from .mace_files import (
    HEAD,
    LOG,
    NAME,
    REPLAY_HEAD,
    START,
    History,
    Rate,
    config,
    crash,
    energy_factor,
    is_trained,
    scale_rates,
    write_config,
    write_frames,
)
from .mace_model import count_trained, energies, plain_model, strategy_config

#: Seconds between two looks at the child.
INTERVAL = 0.2
FOLDER, BEST = Path('mace'), 'best.pt'


class Trainer:
    """Train a model in a child process, with the interface of Equitrain's engine.

    :param model: the bare model to start from, in the precision of the training.
    :param strategy: ``transfer``, ``lora``, ``freeze``, ``multihead`` or ``scratch``.
    :param values: the complete hyperparameters.
    :param frames: the frames by role: ``train``, ``valid``, and for ``multihead`` ``replay_train``, ``replay_valid``.
    :param judge: of the same frames.
    :param fingerprint: what a checkpoint must agree with to be continued.
    :param watch: called after each epoch with this trainer.
    :param deadline: ``time.time()`` after which training is stopped.
    """

    def __init__(
        self,
        model: Any,
        strategy: str,
        values: dict[str, Any],
        seed: int,
        frames: dict[str, Sequence[Any]],
        judge: Judge,
        fingerprint: str = '',
        watch: Callable[[Trainer], None] | None = None,
        deadline: float = math.inf,
    ) -> None:
        self.created = time.time()
        self.start_model, self.strategy, self.values, self.seed = model, strategy, values, seed
        self.judge, self.judged = judge, {role: frames[role] for role in ('train', 'valid')}
        self.fingerprint, self.watch, self.deadline = fingerprint, watch, deadline
        self.multihead = strategy == 'multihead'
        self.epoch, self.first_epoch, self.best = 0, 0, Best()
        #: What the energies of the last epoch still lack per atom of each element, eV.
        self.shift: dict[int, float] = {}
        self.rows: list[dict[str, float]] = []
        self.seconds, self.longest, self.killed = 0.0, 0.0, False
        self.first_rate: float | None = None
        self.checkpoints = FOLDER / 'checkpoints'
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        for role, items in frames.items():
            write_frames(FOLDER / f'{role}.xyz', items, values['replay_weight'] if role.startswith('replay') else 1.0)
        torch.save(model, FOLDER / START)
        counts = {role: len(items) for role, items in frames.items()}
        self.config = config(values, seed, energy_factor([*frames['train'], *frames.get('replay_train', [])]), counts,
                             model.interactions[0].avg_num_neighbors, self.multihead)  # fmt: skip
        self.config |= strategy_config(model, strategy, values)
        size = self.config['valid_batch_size']
        self.batches = {HEAD: (counts['valid'], counts['valid'] // size)}
        if self.multihead:
            self.batches[REPLAY_HEAD] = (counts['replay_valid'], math.ceil(counts['replay_valid'] / size))

    @property
    def n_trained(self) -> int:
        """Number of trained parameters."""
        return int(count_trained(self.start_model, self.strategy, self.values, self.config))

    def run(self, checkpoint: str | Path | None = None) -> Outcome:
        """Train until the epochs, the patience or the time run out, or until a loss is not finite.

        :param checkpoint: where the state is kept in case that the job is killed.
        """
        signal.signal(signal.SIGTERM, self._terminate)
        if self.epoch >= self.values['epochs']:
            return Outcome('finished')
        write_config(FOLDER, {**self.config, 'restart_latest': self.first_epoch > 0})
        history = History(FOLDER / 'results' / f'{NAME}_run-{self.seed}_train.txt', self.batches)
        history.path.unlink(missing_ok=True)
        rate = self.rate()
        with (FOLDER / LOG).open('w', encoding='utf-8') as log:
            child = subprocess.Popen(
                [sys.executable, '-m', 'mace.cli.run_train', '--config', 'config.yaml'],
                cwd=FOLDER, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, 'MPLBACKEND': 'Agg', 'PYTHONWARNINGS': 'ignore'},
            )  # fmt: skip
            try:
                return self.follow(child, history, rate, checkpoint)
            finally:
                child.terminate()
                try:
                    child.wait(10)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()

    def follow(self, child: Any, history: History, rate: Rate, checkpoint: str | Path | None) -> Outcome:
        """Take in what the child writes until it has to be stopped."""
        waiting: list[tuple[int, dict[str, float]]] = []
        written = 0.0  # after the first epoch at once: a job that is killed in a long second one has something
        while True:
            ended = child.poll() is not None
            done = ended or is_trained(FOLDER / LOG)
            waiting += history.read()
            # An epoch's errors are written before its checkpoint, which is whole once something later is written.
            while waiting and (done or len(waiting) > 1 or history.steps):
                if outcome := self.take(*waiting.pop(0), rate):
                    return outcome
            if self.epoch >= self.values['epochs']:
                return Outcome('finished')
            if ended:
                raise crash(FOLDER / LOG, child.returncode)
            if self.killed and not self.rows:
                raise DriverFailure('walltime', 'the time ran out before the first epoch')
            if self.killed or self.is_late():
                return Outcome('walltime', f'the time ran out after epoch {self.epoch}')
            if checkpoint and self.epoch > self.first_epoch and time.time() - written > CHECKPOINT_SECONDS:
                self.save(checkpoint)
                written = time.time()
            time.sleep(INTERVAL)

    def take(self, number: int, row: dict[str, float], rate: Rate) -> Outcome | None:
        """Take in a finished epoch; return how training ends, if it does."""
        if number < 0:
            # MACE evaluates the model before training; continued, that is the last epoch again.
            if not self.rows:
                self.rows.append({'epoch': 0, 'learning_rate': rate.value, **row, **self.refit(self.start_model)})
            return self.replay_problem(row)
        if number > self.first_epoch:
            rate.step(self.rows[-1]['valid_loss'] * self.batches[HEAD][1] / self.batches[HEAD][0])
        self.epoch = number + 1
        row = {'epoch': self.epoch, 'learning_rate': rate.value, **row}
        self.rows.append(row)
        self.seconds += row['seconds']
        self.longest = max(self.longest, row['seconds'])
        if not all(math.isfinite(row[name]) for name in ('train_loss', 'valid_loss')):
            return Outcome('diverged', f'the loss was not a finite number in epoch {self.epoch}')
        state = read_state(self.checkpoint_of(self.epoch))['model']
        row |= self.refit(plain_model(self.start_model, self.strategy, self.config, state))
        self.keep_if_best(row, state)
        if self.watch:
            self.watch(self)
        if outcome := self.replay_problem(row):
            return outcome
        if self.epoch < self.values['epochs'] and self.is_late(1.2 * self.longest):
            return Outcome('walltime', f'the time ran out after epoch {self.epoch}')
        return self.judge.out_of_patience(self.rows) if self.epoch < self.values['epochs'] else None

    def refit(self, model: Any) -> dict[str, float]:
        """Take the shift that the energies of a plain model still lack; return its errors, if there are labels."""
        if not self.judge.has_energies:
            return {}
        found = {role: energies(model, items) for role, items in self.judged.items()}
        errors: dict[str, float]
        self.shift, errors = self.judge.refit(found)
        return errors

    def is_late(self, reserve: float = 0.0) -> bool:
        """Tell whether the time is out; an epoch is trained in any case, so that there is something to go on from."""
        return self.epoch > self.first_epoch and (self.killed or time.time() + reserve > self.deadline)

    def replay_problem(self, row: dict[str, float]) -> Outcome | None:
        """Tell that MACE does not replay: it goes on with one head, or with labels that it does not see."""
        if not self.multihead:
            return None
        loss = row['replay_loss']
        if math.isnan(loss) and math.isfinite(row['valid_loss']):
            return Outcome('no_replay', 'MACE trains one head only')
        if loss == 0.0 and self.epoch >= 1:
            return Outcome('no_replay', f'the loss of the replayed frames is 0 after epoch {self.epoch}')
        return None

    def keep_if_best(self, row: dict[str, float], state: dict[str, Any]) -> None:
        """Keep the checkpoint of the best epoch and those of the last two; delete the others."""
        if self.judge.is_best(self.rows):
            shutil.copy(self.checkpoint_of(self.epoch), FOLDER / BEST)
            self.best = Best(self.epoch, watched_error(row, self.values['best_by']), state, self.shift)
        old = self.epoch - 2
        if old >= 1:
            self.checkpoint_of(old).unlink(missing_ok=True)

    def checkpoint_of(self, epoch: int) -> Path:
        """Return MACE's checkpoint of an epoch; MACE counts from 0."""
        return self.checkpoints / f'{NAME}_run-{self.seed}_epoch-{epoch - 1}.pt'

    def _terminate(self, *_: Any) -> None:
        self.killed = True

    def rate(self) -> Rate:
        """Return the schedule of the learning rate at the epoch from which training goes on."""
        rate = Rate(self.values)
        for row in self.rows[1:-1]:
            rate.step(row['valid_loss'] * self.batches[HEAD][1] / self.batches[HEAD][0])
        if self.first_rate is not None:
            rate.value = self.first_rate
        return rate

    def result(self) -> Any:
        """Return a plain model with one head and the weights of the best epoch.

        :raises DriverFailure: ``no_model``, if no epoch gave a finite validation error.
        """
        if not self.best.state:
            raise DriverFailure('no_model', 'no epoch gave a finite validation error, so there is no model to keep')
        return plain_model(self.start_model, self.strategy, self.config, self.best.state)

    def export(self, path: str | Path) -> None:
        """Write the plain model with the weights of the best epoch."""
        torch.save(self.result(), path)

    def save(self, path: str | Path) -> None:
        """Write all that training needs to go on."""
        self._write(path, self.epoch, self.rows[-1]['learning_rate'], read_state(self.checkpoint_of(self.epoch)))

    def save_best(self, path: str | Path) -> None:
        """Write all that training needs to go on from the best epoch."""
        self._write(path, self.best.epoch, safest_rate(self.rows, self.best), read_state(FOLDER / BEST))

    def _write(self, path: str | Path, epoch: int, rate: float, state: dict[str, Any]) -> None:
        rows = self.rows[: epoch + 1]
        content = {'fingerprint': self.fingerprint, 'epoch': epoch, 'last': state, 'best': vars(self.best),
                   'rows': rows, 'seconds': sum(row['seconds'] for row in rows[1:]), 'rate': rate,
                   'lr': self.values['lr']}  # fmt: skip
        write_checkpoint(path, content)

    def load(self, content: dict[str, Any]) -> None:
        """Continue from what :meth:`save` or :meth:`save_best` wrote."""
        self.epoch, self.rows, self.seconds = content['epoch'], content['rows'], content['seconds']
        self.best, self.first_epoch = Best(**content['best']), content['epoch']
        self.first_rate, state = restart_rate(content, self.values['lr']), content['last']
        scale_rates(state['optimizer'], self.first_rate, self.values)
        # MACE trains the epoch again that its checkpoint is called by.
        torch.save(state, self.checkpoint_of(self.epoch + 1))
        torch.save({'model': self.best.state, **{key: state[key] for key in state if key != 'model'}}, FOLDER / BEST)


def read_state(path: Path) -> dict[str, Any]:
    """Return the content of one of MACE's checkpoints."""
    content: dict[str, Any] = torch.load(path, map_location='cpu', weights_only=True)
    return content
