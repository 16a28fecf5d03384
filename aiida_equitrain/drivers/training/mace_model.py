"""What a strategy makes of a model in MACE: its settings, its trained weights, and the plain model in the end."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..job_io import DriverFailure
from .mace_files import HEAD, REPLAY_HEAD, freeze_level
from .start_model import layer_names, selected_layers, two_headed

#: Default rank of MACE's low-rank deltas.
RANK = 16


def strategy_config(model: Any, strategy: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of ``mace_run_train`` in which strategies differ.

    :param values: the hyperparameters.
    :raises DriverFailure: ``bad_input``, if MACE cannot freeze the layers that are asked for.
    """
    if strategy == 'lora':
        rank = values['rank'] or RANK
        alpha = rank if values['lora_alpha'] is None else values['lora_alpha']
        return {'lora': True, 'lora_rank': rank, 'lora_alpha': float(alpha)}
    if strategy == 'freeze':
        names = layer_names(model)
        level = freeze_level(selected_layers(values['freeze_layers'], names), names)
        if level is None:
            message = (
                f'`freeze_layers` is `{values["freeze_layers"]}`, but the engine `mace` freezes '
                '`node_embedding`, or `node_embedding,interactions`, or `node_embedding,interactions,products`; '
                'choose one of these, or the engine `equitrain`'
            )
            raise DriverFailure('bad_input', message)
        return {'freeze': level}
    return {}


def trained_form(model: Any, strategy: str, config: dict[str, Any]) -> Any:
    """Return a copy of the model as MACE trains it: with low-rank deltas, or with a head for the replayed frames."""
    if strategy == 'multihead':
        return two_headed(model, (REPLAY_HEAD, HEAD))
    model = copy.deepcopy(model)
    if strategy == 'lora':
        from mace.modules.lora import inject_LoRAs

        model = inject_LoRAs(model, rank=config['lora_rank'], alpha=config['lora_alpha'])
    return model


def count_trained(model: Any, strategy: str, values: dict[str, Any], config: dict[str, Any]) -> int:
    """Return the number of trained parameters."""
    trained = trained_form(model, strategy, config)
    if strategy == 'lora':
        return sum(item.numel() for item in trained.parameters() if item.requires_grad)
    frozen: tuple[str, ...] = ()
    if strategy == 'freeze':
        names = layer_names(model)
        frozen = tuple(f'{names[index]}.' for index in selected_layers(values['freeze_layers'], names))
    return sum(item.numel() for name, item in trained.named_parameters() if not name.startswith(frozen or '\0'))


def plain_model(model: Any, strategy: str, config: dict[str, Any], state: dict[str, Any]) -> Any:
    """Return a plain model with one head.

    :param model: the one that training started from.
    :param state: the trained weights.
    """
    result = trained_form(model, strategy, config)
    shapes = {name: item.shape for name, item in result.state_dict().items()}
    # MACE writes the atomic energies of one head as a row where older models have a list.
    result.load_state_dict({name: item.reshape(shapes[name]) for name, item in state.items()})
    if strategy == 'lora':
        from mace.modules.lora import merge_lora_weights

        result = merge_lora_weights(result)
    if strategy == 'multihead':
        from mace.tools.scripts_utils import remove_pt_head

        parameter = next(result.parameters())
        result = remove_pt_head(result, HEAD).to(device=parameter.device, dtype=parameter.dtype)
    return result


def energies(model: Any, frames: Sequence[Any]) -> Any:
    """Return the energies of a plain model for frames in turn, eV; without forces, which take most of the time."""
    from mace.data import AtomicData, KeySpecification, config_from_atoms
    from mace.tools import AtomicNumberTable, torch_geometric

    table = AtomicNumberTable([int(number) for number in model.atomic_numbers])
    found = []
    for frame in frames:
        configuration = config_from_atoms(frame.to_atoms(keys=True), key_specification=KeySpecification())
        graph = AtomicData.from_config(configuration, z_table=table, cutoff=float(model.r_max))
        batch = torch_geometric.Batch.from_data_list([graph]).to(next(model.parameters()).device)
        with torch.no_grad():
            found.append(float(model(batch.to_dict(), compute_force=False)['energy']))
    return np.array(found)
