"""Turn an exported model into an adapter to its foundation, in the job that trained it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ..science.adapter import make_adapter
from .potential_loader import load_model


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
