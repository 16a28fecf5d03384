"""Labelled frames: what a potential is trained on and judged by."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from aiida.common.exceptions import ValidationError
from aiida.orm import SinglefileData
from ase import Atoms

from aiida_equitrain.common.names import Role
from aiida_equitrain.science.extxyz import from_extxyz
from aiida_equitrain.science.frame_checks import check_frames
from aiida_equitrain.science.frames import Frames, to_extxyz
from aiida_equitrain.science.text_files import read_text

#: Units of everything in the file; they are part of the node so that nobody has to guess.
UNITS = {'energy': 'eV', 'forces': 'eV/Å', 'stress': 'eV/Å³ (positive under tension)', 'positions': 'Å', 'cells': 'Å'}


class DatasetData(SinglefileData):
    """Frames with energy, forces and stress, their roles, where each came from, and the functional.

    The content hash covers the frames, the functional and the code; where the labels came from (``sources``, UUIDs that
    differ between two identical runs) and the licence are kept but not hashed.
    """

    FILENAME = 'frames.npz'
    _hash_ignored_attributes = ('sources', 'licence', 'source')

    def __init__(
        self,
        frames: Frames | Iterable[Any] | None = None,
        *,
        functional: str = '',
        code: str = '',
        licence: str = '',
        **kwargs: Any,
    ) -> None:
        """Store frames.

        :param frames: labelled frames; each has a role.
        :param functional: exchange-correlation functional (and U) of the labels, such as ``PBE``.
        :param code: program that computed the labels, with its version.
        :param licence: terms under which the labels may be used.
        :param kwargs: of any node, such as ``label`` and ``description``.
        :raises ValueError: if a frame is wrong, with the sentence that also ``store`` would give.
        """
        super().__init__(**kwargs)
        if frames is None:
            return
        frames = frames if isinstance(frames, Frames) else Frames(list(frames))
        problem = check_frames(frames)
        if problem:
            raise ValueError(problem)
        buffer = io.BytesIO()
        frames.save(buffer)
        buffer.seek(0)
        self.set_file(buffer, filename=self.FILENAME)
        self.base.attributes.set_many(
            {
                **_describe(frames),
                'sources': [frame.source for frame in frames],
                'functional': functional,
                'code': code,
                'licence': licence,
                'units': dict(UNITS),
            }
        )

    @classmethod
    def from_ase(cls, images: Iterable[Atoms], *, role: str | None = None, **kwargs: Any) -> DatasetData:
        """Return a dataset of ASE atoms with labels (``REF_*`` keys or a calculator's results).

        :param role: of all frames; otherwise each has it in ``atoms.info['role']``.
        :param kwargs: as for the constructor.
        """
        meta = {} if role is None else {'role': role}
        return cls(Frames.from_atoms(images, **meta), **kwargs)

    @classmethod
    def from_extxyz(cls, path: str | Path, *, role: str | None = None, **kwargs: Any) -> DatasetData:
        """Return a dataset of an extended XYZ file; parameters as for :meth:`from_ase`."""
        meta = {} if role is None else {'role': role}
        return cls(from_extxyz(read_text(path), **meta), **kwargs)

    def with_frames(self, frames: Iterable[Any]) -> DatasetData:
        """Return a new dataset of other frames whose labels come from where those of this one came from."""
        return type(self)(frames, functional=self.functional, code=self.code, licence=self.licence)

    def _validate(self) -> bool:
        """Check the frames, and that the attributes describe them.

        :raises ValidationError: with a sentence.
        """
        if self.FILENAME not in self.base.repository.list_object_names():
            raise ValidationError('the dataset has no frames: give them as `frames`')
        super()._validate()  # type: ignore[no-untyped-call]
        problem = self.file_problem()
        if problem:
            raise ValidationError(problem)
        if not self.functional:
            raise ValidationError('the dataset does not say its `functional`, such as PBE')
        return True

    def file_problem(self) -> str | None:
        """Return what is wrong with the file, or what the attributes say that it does not, or ``None``."""
        try:
            frames = self.get_frames()
        except (ValueError, KeyError, OSError, EOFError) as exception:
            return f'`{self.FILENAME}` of the dataset cannot be read: {exception}'
        problem = check_frames(frames)
        if problem:
            return problem
        for name, value in _describe(frames).items():
            if self.base.attributes.get(name, value) != value:  # an older node may not say it
                return f'`{name}` of the dataset differs from its frames, which say {value!r}'
        return None

    def get_frames(self) -> Frames:
        """Return the frames with their sources."""
        content = self.base.repository.get_object_content(self.FILENAME, mode='rb')
        return Frames.load(io.BytesIO(content), sources=self.sources)

    def get_ase(self, role: str | None = None) -> list[Atoms]:
        """Return ASE atoms with the labels as single-point results; only those of one role if given."""
        frames = self.get_frames()
        return [frame.to_atoms() for frame in (frames.with_role(role) if role else frames)]

    def to_extxyz(self, path: str | Path) -> None:
        """Write the frames as extended XYZ (``REF_*`` keys), without loss."""
        Path(path).write_text(to_extxyz(self.get_frames()), encoding='utf-8')

    def stage(self, name: str | None = None) -> list[tuple[str, str, str]]:
        """Return the entries of ``local_copy_list`` that put the file into a job's folder."""
        return [(self.uuid, self.FILENAME, name or self.FILENAME)]

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return int(self.base.attributes.get('n_frames'))

    @property
    def roles(self) -> list[str]:
        """Role of each frame."""
        return list(self.base.attributes.get('roles'))

    @property
    def counts(self) -> dict[str, int]:
        """Number of frames per role."""
        return {role.value: self.roles.count(role.value) for role in Role}

    @property
    def trajectories(self) -> list[int]:
        """Index of the parent trajectory of each frame, -1 for none."""
        return list(self.base.attributes.get('trajectories'))

    @property
    def recipes(self) -> list[str]:
        """How each frame was made, see ``common.names.Recipe``; empty where it is not known."""
        return list(self.base.attributes.get('recipes', [''] * self.n_frames))

    @property
    def sources(self) -> list[str]:
        """Where the labels of each frame come from (UUID of a node, or a file)."""
        return list(self.base.attributes.get('sources'))

    @property
    def elements(self) -> list[str]:
        """Chemical symbols that occur, by atomic number."""
        return list(self.base.attributes.get('elements'))

    @property
    def formulas(self) -> list[str]:
        """Reduced formulas that occur, sorted."""
        return list(self.base.attributes.get('formulas'))

    @property
    def max_atoms(self) -> int:
        """Number of atoms of the largest frame."""
        return int(self.base.attributes.get('max_atoms'))

    @property
    def has_stress(self) -> bool:
        """Whether every frame has a stress."""
        return bool(self.base.attributes.get('has_stress'))

    @property
    def has_energies(self) -> bool:
        """Whether every frame has an energy; files of phonopy often have forces only."""
        return bool(self.base.attributes.get('has_energies', True))

    @property
    def functional(self) -> str:
        """Exchange-correlation functional of the labels."""
        return str(self.base.attributes.get('functional', ''))

    @property
    def code(self) -> str:
        """Program that computed the labels."""
        return str(self.base.attributes.get('code', ''))

    @property
    def licence(self) -> str:
        """Terms under which the labels may be used."""
        return str(self.base.attributes.get('licence', ''))

    @property
    def units(self) -> dict[str, str]:
        """Units of the frames."""
        return dict(self.base.attributes.get('units'))


def _describe(frames: Frames) -> dict[str, Any]:
    """Return the attributes that follow from the frames."""
    return {
        'n_frames': len(frames),
        'roles': [frame.role for frame in frames],
        'trajectories': [frame.trajectory for frame in frames],
        **({'recipes': [frame.recipe for frame in frames]} if any(frame.recipe for frame in frames) else {}),
        'elements': frames.elements,
        'formulas': sorted({frame.formula for frame in frames}),
        'max_atoms': int(np.max([len(frame) for frame in frames])),
        'has_stress': all(frame.stress is not None for frame in frames),
        'has_energies': all(frame.energy is not None for frame in frames)
        # so they were written before they could be missing
        and any(frame.energy for frame in frames),
    }
