"""A machine-learning potential: one model file, and what it says about itself."""

from __future__ import annotations

import io
import warnings
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from aiida.common.exceptions import ValidationError
from aiida.orm import SinglefileData

from aiida_equitrain.common.validation import enumerate_names
from aiida_equitrain.science.model_file import ModelInfo, read_model_file

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


class PotentialData(SinglefileData):
    """One model file with its SHA-256, architecture, elements, cutoff, number type and heads.

    The model is a pickle, and loading a pickle runs code. This node never does so: the metadata are read by
    :func:`~aiida_equitrain.science.model_file.read_model_file`, and only the jobs that need the model load it. Only
    :meth:`get_calculator`, meant for a person's own shell, loads it here.
    """

    FILENAME = 'potential.model'
    #: Where the file came from and what is said about it change no result: nodes with the same file are equal.
    _hash_ignored_attributes = ('origin', 'card')

    def __init__(
        self,
        file: str | Path | IO[bytes] | bytes | None = None,
        *,
        card: dict[str, Any] | None = None,
        head: str | None = None,
        origin: str = '',
        **kwargs: Any,
    ) -> None:
        """Store a model file and read its metadata.

        :param file: the model: path (absolute or relative), stream of bytes, or bytes.
        :param card: what is to be known about the model, see the documentation (``name``, ``description``,
            ``functional``, ``starter``, ``finetune``).
        :param head: the output head to use; needed for a model with more than one.
        :param origin: where the file came from, such as an address or the name of a foundation model.
        :raises ValueError: if the file is no model, or has no such head.
        """
        super().__init__(**kwargs)
        if file is None:
            return
        content = _read(file)
        info = read_model_file(io.BytesIO(content))
        head = _choose_head(info, head)
        self.set_file(io.BytesIO(content), filename=self.FILENAME)
        attributes = {**vars(info), 'head': head, 'n_bytes': len(content), 'sha256': sha256(content).hexdigest()}
        self.base.attributes.set_many({**attributes, 'origin': origin, 'card': dict(card or {})})

    def _validate(self) -> bool:
        """Check that the stored file is the model that the attributes describe.

        :raises ValidationError: with a sentence.
        """
        if self.FILENAME not in self.base.repository.list_object_names():
            raise ValidationError('the potential has no model file: give it as `file`')
        super()._validate()  # type: ignore[no-untyped-call]
        content = self.base.repository.get_object_content(self.FILENAME, mode='rb')
        if sha256(content).hexdigest() != self.base.attributes.get('sha256', None):
            raise ValidationError('the SHA-256 of the potential is not that of its file: create the node anew')
        try:
            info = read_model_file(io.BytesIO(content))
            _choose_head(info, self.head)
        except ValueError as exception:
            raise ValidationError(str(exception)) from exception
        for name, value in vars(info).items():
            if self.base.attributes.get(name, None) != value:
                raise ValidationError(f'`{name}` of the potential differs from its file, which says {value!r}')
        return True

    @property
    def sha256(self) -> str:
        """SHA-256 of the model file."""
        return str(self.base.attributes.get('sha256'))

    @property
    def family(self) -> str:
        """Architecture family, such as ``mace``."""
        return str(self.base.attributes.get('family'))

    @property
    def architecture(self) -> str:
        """Name of the model's class, such as ``ScaleShiftMACE``."""
        return str(self.base.attributes.get('architecture'))

    @property
    def elements(self) -> list[str]:
        """Chemical symbols that the model knows, by atomic number."""
        return list(self.base.attributes.get('elements'))

    @property
    def cutoff(self) -> float:
        """Interaction cutoff of one layer, Å."""
        return float(self.base.attributes.get('cutoff'))

    @property
    def dtype(self) -> str:
        """Number type of the parameters."""
        return str(self.base.attributes.get('dtype'))

    @property
    def heads(self) -> list[str]:
        """Names of the output heads."""
        return list(self.base.attributes.get('heads'))

    @property
    def head(self) -> str | None:
        """Output head to use; ``None`` if the model names none."""
        head = self.base.attributes.get('head')
        return None if head is None else str(head)

    @property
    def n_parameters(self) -> int:
        """Number of parameters."""
        return int(self.base.attributes.get('n_parameters'))

    @property
    def n_bytes(self) -> int:
        """Size of the model file."""
        return int(self.base.attributes.get('n_bytes'))

    @property
    def origin(self) -> str:
        """Where the file came from."""
        return str(self.base.attributes.get('origin', ''))

    @property
    def card(self) -> dict[str, Any]:
        """What is to be known about the model."""
        return dict(self.base.attributes.get('card', {}))

    def stage(self, name: str | None = None) -> tuple[str, str, str]:
        """Return the entry of ``local_copy_list`` that puts the file into a job's folder."""
        return self.uuid, self.FILENAME, name or self.FILENAME

    def get_calculator(self, device: str = 'cpu', dtype: str = 'float64') -> Calculator:
        """Return an ASE calculator; **this runs the code in the model file**, so trust where it came from.

        :param device: ``cpu`` or ``cuda``.
        :param dtype: ``float64`` or ``float32``.
        :raises ImportError: if MACE is not installed in this Python.
        """
        from aiida_equitrain.drivers.potential_loader import load_calculator

        if self.card.get('starter'):
            warnings.warn(
                'this is the starter potential for trying things out, not MACE-MP: see its model card', stacklevel=2
            )
        with self.as_path() as path:
            calculator: Calculator = load_calculator(path, self.family, self.head, device=device, dtype=dtype)
        return calculator


def _read(file: str | Path | IO[bytes] | bytes) -> bytes:
    """Return the bytes of a path, stream or bytes.

    :raises ValueError: if they cannot be read.
    """
    if isinstance(file, bytes):
        return file
    try:
        content = Path(file).read_bytes() if isinstance(file, str | Path) else file.read()
    except OSError as exception:
        raise ValueError(f'the model file cannot be read: {exception}') from exception
    if not isinstance(content, bytes):
        raise ValueError('the model file has to be opened in binary mode')
    return content


def _choose_head(info: ModelInfo, head: str | None) -> str | None:
    """Return the head to use: the one asked for, or else the only one.

    :raises ValueError: if there is no such head, or none was named and there are several.
    """
    if head is None and len(info.heads) > 1:
        raise ValueError(f'the model has the heads {enumerate_names(info.heads)}: choose one as `head`')
    if head is not None and head not in info.heads:
        raise ValueError(f'the model has no head `{head}`; it has {enumerate_names(info.heads) or "none"}')
    return head or (info.heads[0] if info.heads else None)
