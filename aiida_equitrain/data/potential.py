"""A machine-learning potential: one model file, or what training changed in one, and what it says about itself."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from aiida.common.exceptions import NotExistent, ValidationError
from aiida.orm import QueryBuilder, SinglefileData

from aiida_equitrain.common.names import Family
from aiida_equitrain.common.validation import enumerate_names
from aiida_equitrain.drivers.potential_loader import ADAPTER_SUFFIX, load_calculator, load_model, save_model
from aiida_equitrain.science import nequix_file
from aiida_equitrain.science.adapter import read_adapter
from aiida_equitrain.science.model_file import MAX_BYTES, read_model_bytes, read_model_file, read_tensor_shapes

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

#: Kinds of potentials: a model file, or the changed entries of one.
FULL, ADAPTER = 'full', 'adapter'
#: Attributes that an adapter has from its foundation.
INHERITED = ('family', 'architecture', 'elements', 'cutoff', 'heads', 'n_parameters')


class PotentialData(SinglefileData):
    """A potential with its SHA-256, architecture, elements, cutoff, number type and heads.

    Of the kind ``full`` it is a model file. Of the kind ``adapter`` it is the entries that training changed, and a
    reference to the potential that they belong to, :attr:`foundation`: the same potential in fewer bytes
    (:mod:`aiida_equitrain.science.adapter`). Whoever uses a potential sees no difference.

    The model is a pickle, and loading a pickle runs code. This node never does so: the metadata are read by
    :func:`~aiida_equitrain.science.model_file.read_model_file`, and only the jobs that need the model load it. Only
    :meth:`get_calculator` and :meth:`write_model`, meant for a person's own shell, load it here.
    """

    FILENAME, ADAPTER_FILENAME = 'potential.model', 'adapter.safetensors'
    #: Where the file came from and what is said about it change no result: nodes with the same file are equal.
    _hash_ignored_attributes = ('origin', 'card', 'foundation_uuid', 'trained_on')

    def __init__(
        self,
        file: str | Path | IO[bytes] | bytes | None = None,
        *,
        card: dict[str, Any] | None = None,
        head: str | None = None,
        origin: str = '',
        **kwargs: Any,
    ) -> None:
        """Store a model file and read its metadata; :meth:`from_adapter` stores an adapter.

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
        content = read_bytes(file)
        self._fill(content, self.FILENAME, {**describe_model(content, head), 'origin': origin, 'card': card or {}})

    @classmethod
    def from_adapter(
        cls,
        file: str | Path | IO[bytes] | bytes,
        *,
        foundation: PotentialData,
        card: dict[str, Any] | None = None,
        origin: str = '',
    ) -> PotentialData:
        """Return a potential of the kind ``adapter``.

        :param file: what :func:`~aiida_equitrain.science.adapter.make_adapter` wrote: path, stream of bytes, or bytes.
        :param foundation: the potential that it was trained from. If that is an adapter itself, the file has to be
            relative to the full model below it.
        :raises ValueError: with a sentence, if the file is no adapter, or belongs to another model.
        :raises NotExistent: if ``foundation`` is an adapter whose own foundation is not in the profile.
        """
        content, root = read_bytes(file), foundation.foundation or foundation
        origins = {'foundation_uuid': root.uuid, 'origin': origin, 'card': card or {}}
        node = cls()
        node._fill(content, cls.ADAPTER_FILENAME, {**describe_adapter(content, root), **origins})
        return node

    def _fill(self, content: bytes, filename: str, attributes: dict[str, Any]) -> None:
        self.set_file(io.BytesIO(content), filename=filename)
        self.base.attributes.set_many(attributes)

    def _validate(self) -> bool:
        """Check that the stored file is the potential that the attributes describe.

        :raises ValidationError: with a sentence.
        """
        if self.kind not in (FULL, ADAPTER):
            raise ValidationError(f'`kind` of the potential is `{self.kind}`; it must be {FULL} or {ADAPTER}')
        if self._filename not in self.base.repository.list_object_names():
            raise ValidationError('the potential has no model file: give it as `file`')
        super()._validate()  # type: ignore[no-untyped-call]
        problem = self.file_problem()
        if problem:
            raise ValidationError(problem)
        return True

    def file_problem(self) -> str | None:
        """Return what the attributes say that the file does not, or ``None``; nothing in the file is run."""
        content = self.base.repository.get_object_content(self._filename, mode='rb')
        stated = self.base.attributes.get('sha256', None)
        if sha256(content).hexdigest() != stated:
            return f'the SHA-256 of the potential, {stated!r:.70}, is not that of its file: create the node anew'
        try:
            root = self.foundation
            expected = describe_model(content, self.head) if root is None else describe_adapter(content, root)
        except (ValueError, NotExistent) as exception:
            return str(exception)
        for name, value in expected.items():
            if self.base.attributes.get(name, value) != value:  # an older node may not say it
                return f'`{name}` of the potential differs from its file, which says {value!r}'
        return None

    def checked_sha256(self) -> str:
        """Return the SHA-256 of the file, computed.

        :raises ValueError: if it is not the one that the node was stored with.
        """
        try:
            found = sha256(self.base.repository.get_object_content(self._filename, mode='rb')).hexdigest()
        except FileNotFoundError as exception:
            raise ValueError(f'the potential {self.uuid} does not hold its file `{self._filename}`') from exception
        if found != self.sha256:
            raise ValueError(
                f'the file of the potential {self.uuid} has the SHA-256 {found}, not {self.sha256}, with which it was '
                'stored: it was changed, and is not used'
            )
        return found

    @SinglefileData.filename.getter  # type: ignore[attr-defined,untyped-decorator,unused-ignore]
    def filename(self) -> str:
        """Name of the file in the node: the one that is compared with the SHA-256, whatever the attribute says."""
        return self._filename

    @property
    def _filename(self) -> str:
        return self.FILENAME if self.kind == FULL else self.ADAPTER_FILENAME

    @property
    def kind(self) -> str:
        """Whether the file is the ``full`` model or an ``adapter`` to one."""
        return str(self.base.attributes.get('kind', FULL))

    @property
    def foundation(self) -> PotentialData | None:
        """The full model that an adapter belongs to; ``None`` for a full model.

        :raises NotExistent: if it is not in the profile, with the remedy.
        """
        if self.kind == FULL:
            return None
        digest = self.base.attributes.get('foundation_sha256', None)
        filters = {'attributes.sha256': digest}
        query = (
            QueryBuilder(backend=self.backend).append(PotentialData, filters=filters).order_by({PotentialData: 'id'})
        )
        found: list[PotentialData] = query.all(flat=True)
        uuid = self.base.attributes.get('foundation_uuid', None)
        # What came with an archive may say of itself what it likes.
        full = [node for node in found if node.kind == FULL]
        for node in sorted(full, key=lambda node: node.uuid != uuid):
            with suppress(ValueError):
                node.checked_sha256()
                return node
        raise NotExistent(
            f'the potential is an adapter to the model with the SHA-256 {digest}, which is not in this profile: store '
            'that model file as a `PotentialData` (or import the archive that holds it)'
        )

    @property
    def sha256(self) -> str:
        """SHA-256 of the file as it was stored; :meth:`checked_sha256` is computed, and jobs compare the two."""
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
    def trained_on(self) -> list[str]:
        """Names of the data that it was trained on last, where the file of the full model tells them."""
        return list(self.base.attributes.get('trained_on', None) or [])

    @property
    def n_bytes(self) -> int:
        """Size of the file."""
        return int(self.base.attributes.get('n_bytes'))

    @property
    def origin(self) -> str:
        """Where the file came from."""
        return str(self.base.attributes.get('origin', ''))

    @property
    def card(self) -> dict[str, Any]:
        """What is to be known about the model."""
        return dict(self.base.attributes.get('card', {}))

    def stage(self, name: str | None = None) -> list[tuple[str, str, str]]:
        """Return the entries of ``local_copy_list`` that put the potential into a job's folder.

        :param name: of the model file there; an adapter lies beside it with the suffix ``.safetensors``.
        """
        name, root = name or self.FILENAME, self.foundation
        if root is None:
            return [(self.uuid, self.FILENAME, name)]
        beside = Path(name).with_suffix(ADAPTER_SUFFIX).as_posix()
        return [(root.uuid, root.FILENAME, name), (self.uuid, self.ADAPTER_FILENAME, beside)]

    def get_calculator(self, device: str = 'cpu', dtype: str = 'float64') -> Calculator:
        """Return an ASE calculator; **this runs the code in the model file**, so trust where it came from.

        :param device: ``cpu`` or ``cuda``.
        :param dtype: ``float64`` or ``float32``.
        :raises ImportError: if the package of its family (MACE, SevenNet or Nequix) is not installed in this Python.
        """
        if self.card.get('starter'):
            warnings.warn(
                'this is the starter potential for trying things out, not MACE-MP: see its model card', stacklevel=2
            )
        calculator: Calculator = self._load(load_calculator, device, dtype)
        return calculator

    def write_model(self, path: str | Path) -> None:
        """Write the full model as a file of its family; of adapters (not of Nequix) **this runs the foundation**.

        :param path: the new file.
        :raises FileExistsError: if there is such a file.
        :raises ImportError: if the potential is an adapter, and torch or that package is not installed in this Python.
        """
        content = self.whole_model()
        if content is None:
            model = self._load(load_model, 'cpu', self.dtype)
            buffer = io.BytesIO()
            save_model(model, buffer, self.family)
            content = buffer.getvalue()
        with Path(path).open('xb') as file:
            file.write(content)

    def whole_model(self) -> bytes | None:
        """Return the full model as a file of its family, or ``None`` where only running the foundation makes one.

        :raises ValueError: if a file was changed since it was stored.
        """
        self.checked_sha256()
        if self.kind == FULL:
            content: bytes = self.base.repository.get_object_content(self.FILENAME, mode='rb')
            return content
        return self._load(_merged, 'cpu', self.dtype) if self.family == Family.NEQUIX.value else None

    def _load(self, loader: Callable[..., Any], device: str, dtype: str) -> Any:
        """Call a function of the potential loader with the files of this potential.

        :raises ValueError: if a file was changed since it was stored.
        """
        self.checked_sha256()
        root = self.foundation
        adapter: Any = False
        if root is not None:
            adapter = read_adapter(self.base.repository.get_object_content(self.ADAPTER_FILENAME, mode='rb'))
        with (root or self).as_path() as path:
            return loader(path, self.family, self.head, device=device, dtype=dtype, adapter=adapter)


def _merged(path: str | Path, *_: Any, adapter: Any, **__: Any) -> bytes:
    """Return the file of a Nequix that an adapter changes; nothing is run."""
    return nequix_file.merged(Path(path).read_bytes(), adapter)


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
