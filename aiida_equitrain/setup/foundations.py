"""Store foundation potentials: a model file, or a name of one that is known, which is resolved here and in no job.

Known are those of :mod:`aiida_equitrain.common.foundations`, whose SHA-256 are pinned, and those that MACE names.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import warnings
from collections.abc import Callable
from hashlib import sha256 as digest_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida import orm

from aiida_equitrain.common.foundations import FOUNDATIONS, Foundation, known_by_sha256
from aiida_equitrain.common.hyperparameters import check_hyperparameters
from aiida_equitrain.common.printable import printable
from aiida_equitrain.common.strategies import ENGINES, check_strategy
from aiida_equitrain.common.validation import nearest
from aiida_equitrain.science.model_file import read_model_bytes
from aiida_equitrain.setup import defaults
from aiida_equitrain.setup.download import DownloadError, fetch_pinned, pins

if TYPE_CHECKING:
    from aiida_equitrain.data.potential import PotentialData

#: MACE-MP-0b3 as mace-torch 0.3.16 names it (`medium-0b3`). The publisher gives no SHA-256 beside the release; this one
#: stands, the same, in several independent public records of that file.
MACE_MP_0B3 = 'medium-0b3'
MACE_MP_0B3_URL = FOUNDATIONS[defaults.ONLINE_FOUNDATION].url
MACE_MP_0B3_SHA256 = FOUNDATIONS[defaults.ONLINE_FOUNDATION].sha256
MACE_MP_0B3_CARD = {
    'name': 'MACE-MP-0b3',
    'description': 'Foundation potential for 89 elements, trained on the Materials Project (PBE+U).',
    'functional': 'PBE+U',
    'starter': False,
    'url': MACE_MP_0B3_URL,
}

Progress = Callable[[int, int], None]


def import_potential(
    source: str,
    *,
    label: str = '',
    head: str | None = None,
    functional: str = '',
    card: dict[str, Any] | None = None,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> tuple[PotentialData, bool]:
    """Return a potential, and whether it is new: the same one under the same label is not stored twice.

    :param source: a model file; or the name of a foundation that we know, such as ``nequix-oam-1-pft``, or that MACE
        has, such as ``medium-mpa-0``, which is downloaded.
    :param label: by default the name: of a file that we know its foundation's, of others theirs without the suffix.
    :param head: of a model with several.
    :param functional: of the data that it was trained on.
    :param card: see the documentation; ``functional`` goes before what it says.
    :param sha256: what the file has to have; without it, a first download decides.
    :raises ValueError: with a sentence, if there is nothing of that name, or if it is no potential.
    :raises DownloadError: if it cannot be had, or is not what it should be.
    """
    if problem := card_problem({} if card is None else card):
        raise ValueError(problem)
    said = {**(card or {}), **({'functional': functional} if functional else {})}
    path = Path(source)
    if path.exists() or len(path.parts) > 1:
        content = read_model_bytes(path)  # once: what is stored is what was compared
        found = digest_of(content).hexdigest()
        if sha256 is not None and found != sha256.lower():
            raise DownloadError(f'`{source}` has the SHA-256 {found}, not {sha256}. It was not used.')
        # A name of a file may be no text at all.
        stem, name = printable(path.stem), printable(path.name)
        known_name, known_card = stem, dict[str, Any](name=stem)
        if (match := known_by_sha256(found)) is not None:
            known_name, known_card = match[0], match[1].card
        label = label or known_name
        there = _of_label(label, head, sha256=found)
        return there or store_potential(content, {**known_card, **said}, name, label, head), there is None
    sha256 = None if sha256 is None else sha256.lower()
    if source == defaults.ONLINE_FOUNDATION:
        source = MACE_MP_0B3
    if (known_foundation := FOUNDATIONS.get(source)) is not None:
        return _import_known(source, known_foundation, label, said, sha256, progress)
    url = mace_address(source)
    known: dict[str, Any] = {'name': source}
    if source == MACE_MP_0B3:
        known, sha256, label = MACE_MP_0B3_CARD, sha256 or MACE_MP_0B3_SHA256, label or defaults.ONLINE_FOUNDATION
    label = label or source
    if there := _of_label(label, head, origin=url):
        return there, False
    return download_potential(source, url, {**known, **said}, label, head, sha256=sha256, progress=progress), True


def _import_known(
    name: str, known: Foundation, label: str, said: dict[str, Any], sha256: str | None, progress: Progress | None
) -> tuple[PotentialData, bool]:
    """Return a foundation that we know, and whether it is new."""
    if not known.url:
        raise ValueError(f'`{name}` comes with its package: `{known.get}` stores it')
    if sha256 not in (None, known.sha256):
        raise DownloadError(
            f'`{name}` was published with the SHA-256 {known.sha256}, not {sha256}. It was not fetched.'
        )
    if there := _of_label(label or name, None, sha256=known.sha256):
        return there, False
    try:
        return download_known(name, label=label or name, said=said, progress=progress), True
    except DownloadError as exception:
        raise DownloadError(
            f'{exception}. Where there is internet, fetch that file, and store it here with '
            f'`aiida-equitrain potential import FILE`'
        ) from exception


def _of_label(label: str, head: str | None, **attributes: str) -> PotentialData | None:
    """Return the potential of a label, if there is one.

    :raises ValueError: if it is another one than that with the attributes.
    """
    there: PotentialData | None = defaults.find_foundation(label)
    wanted = {**attributes, **({'head': head} if head else {})}
    if there is not None and any(getattr(there, name) != value for name, value in wanted.items()):
        raise ValueError(f'another potential bears the label `{label}` (PK {there.pk}): give one of its own, `--label`')
    return there


def card_problem(card: Any) -> str | None:
    """Return a sentence if a card is none, or recommends hyperparameters that cannot be."""
    if not isinstance(card, dict):
        return 'the card has to be of the form {name: value}'
    try:
        json.dumps(card, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return 'the card has to hold text and finite numbers, in not too many levels'
    recommended = card.get('finetune', {})
    if not isinstance(recommended, dict) or not all(isinstance(values, dict) for values in recommended.values()):
        return '`finetune` of the card has to be of the form {strategy: {hyperparameter: value}}'
    for strategy, values in recommended.items():
        if problem := check_strategy(strategy):
            return f'`finetune` of the card: {problem}'
        # What one engine of the strategy knows is left out with the other.
        problems = [check_hyperparameters(values, strategy, engine) for engine in ENGINES[strategy]]
        if all(problems):
            return f'`finetune` of the card: {problems[0]}'
    return None


def mace_address(name: str) -> str:
    """Return the address of the model that MACE calls by a name; the table is that of the installed mace-torch.

    :raises ValueError: with a sentence, if there is none.
    """
    if name == MACE_MP_0B3:
        return MACE_MP_0B3_URL
    try:
        # What is optional in it, and absent, is of no concern here.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            from mace.calculators.foundations_models import mace_mp_urls
    except ImportError as exception:
        raise ValueError(
            f'there is no file `{name}`, and other names of models are known to mace-torch only, which is not in this '
            f'Python ({exception}): install `aiida-equitrain[train]`, or give the model file'
        ) from exception
    if name not in mace_mp_urls:
        raise ValueError(
            f'there is neither a file `{name}` nor a model that MACE calls so: {nearest(name, mace_mp_urls)}'
        )
    return str(mace_mp_urls[name])


def download_known(
    name: str, *, label: str = '', said: dict[str, Any] | None = None, progress: Progress | None = None
) -> PotentialData:
    """Store a foundation that we know, from its publisher.

    :param said: of its card, before what we know.
    :raises DownloadError: if it cannot be had, or is not what it should be.
    """
    known = FOUNDATIONS[name]
    card = {**known.card, **(said or {})}
    return download_potential(name, known.url, card, label or name, sha256=known.sha256, progress=progress)


def download_potential(
    name: str,
    url: str,
    card: dict[str, Any],
    label: str,
    head: str | None = None,
    *,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> PotentialData:
    """Store the model file at an address as a potential.

    :param name: under which its SHA-256 is recorded.
    :raises DownloadError: if it cannot be had, is not what it should be, or is no potential.
    """
    read = functools.partial(_read_potential, card=card, origin=url, label=label, head=head)
    return _store(fetch_pinned(name, url, read, pins(), sha256=sha256, progress=progress))


def store_potential(
    file: Path | bytes, card: dict[str, Any], origin: str, label: str, head: str | None = None
) -> PotentialData:
    """Store a model file as a potential.

    :raises DownloadError: if it is none.
    """
    return _store(_read_potential(file, card, origin, label, head))


def _read_potential(
    file: Path | bytes, card: dict[str, Any], origin: str, label: str, head: str | None
) -> PotentialData:
    """Return a model file as a potential, which is not stored; nothing in it is run."""
    from aiida_equitrain.data.potential import PotentialData

    try:
        node = PotentialData(file, card=card, head=head, origin=origin)
    except (ValueError, TypeError) as exception:
        raise DownloadError(f'{origin} is no potential: {exception}') from exception
    node.label = label
    return node


def _store(node: PotentialData) -> PotentialData:
    with warnings.catch_warnings():
        # That it is a starter is said by whoever stores it.
        warnings.simplefilter('ignore')
        stored: PotentialData = node.store()
        return stored


def describe(node: orm.Data) -> str:
    """Return what a potential is, in one line."""
    return f'`{node.label}` (PK {node.pk}), {node.n_parameters} parameters, {len(node.elements)} elements'
