"""What Equitrain trains and reads: its module of a strategy, its arguments, its files. A helper of ``train.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import equitrain
from equitrain.backends.torch_model import get_model
from equitrain.backends.torch_utils import set_seeds
from equitrain.finetune import TorchDeltaFineTuneWrapper, TorchFreezeFineTuneWrapper, TorchLoRAFineTuneWrapper

from ..science.epoch_choice import QUANTITIES
from ..science.frames import ENERGY_KEY, FORCES_KEY, STRESS_KEY
from .job_io import DriverFailure
from .start_model import layer_names, selected_layers

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
