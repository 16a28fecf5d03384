"""Train with Equitrain, one epoch at a time, in a loop that can be watched, stopped and continued.

``equitrain.train`` is one closed call: no hook per epoch, no early stopping, no state of the last epoch, and NaN losses
are left out of its averages (an epoch of nothing but NaN counts as an error of 0.0 and would be kept as the best). So
this loop calls the same functions of Equitrain that ``equitrain.train`` calls, in the same order: ``get_dataloaders``,
``create_optimizer``, ``create_scheduler``, ``train_one_epoch``, ``evaluate_main``. Nothing of Equitrain is replaced,
and uninterrupted training gives the same weights as ``equitrain.train``, bit for bit (tests/drivers/test_train.py).
"""

from __future__ import annotations

import math
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import equitrain
import numpy as np
import torch
from equitrain.argparser import get_loss_monitor
from equitrain.backends.torch_backend import train_one_epoch
from equitrain.backends.torch_evaluate import evaluate_main
from equitrain.backends.torch_model import get_model
from equitrain.backends.torch_optimizer import create_optimizer
from equitrain.backends.torch_scheduler import SchedulerWrapper, create_scheduler
from equitrain.backends.torch_utils import set_dtype, set_seeds
from equitrain.data.backend_torch.loaders import get_dataloaders
from equitrain.finetune import TorchDeltaFineTuneWrapper, TorchFreezeFineTuneWrapper, TorchLoRAFineTuneWrapper
from equitrain.logger import FileLogger

from ...science.epoch_choice import QUANTITIES, watched_error
from ...science.frames import ENERGY_KEY, FORCES_KEY, STRESS_KEY
from ..job_io import DriverFailure
from .engine import CHECKPOINT_SECONDS, Best, Judge, Outcome, restart_rate, safest_rate, write_checkpoint
from .start_model import layer_names, selected_layers


class WatchedLogger(FileLogger):  # type: ignore[misc,unused-ignore]
    """Equitrain's logger; turns its silent skipping of frames that do not fit into memory into a failure."""

    def log(self, level: int, message: Any, force: bool = False) -> None:
        """Log, unless the message says that a frame was left out."""
        if 'OOM error' in str(message):
            raise DriverFailure('out_of_memory', f'the device has too little memory for the batch: {message}')
        super().log(level, message, force)


