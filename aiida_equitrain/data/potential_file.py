"""What the files of potentials say about themselves: the attributes of the node. Nothing of the files is run."""

from __future__ import annotations

import io
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from aiida_equitrain.common.validation import enumerate_names
from aiida_equitrain.science.adapter import read_adapter
from aiida_equitrain.science.model_file import MAX_BYTES, read_model_bytes, read_model_file, read_tensor_shapes

if TYPE_CHECKING:
    from aiida_equitrain.data.potential import PotentialData

#: Kinds of potentials: a model file, or the changed entries of one.
FULL, ADAPTER = 'full', 'adapter'
#: Attributes that an adapter has from its foundation.
INHERITED = ('family', 'architecture', 'elements', 'cutoff', 'heads', 'n_parameters')


def read_bytes(file: str | Path | IO[bytes] | bytes) -> bytes:
    """Return the bytes of a path, stream or bytes.

    :raises ValueError: if they cannot be read.
    """
    if isinstance(file, bytes):
        return file
    content = read_model_bytes(file) if isinstance(file, str | Path) else file.read(MAX_BYTES + 1)
    if not isinstance(content, bytes):
        raise ValueError('the model file has to be opened in binary mode')
    if len(content) > MAX_BYTES:
        raise ValueError(f'the model file is larger than {MAX_BYTES >> 20} MiB, as no model is')
    return content


def describe_model(content: bytes, head: str | None) -> dict[str, Any]:
    """Return the attributes of a full model.

    :param head: the output head to use; ``None`` for the only one.
    :raises ValueError: with a sentence, if the file is no model, or has no such head.
    """
    info = vars(read_model_file(io.BytesIO(content)))
    return {'kind': FULL, **info, 'head': choose_head(info['heads'], head), **_identity(content)}


def describe_adapter(content: bytes, foundation: PotentialData) -> dict[str, Any]:
    """Return the attributes of an adapter.

    :param foundation: the full model that it belongs to.
    :raises ValueError: with a sentence, if the file is no adapter, or belongs to another model.
    """
    adapter = read_adapter(content)
    if adapter.foundation_sha256 != foundation.sha256:
        raise ValueError(
            f'the adapter belongs to the model with the SHA-256 {adapter.foundation_sha256}, but `foundation` has '
            f'{foundation.sha256}: give the potential that the training started from'
        )
    if len(foundation.heads) < 2:  # a head taken out of several has other shapes; the job compares those
        with foundation.open(mode='rb') as file:
            problem = adapter.problem(read_tensor_shapes(file))
        if problem:
            raise ValueError(problem)
    inherited = {name: foundation.base.attributes.get(name) for name in INHERITED}
    head = choose_head(foundation.heads, adapter.head)
    own = {'foundation_sha256': foundation.sha256, 'strategy': adapter.strategy, 'dtype': adapter.dtype, 'head': head}
    return {'kind': ADAPTER, **inherited, **own, **_identity(content)}


def choose_head(heads: list[str], head: str | None) -> str | None:
    """Return the head to use: the one asked for, or else the only one.

    :raises ValueError: if there is no such head, or none was named and there are several.
    """
    if head is None and len(heads) > 1:
        raise ValueError(f'the model has the heads {enumerate_names(heads)}: choose one as `head`')
    if head is not None and head not in heads:
        raise ValueError(f'the model has no head `{head}`; it has {enumerate_names(heads) or "none"}')
    return head or (heads[0] if heads else None)


def _identity(content: bytes) -> dict[str, Any]:
    return {'n_bytes': len(content), 'sha256': sha256(content).hexdigest()}
