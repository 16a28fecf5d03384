"""What a checkpoint of SevenNet says about itself, as inert stand-ins (see :mod:`.torch_archive`).

Such a file is a dictionary: the settings of the model (``config``) and its tensors (``model_state_dict``).
"""

from __future__ import annotations

from math import prod
from typing import Any

from ase.data import chemical_symbols

from .torch_archive import LONGEST_CUTOFF, REMEDY, Reader, Tensor

#: Parts of the names of tensors that are constants of the architecture, not parameters.
CONSTANTS = ('output_mask', '_w3j_')
#: A part of names that SevenNet gave until early 2024; the model built of them has others.
OLD_NAME = 'EdgeEmbedding'


def is_checkpoint(root: Any) -> bool:
    """Tell whether the root object of a file is a checkpoint of SevenNet."""
    if not isinstance(root, dict):
        return False
    config, state = root.get('config'), root.get('model_state_dict')
    return isinstance(config, dict) and isinstance(state, dict) and {'_model_type', 'cutoff'} <= set(config)


def tensors(root: Any) -> dict[str, Tensor]:
    """Return the tensors of the model by their names."""
    items = root['model_state_dict'].items()
    return {name: item for name, item in items if isinstance(name, str) and isinstance(item, Tensor)}


def describe(root: Any, reader: Reader) -> dict[str, Any]:
    """Return the metadata of a checkpoint, by the names of ``ModelInfo``.

    :raises ValueError: with a sentence, if it is of a kind that cannot be used.
    """
    config, state = root['config'], tensors(root)
    if problem := _problem(config, state):
        raise ValueError(f'{problem}: give another checkpoint, such as SevenNet-0')
    dtypes = {item.dtype for item in state.values() if item.dtype.startswith('float')}
    if len(dtypes) != 1 or not dtypes <= {'float32', 'float64'}:
        raise ValueError(f'the SevenNet checkpoint mixes or has unusual number types ({sorted(dtypes)}): {REMEDY}')
    for item in state.values():
        reader.check(item)
    type_map = config.get('_type_map')
    numbers = sorted(key for key in type_map if type(key) is int) if isinstance(type_map, dict) else []
    if not numbers or not 0 < numbers[0] <= numbers[-1] < len(chemical_symbols):
        raise ValueError(f'the SevenNet checkpoint does not say which elements it knows: {REMEDY}')
    kind, cutoff = config['_model_type'], config['cutoff']
    if not isinstance(kind, str) or not kind.isidentifier() or len(kind) > 100:
        raise ValueError(f'the SevenNet checkpoint does not say the type of its model: {REMEDY}')
    if not isinstance(cutoff, int | float) or isinstance(cutoff, bool) or not 0 < cutoff < LONGEST_CUTOFF:
        raise ValueError(f'the SevenNet checkpoint does not say its cutoff: {REMEDY}')
    return {
        'family': 'sevennet',
        'architecture': kind,
        'elements': [chemical_symbols[number] for number in numbers],
        'cutoff': round(float(cutoff), 6),
        'dtype': dtypes.pop(),
        'heads': [],
        'n_parameters': sum(
            prod(item.shape) for name, item in state.items() if not any(part in name for part in CONSTANTS)
        ),
    }


def _problem(config: dict[Any, Any], state: dict[str, Tensor]) -> str | None:
    """Return why a checkpoint cannot be used, or ``None``."""
    if config.get('use_modality') or config.get('_modal_map'):
        return 'the SevenNet checkpoint has modalities (an output for each of several sources), which are not supported'
    if not state:
        return 'the SevenNet checkpoint has no tensors'
    if any(OLD_NAME in name for name in state):
        return 'the SevenNet checkpoint has the names of tensors that SevenNet had before July 2024'
    accelerator = config.get('cuequivariance_config')
    if isinstance(accelerator, dict) and accelerator.get('use'):
        return 'the SevenNet checkpoint is that of a model with cuEquivariance'
    return None
