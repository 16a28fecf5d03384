"""The model that a training starts from, and its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from ..job_io import DriverFailure


def layer_names(model: Any) -> tuple[str, ...]:
    """Return the layers of a model in the order of its forward pass, as Equitrain numbers them."""
    from equitrain.finetune._layer_selection import infer_semantic_layer_names

    return tuple(infer_semantic_layer_names((name for name, _ in model.named_parameters()), model=model))


def selected_layers(selection: str, names: Sequence[str]) -> list[int]:
    """Return the numbers of the layers that a selection means.

    :param selection: numbers and ranges as Equitrain writes them (``2-``, ``0,3``), names (``products.1``), or names of
        groups (``interactions``), separated by commas.
    :param names: all layers, see :func:`layer_names`.
    :raises DriverFailure: ``bad_input``, if a layer does not exist.
    """
    from equitrain.finetune._layer_selection import parse_layer_selection

    chosen: set[int] = set()
    for token in (part.strip() for part in selection.split(',') if part.strip()):
        by_name = [index for index, name in enumerate(names) if token in (name, name.partition('.')[0])]
        if by_name:
            chosen.update(by_name)
            continue
        try:
            chosen.update(parse_layer_selection(token, tuple(names)))
        except ValueError as error:
            layers = ', '.join(f'{index} {name}' for index, name in enumerate(names))
            message = f'`freeze_layers` is `{selection}`, but the layers of the foundation are {layers}'
            raise DriverFailure('bad_input', message) from error
    if len(chosen) == len(names):
        raise DriverFailure('bad_input', f'`freeze_layers` is `{selection}`, so that nothing is left to train')
    return sorted(chosen)


def random_model(foundation: Any, seed: int) -> Any:
    """Return a model of the foundation's architecture with random weights, initialised as MACE does.

    Atomic energies, and scale and shift of the interaction energy, are those of the foundation.

    :raises DriverFailure: ``bad_input``, if the architecture cannot be built anew.
    """
    from mace.tools.scripts_utils import extract_config_mace_model

    config = extract_config_mace_model(foundation)
    if 'error' in config:
        message = f'a {type(foundation).__name__} cannot be built anew for the strategy `scratch`'
        raise DriverFailure('bad_input', message)
    parameter = next(foundation.parameters())
    torch.manual_seed(seed)
    torch.set_default_dtype(parameter.dtype)
    model = type(foundation)(**config).to(device=parameter.device, dtype=parameter.dtype)
    weights = {name: item.shape for name, item in model.named_parameters()}
    if weights != {name: item.shape for name, item in foundation.named_parameters()}:
        raise DriverFailure('bad_input', 'the architecture of the foundation could not be read from its file')
    return model


def refit_atomic_energies(model: Any, frames: Sequence[Any], energies: ArrayLike) -> dict[str, float]:
    """Change the atomic energies of a model so that its energies match the labels on average, in place.

    Without this the weights of a random model would be spent on a constant. What remains, 0.5 eV/atom between crystals,
    is the energy of cohesion that it knows nothing of: labels are judged by the foundation, see ``errors.py``.

    :param frames: labelled frames; those without an energy say nothing.
    :param energies: what the model gives for them, eV.
    :returns: what was added per atom of each element, eV.
    """
    from ...science.energy_shift import fit_energy_shift

    known = [index for index, frame in enumerate(frames) if frame.energy is not None]
    if not known:
        return {}
    labels = np.array([frames[index].energy for index in known])
    shift = fit_energy_shift([frames[index].numbers for index in known], labels, np.array(energies)[known])
    return add_to_atomic_energies(model, dict(zip(shift.numbers, shift.shifts, strict=True)))


def counts_by_element(model: Any) -> bool:
    """Tell whether a model has an energy for each element; some of SevenNet have one number for all."""
    if hasattr(model, 'atomic_energies_fn') or hasattr(model, 'atom_energies'):
        return True
    return bool(model.rescale_atomic_energy.shift.shape[-1] > 1)


def add_to_atomic_energies(model: Any, shift: Mapping[int, float]) -> dict[str, float]:
    """Add a shift per atom of each element to the energies of a MACE, SevenNet or Nequix model, in place.

    :param shift: by atomic number, eV; for a model with one number for all elements under the number 0.
    :returns: the shift by symbol, ``X`` for all.
    """
    from ase.data import chemical_symbols

    if hasattr(model, 'atomic_energies_fn'):
        table = model.atomic_energies_fn.atomic_energies
        places = {int(number): place for place, number in enumerate(model.atomic_numbers)}
    elif hasattr(model, 'atom_energies'):
        table = model.atom_energies
        places = {number: place for place, number in enumerate(model.header['atomic_numbers'])}
    else:
        table = model.rescale_atomic_energy.shift
        places = dict(model.type_map) if counts_by_element(model) else {0: 0}
    with torch.no_grad():
        for number, value in shift.items():
            table[..., places[number]] += value
    return {chemical_symbols[number]: value for number, value in shift.items()}


def two_headed(foundation: Any, heads: Sequence[str]) -> Any:
    """Return an untrained model of the architecture that MACE makes of a foundation with one head for replay."""
    from mace.tools.scripts_utils import extract_config_mace_model

    settings = extract_config_mace_model(foundation)
    settings['heads'] = list(heads)
    settings['atomic_energies'] = np.repeat(np.atleast_2d(settings['atomic_energies']), len(heads), axis=0)
    for name in ('atomic_inter_scale', 'atomic_inter_shift'):
        settings[name] = np.repeat(np.atleast_1d(settings[name]), len(heads)).tolist()
    parameter = next(foundation.parameters())
    return type(foundation)(**settings).to(device=parameter.device, dtype=parameter.dtype)