class Trainer:
    """Train a wrapped model on preprocessed files.

    :param module: what :func:`wrap` returned.
    :param hyperparameters: the complete set.
    :param files: ``train`` and ``valid`` HDF5 files.
    :param judge: of the same frames, in the same order.
    :param fingerprint: what a checkpoint must agree with to be continued.
    :param watch: called after each epoch with this trainer.
    :param deadline: ``time.time()`` after which no further epoch is begun.
    """

    def __init__(
        self,
        module: Any,
        hyperparameters: dict[str, Any],
        seed: int,
        files: dict[str, str],
        judge: Judge,
        fingerprint: str = '',
        watch: Callable[[Trainer], None] | None = None,
        deadline: float = math.inf,
    ) -> None:
        from accelerate import Accelerator

        self.created = time.time()
        self.hyperparameters, self.judge, self.fingerprint = hyperparameters, judge, fingerprint
        self.watch, self.deadline = watch, deadline
        self.args = args = equitrain_arguments(hyperparameters)
        args.seed, args.train_file, args.valid_file = seed, files['train'], files['valid']
        set_seeds(seed)
        set_dtype(args.dtype)
        args.loss_monitor = get_loss_monitor(args)
        self.accelerator = Accelerator(step_scheduler_with_optimizer=False, cpu=hyperparameters['device'] == 'cpu')
        self.logger = WatchedLogger(enable_logging=True, logger_name='equitrain', verbosity=1)
        self.train_loader, self.valid_loader, _ = get_dataloaders(
            args, module.atomic_numbers, module.r_max, self.accelerator
        )
        optimizer = create_optimizer(args, module)
        scheduler = create_scheduler(args, optimizer)
        self.module, self.optimizer, scheduler = self.accelerator.prepare(module, optimizer, scheduler)
        self.scheduler = SchedulerWrapper(args, scheduler)
        self.average = self._average()
        #: Losses of the training frames, which the weighted sampler draws by.
        self.errors: Any = None
        self.epoch, self.rows, self.best = 0, [], Best()  # type: tuple[int, list[dict[str, float]], Best]
        #: What the energies of the last epoch still lack per atom of each element, eV.
        self.shift: dict[int, float] = {}
        self.seconds, self.killed, self.longest = 0.0, False, 0.0

    def _average(self) -> Any:
        if not self.hyperparameters['ema']:
            return None
        from torch_ema import ExponentialMovingAverage

        return ExponentialMovingAverage(self.module.parameters(), decay=self.hyperparameters['ema_decay'])

    def run(self, checkpoint: str | Path | None = None) -> Outcome:
        """Train until the epochs, the patience or the time run out, or until a loss is not finite.

        :param checkpoint: where the state is kept in case that the job is killed.
        """
        signal.signal(signal.SIGTERM, self._terminate)
        written = 0.0  # after the first epoch at once: a job that is killed in a long second one has something
        if self.args.weighted_sampler and self.errors is None:
            _, self.errors = self._evaluate_on(self.train_loader)
        if not self.rows:
            start = time.time()
            self._record(None, self._evaluate(), start)
        while self.epoch < self.hyperparameters['epochs']:
            start = time.time()
            if outcome := self.judge.out_of_patience(self.rows):
                return outcome
            self.epoch += 1
            train = self._train()
            valid = self._evaluate()
            row = self._record(train, valid, start)
            if not self._is_finite(train, valid):
                return Outcome('diverged', f'the loss was not a finite number in epoch {self.epoch}')
            self._keep_if_best(row)
            monitored = train if self.args.scheduler_monitor == 'train' else valid
            self.scheduler.step(metric=monitored.main['total'].avg)
            self.longest = max(self.longest, time.time() - start)
            if checkpoint and time.time() - written > CHECKPOINT_SECONDS:
                self.save(checkpoint)
                written = time.time()
            if self.watch:
                self.watch(self)
            if self.killed or time.time() + 1.2 * self.longest > self.deadline:
                return Outcome('walltime', f'the time ran out after epoch {self.epoch}')
        return Outcome('finished')

    def _terminate(self, *_: Any) -> None:
        self.killed = True

    def _train(self) -> Any:
        losses, errors = train_one_epoch(
            args=self.args, model=self.module, model_ema=self.average, accelerator=self.accelerator,
            dataloader=self.train_loader, optimizer=self.optimizer, errors=self.errors, epoch=self.epoch,
            logger=self.logger,
        )  # fmt: skip
        self.errors = errors if self.args.weighted_sampler else None
        return losses

    def _evaluate(self) -> Any:
        return self._evaluate_on(self.valid_loader)[0]

    def _evaluate_on(self, loader: Any) -> Any:
        return evaluate_main(self.args, model=self.module, accelerator=self.accelerator, dataloader=loader)

    def _is_finite(self, train: Any, valid: Any) -> bool:
        # Equitrain's averages leave out what is not finite, so what is missing from them shows it.
        counts = (train.main['total'].count, valid.main['total'].count)
        return counts == (len(self.train_loader.dataset), len(self.valid_loader.dataset))

    def _record(self, train: Any, valid: Any, start: float) -> dict[str, float]:
        row: dict[str, float] = {'epoch': self.epoch, 'learning_rate': self.optimizer.param_groups[0]['lr']}
        for name, losses in (('train', train), ('valid', valid)):
            row[f'{name}_loss'] = _average_of(losses.main if losses else None, 'total')
            errors = None if losses is None else losses.get('mae', losses.main)
            for quantity in QUANTITIES:
                row[f'{name}_{quantity}_mae'] = _average_of(errors, quantity)
        if self.judge.has_energies:
            self.shift, errors = self.judge.refit(self._energies())
            row |= errors
        row['seconds'] = time.time() - start
        self.seconds += row['seconds']
        self.rows.append(row)
        return row

    def _energies(self) -> dict[str, Any]:
        """Return the energies of the present weights by role, eV."""
        base = getattr(self.module, 'base_wrapper', self.module)
        # SevenNet's wrapper has no such switches: it always computes forces, for which it needs gradients.
        switches = {name: getattr(base, name) for name in ('compute_force', 'compute_stress') if hasattr(base, name)}
        vars(base).update(dict.fromkeys(switches, False))
        self.module.eval()
        try:
            with torch.set_grad_enabled(not switches):
                loaders = {'train': self.train_loader, 'valid': self.valid_loader}
                return {role: self._energies_of(loader.dataset) for role, loader in loaders.items()}
        finally:
            vars(base).update(switches)

    def _energies_of(self, dataset: Any) -> Any:
        """Return the energies of the frames in turn: a loader would draw random numbers, which are the training's."""
        from torch_geometric.data import Batch

        batches = (Batch.from_data_list([dataset[index]]) for index in range(len(dataset)))
        return np.array([float(self.module(batch.to(self.accelerator.device))['energy']) for batch in batches])

    def _keep_if_best(self, row: dict[str, float]) -> None:
        if self.judge.is_best(self.rows):
            state = {key: item.detach().clone() for key, item in self.trained().items()}
            self.best = Best(self.epoch, watched_error(row, self.hyperparameters['best_by']), state, self.shift)

    def trained(self) -> dict[str, torch.Tensor]:
        """Return the parameters that are trained, by name; everything else stays as it is in the foundation."""
        return {name: item for name, item in self.module.named_parameters() if item.requires_grad}

    @property
    def n_trained(self) -> int:
        """Number of trained parameters."""
        return sum(item.numel() for item in self.trained().values())

    def export(self, path: str | Path) -> None:
        """Write the plain model with the weights of the best epoch, as ``equitrain-export`` does.

        :raises DriverFailure: ``no_model``, if no epoch gave a finite validation error.
        """
        if not self.best.state:
            raise DriverFailure('no_model', 'no epoch gave a finite validation error, so there is no model to keep')
        self._put(self.best.state)
        model = self.module.model
        # What was not trained is frozen; the exported file must not be.
        frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(True)
        if hasattr(self.module, 'export'):
            self.module.export(str(path))
        else:
            torch.save(model, path)
        for parameter in frozen:
            parameter.requires_grad_(False)

    def _put(self, state: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.trained().items():
                parameter.copy_(state[name])

    def save(self, path: str | Path) -> None:
        """Write all that training needs to go on as if it had not been interrupted."""
        state: Any = np.random.get_state()  # noqa: NPY002
        rest = {
            'optimizer': self.optimizer.state_dict(),
            'scheduler': self.scheduler.scheduler.state_dict(),
            'average': self.average.state_dict() if self.average else None,
            'errors': self.errors,
            'random': {
                'torch': torch.get_rng_state(),
                'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
                'numpy': [state[0], state[1].tolist(), *state[2:]],
                'python': random.getstate(),
            },
        }
        self._write(path, self.epoch, self.optimizer.param_groups[0]['lr'], dict(self.trained()), rest)

    def save_best(self, path: str | Path) -> None:
        """Write all that training needs to go on from the best epoch, with an optimiser that knows nothing yet."""
        self._write(path, self.best.epoch, safest_rate(self.rows, self.best), self.best.state, None)

    def _write(self, path: str | Path, epoch: int, rate: float, weights: Any, rest: dict[str, Any] | None) -> None:
        rows = self.rows[: epoch + 1]
        content = {'fingerprint': self.fingerprint, 'epoch': epoch, 'trained': weights, 'best': vars(self.best),
                   'rows': rows, 'seconds': sum(row['seconds'] for row in rows), 'rate': rate,
                   'lr': self.hyperparameters['lr'], 'rest': rest}  # fmt: skip
        write_checkpoint(path, content)

    def load(self, content: dict[str, Any]) -> None:
        """Continue from what :meth:`save` or :meth:`save_best` wrote."""
        self._put(content['trained'])
        self.epoch, self.rows, self.seconds = content['epoch'], content['rows'], content['seconds']
        self.best = Best(**content['best'])
        if content['rest']:
            self._load_rest(content['rest'])
        elif self.average:
            self.average = self._average()
        for group in self.optimizer.param_groups:
            group['lr'] = restart_rate(content, self.hyperparameters['lr'])

    def _load_rest(self, rest: dict[str, Any]) -> None:
        """Take over optimiser, schedule, average and random numbers."""
        self.optimizer.load_state_dict(rest['optimizer'])
        self.scheduler.scheduler.load_state_dict(rest['scheduler'])
        self.errors = rest['errors']
        if self.average:
            self.average.load_state_dict(rest['average'])
        state = rest['random']
        torch.set_rng_state(state['torch'].cpu())
        if state['cuda'] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([item.cpu() for item in state['cuda']])
        kind, keys, *others = state['numpy']
        np.random.set_state((kind, np.array(keys, dtype=np.uint32), *others))  # noqa: NPY002
        random.setstate(tuple(tuple(item) if isinstance(item, list) else item for item in state['python']))


def _average_of(losses: Any, name: str) -> float:
    """Return an average of Equitrain's, NaN where nothing finite went into it."""
    meter = losses[name] if losses else None
    return float(meter.avg) if meter is not None and meter.count else math.nan


#: Hyperparameters that are not arguments of Equitrain.
NOT_EQUITRAIN = (
    'freeze_layers', 'rank', 'rank_fraction', 'lora_alpha', 'best_by', 'patience', 'patience_threshold', 'device',
    'threads',
)  # fmt: skip


def wrap(model: Any, strategy: str, hyperparameters: dict[str, Any], seed: int, family: str = 'mace') -> Any:
    """Return Equitrain's module for a strategy; strategies differ only here, and in the model that they start from.

    :param model: a bare model in the precision of the training.
    :param strategy: ``l2-tsp``, ``l2-sp`` (additive deltas), ``lora`` (low-rank deltas), ``freeze``, or ``transfer``
        and ``scratch`` (all weights).
    :param seed: of the low-rank deltas, half of which start as random numbers.
    """
    args = equitrain_arguments(hyperparameters)
    if family == 'sevennet':
        from .sevennet_wrapper import SevenNetWrapper, hold_fixed

        return hold_fixed(_of_strategy(SevenNetWrapper(args, model), strategy, hyperparameters, seed))
    if family == 'nequix':
        from .nequix_wrapper import NequixMatrices, NequixWrapper

        base = NequixMatrices(model) if strategy == 'lora' else NequixWrapper(model)
        return _of_strategy(base, strategy, hyperparameters, seed)
    args.model, args.model_wrapper = model, 'mace'
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return _of_strategy(get_model(args), strategy, hyperparameters, seed)


def _of_strategy(base: Any, strategy: str, hyperparameters: dict[str, Any], seed: int) -> Any:
    """Return Equitrain's module for a strategy around its wrapper of a model."""
    if strategy in ('transfer', 'scratch'):
        return base
    if strategy == 'l2-sp':
        return TorchDeltaFineTuneWrapper(base)
    if strategy == 'lora':
        set_seeds(seed)
        return TorchLoRAFineTuneWrapper(base, **_low_rank(hyperparameters))
    if strategy in ('l2-tsp', 'freeze'):
        frozen = ','.join(
            str(index) for index in selected_layers(hyperparameters['freeze_layers'], layer_names(base.model))
        )
        wrapper = TorchDeltaFineTuneWrapper if strategy == 'l2-tsp' else TorchFreezeFineTuneWrapper
        return wrapper(base, freeze_layers=frozen)
    raise DriverFailure('bad_input', f'the engine `equitrain` has no strategy `{strategy}`')


def _low_rank(hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of Equitrain's low-rank wrapper, which takes a rank only as the smallest one."""
    rank, alpha = hyperparameters['rank'], hyperparameters['lora_alpha']
    if rank is None:
        return {'rank_fraction': hyperparameters['rank_fraction'], 'alpha': alpha}
    return {'rank_fraction': 1e-9, 'min_rank': rank, 'alpha': alpha}


def equitrain_arguments(hyperparameters: dict[str, Any]) -> Any:
    """Return Equitrain's training arguments, with our hyperparameters set."""
    args = equitrain.get_args_parser_train().parse_args([])
    for name, value in hyperparameters.items():
        if name not in NOT_EQUITRAIN:
            setattr(args, name, value)
    args.loss_monitor = 'mae'
    for quantity in QUANTITIES:
        if getattr(args, f'loss_type_{quantity}') is None:
            setattr(args, f'loss_type_{quantity}', args.loss_type)
    if any(getattr(args, f'loss_type_{quantity}') != args.loss_type for quantity in QUANTITIES):
        args.loss_type = 'mixed'
    args.num_workers, args.tqdm, args.verbose = 0, False, 0
    return args


def preprocess(frames: Any, cutoff: float) -> dict[str, str]:
    """Write the labels as Equitrain wants them; return its files.

    :param frames: all labelled frames.
    :param cutoff: of the potential, Å.
    """
    args = equitrain.get_args_parser_preprocess().parse_args([])
    for role in ('train', 'valid'):
        atoms = [frame.to_atoms(keys=True) for frame in frames.with_role(role)]
        for item in atoms:
            if STRESS_KEY in item.info:
                item.info[STRESS_KEY] = item.info[STRESS_KEY][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
            item.info = {key: value for key, value in item.info.items() if key.startswith('REF_')}
        ase.io.write(f'{role}.xyz', atoms, format='extxyz')
    args.train_file, args.valid_file, args.output_dir, args.r_max = 'train.xyz', 'valid.xyz', 'data', cutoff
    args.energy_key, args.forces_key, args.stress_key = ENERGY_KEY, FORCES_KEY, STRESS_KEY
    for old in Path('data').glob('*.h5'):
        old.unlink()
    equitrain.preprocess(args)
    return {'train': 'data/train.h5', 'valid': 'data/valid.h5'}
