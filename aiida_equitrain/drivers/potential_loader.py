"""Load a potential inside a job: as an ASE calculator, or as a bare model to train.

A model file is a pickle, so loading it runs what is in it. That happens here, in the job that needs the model, and
nowhere else. Families differ in this file; what SevenNet and Nequix need is in ``sevennet_family.py`` and
``nequix_family.py``.

A fine-tuned potential may come as an adapter (``science.adapter``) to its foundation: the file beside the model, with
the same name and the suffix ``.safetensors``. It is applied here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..science.adapter import make_adapter
from .job_io import DriverFailure, is_out_of_memory

DTYPES = ('float32', 'float64')
#: Packages without which a model that was converted for a GPU cannot be loaded.
ACCELERATORS = ('cuequivariance', 'cuequivariance_torch', 'cuequivariance_ops_torch', 'openequivariance')
FAMILIES = ('mace', 'sevennet', 'nequix')
#: Suffix of an adapter beside the model that it belongs to.
ADAPTER_SUFFIX = '.safetensors'


def load_calculator(
    path: str | Path,
    family: str = 'mace',
    head: str | None = None,
    device: str = 'cpu',
    dtype: str = 'float64',
    adapter: Any = None,
) -> Any:
    """Return an ASE calculator for a model file.

    :param path: the model file.
    :param family: architecture family: one of :data:`FAMILIES`.
    :param head: head of a multi-head model; ``None`` for a model with one head.
    :param device: ``cpu`` or ``cuda`` (or ``cuda:1``, ...).
    :param dtype: ``float32`` or ``float64``; the model is converted.
    :param adapter: the ``Adapter`` to apply; ``None`` for one that lies beside the model, ``False`` for none.
    :raises DriverFailure: ``cuda_missing``, ``bad_potential`` or ``bad_input``.
    """
    model = load_model(path, family, head, device, dtype, adapter)
    if family != 'mace':
        return _helper(family).make_calculator(model, device, dtype)
    from mace.calculators import MACECalculator

    return MACECalculator(models=model, device=device, default_dtype=dtype, head=_heads(model)[0])


def load_model(
    path: str | Path,
    family: str = 'mace',
    head: str | None = None,
    device: str = 'cpu',
    dtype: str = 'float64',
    adapter: Any = None,
) -> Any:
    """Return the torch module of a model file, with one head, on ``device`` and in ``dtype``; parameters as above."""
    if family not in FAMILIES:
        known = ', '.join(FAMILIES)
        raise DriverFailure('bad_input', f'potentials of the family `{family}` cannot be loaded; known are {known}')
    if dtype not in DTYPES:
        raise DriverFailure('bad_input', f'`dtype` is `{dtype}`; it must be one of {", ".join(DTYPES)}')
    check_device(device)
    adapter = find_adapter(path) if adapter is None else adapter
    read = _read_mace if family == 'mace' else _helper(family).read_model
    import torch

    # An adapter holds numbers in the precision of its training: the foundation is brought there first, as it was then.
    first = getattr(torch, adapter.dtype if adapter else dtype)
    torch.set_default_dtype(first)
    try:
        with _compiled_parts_on(device):
            model = read(path, device, adapter.head if adapter else head)
    except DriverFailure:
        raise
    except ModuleNotFoundError as error:
        package = (error.name or '').partition('.')[0]
        if package not in ACCELERATORS:
            raise
        message = (
            f'the model needs the package `{package}` (cuEquivariance or OpenEquivariance): write it without (for '
            'cuEquivariance with `mace_cueq_to_e3nn` of mace-torch) and import that file, or install the package in '
            'the Python of the jobs'
        )
        raise DriverFailure('bad_potential', message) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        message = f'the model file could not be loaded: {type(error).__name__}: {error}'
        raise DriverFailure('bad_potential', message) from error
    model = model.to(device=device, dtype=first)
    if adapter:
        _apply(adapter, model, path)
    torch.set_default_dtype(getattr(torch, dtype))
    return model.to(dtype=getattr(torch, dtype))


@contextmanager
def _compiled_parts_on(device: str) -> Iterator[None]:
    """Let the compiled parts in a model file be loaded to ``device``, wherever they were saved.

    `torch.load` has `map_location` for the tensors; e3nn's compiled parts lie in the file as archives of their own,
    which it loads by `torch.jit.load` to where they were: on a machine without a GPU those of a GPU cannot be loaded.
    """
    import torch

    load: Any = torch.jit.load

    def load_there(file: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        return load(file, device if map_location is None else map_location, *args, **kwargs)

    torch.jit.load = load_there  # type: ignore[assignment,unused-ignore]
    try:
        yield
    finally:
        torch.jit.load = load


def save_model(model: Any, file: Any, family: str = 'mace') -> None:
    """Write a model that :func:`load_model` returned as a file that its own package loads.

    :param file: path, or stream of bytes.
    """
    if family != 'mace':
        _helper(family).write_checkpoint(model, file)
        return
    import torch

    torch.save(model, file)


def _read_mace(path: str | Path, device: str, head: str | None) -> Any:
    """Return the MACE model of a file, with one head."""
    # mace before e3nn: mace patches torch's loading of e3nn's constants.
    import mace  # noqa: F401
    import torch

    model = torch.load(path, map_location=device, weights_only=False)
    if not hasattr(model, 'atomic_numbers') or not hasattr(model, 'r_max'):
        raise DriverFailure('bad_potential', f'the file holds a {type(model).__name__}, which is no MACE model')
    return _one_head(model, head)


def _helper(family: str) -> Any:
    """Return the helper for a family that is not MACE; it imports the package of that family."""
    if family == 'sevennet':
        from . import sevennet_family

        return sevennet_family
    from . import nequix_family

    return nequix_family


def find_adapter(path: str | Path) -> Any:
    """Return the adapter that lies beside a model in a job's folder, or ``None``.

    :raises DriverFailure: ``bad_potential`` if it is damaged.
    """
    file = Path(path).with_suffix(ADAPTER_SUFFIX)
    if not file.is_file():
        return None
    from ..science.adapter import read_adapter

    try:
        return read_adapter(file.read_bytes())
    except ValueError as error:
        raise DriverFailure('bad_potential', str(error)) from error


def _apply(adapter: Any, model: Any, path: str | Path) -> None:
    """Give the model the trained values, in place.

    :raises DriverFailure: ``bad_potential`` if the adapter belongs to another model.
    """
    import torch

    found = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if found != adapter.foundation_sha256:
        message = f'the adapter belongs to the model with the SHA-256 {adapter.foundation_sha256}, this one has {found}'
        raise DriverFailure('bad_potential', message)
    state = model.state_dict()
    try:
        changed = adapter.apply({name: state[name].cpu().numpy() for name in adapter.changes if name in state})
    except ValueError as error:
        raise DriverFailure('bad_potential', str(error)) from error
    for name, values in changed.items():
        state[name].copy_(torch.from_numpy(values))


def check_device(device: str) -> None:
    """Refuse a device that is not there, rather than fall back to the CPU in silence.

    :raises DriverFailure: ``cuda_missing`` or ``bad_input``.
    """
    import torch

    if device == 'cpu':
        return
    if not device.startswith('cuda'):
        raise DriverFailure('bad_input', f'`device` is `{device}`; it must be `cpu` or `cuda`')
    if not torch.cuda.is_available():
        raise DriverFailure(
            'cuda_missing',
            f'`device` is `{device}`, but torch {torch.__version__} finds no CUDA device on this machine; '
            'set `device` to `cpu`, or use a computer with a GPU and a Python with a CUDA torch',
        )
    index = int(device.partition(':')[2] or 0)
    if index >= torch.cuda.device_count():
        raise DriverFailure('cuda_missing', f'`device` is `{device}`, but there are {torch.cuda.device_count()} GPUs')


def set_threads(threads: int) -> None:
    """Let torch use ``threads`` threads; 0: as many as it likes."""
    import torch

    if threads:
        torch.set_num_threads(int(threads))


def _heads(model: Any) -> list[str]:
    return list(getattr(model, 'heads', None) or ['Default'])


def _one_head(model: Any, head: str | None) -> Any:
    """Return the model reduced to ``head``, as neither Equitrain nor the Hessian knows about heads."""
    heads = _heads(model)
    if head is not None and head not in heads:
        raise DriverFailure('bad_potential', f'the potential has no head `{head}`; it has {", ".join(heads)}')
    if len(heads) == 1:
        return model
    if head is None:
        default = [name for name in heads if name.lower() == 'default']
        if not default:
            raise DriverFailure('bad_potential', f'the potential has several heads: choose one of {", ".join(heads)}')
        head = default[0]
    from mace.tools.scripts_utils import remove_pt_head

    return remove_pt_head(model, head)


def write_adapter(foundation: str, trained: str, path: str, job: dict[str, Any]) -> None:
    """Write the adapter that turns the file ``foundation`` into the file ``trained``.

    Where the foundation comes with an adapter of its own, the new one is relative to the full model below both.

    :param job: its ``family``, ``head``, ``strategy``, and the ``dtype`` of its ``hyperparameters``.
    :raises ValueError: with a sentence, if the two models are not of the same architecture.
    """
    family, dtype = job['family'], job['hyperparameters']['dtype']
    content = make_adapter(
        _tensors(load_model(foundation, family, job['head'], 'cpu', dtype, adapter=False)),
        _tensors(load_model(trained, family, None, 'cpu', dtype, adapter=False)),
        foundation_sha256=hashlib.sha256(Path(foundation).read_bytes()).hexdigest(),
        strategy=job['strategy'],
        dtype=dtype,
        head=job['head'],
    )
    partial = Path(f'{path}.part')
    partial.write_bytes(content)
    partial.replace(path)


def _tensors(model: Any) -> dict[str, Any]:
    return {name: values.detach().cpu().numpy() for name, values in model.state_dict().items()}
