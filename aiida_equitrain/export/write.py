"""Write a node, or all results of a WorkChain, into a folder.

Nothing in the file of a potential is run here: a model file is copied, and what has to load it is done by a job.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida_phonopy.data.phonopy import PhonopyData

from aiida_equitrain.calculations.arrays import arrays_of, phonopy_arrays
from aiida_equitrain.common.printable import SENTENCE, printable, printable_tree
from aiida_equitrain.common.units import name_and_unit
from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.export import figures, model, tables
from aiida_equitrain.report.results import OURS, summary_of
from aiida_equitrain.science.phonon_files import PHONOPY, csv_text, write_constants, write_phonons
from aiida_equitrain.science.phonon_metrics import thermal_curves
from aiida_equitrain.science.phonopy_io import phonon_from_arrays

SUMMARY, README, FIGURES = 'summary.json', 'README.md', 'figures'
#: Temperatures of phonons that come without a WorkChain, K.
TEMPERATURES = np.arange(0.0, 1001.0, 10.0)
#: Points of their mesh, along each reciprocal vector.
MESH = (20, 20, 20)
#: Outputs that ``phonopy.yaml``, ``FORCE_CONSTANTS`` and the tables hold.
ELSEWHERE = ('forces', 'force_constants', 'change', 'nac')


class NoExportError(ValueError):
    """A node of which nothing can be written, with a sentence."""


#: Has the files of a potential made by a job, or says why not.
Convert = Callable[[PotentialData], model.Conversion]


def not_asked(_: PotentialData) -> model.Conversion:
    """Have no job run."""
    return model.Conversion(reason='`aiida-equitrain export` of the potential has a job make it')


def export(
    node: orm.Node,
    folder: Path,
    progress: Callable[[str], None] = lambda _: None,
    convert: Convert = not_asked,
) -> list[Path]:
    """Write a node into a folder: the results of a WorkChain of ours, a potential, a dataset, phonons, or a crystal.

    :param folder: made if it is not there; files in it that have the same names are written anew.
    :param progress: called with what is written next.
    :param convert: called with each potential, for its file for LAMMPS; by default there is none.
    :returns: the files.
    :raises NoExportError: with a sentence, if there is nothing to be written of such a node.
    :raises OSError: if the folder cannot be written.
    """
    return Export(folder, progress, convert).run(node)


class Export:
    """One export: a folder, and what was written."""

    def __init__(self, folder: Path, progress: Callable[[str], None], convert: Convert) -> None:
        """Begin with nothing written."""
        self.folder, self.progress, self.convert = folder, progress, convert
        self.files: list[Path] = []
        self.notes: list[str] = []

    def run(self, node: orm.Node) -> list[Path]:
        """Write everything of ``node``."""
        is_ours = isinstance(node, orm.ProcessNode) and str(node.process_type).startswith(OURS)
        if not is_ours and self.writer_of(node) is None:
            kind = getattr(node, 'process_label', None) or type(node).__name__
            raise NoExportError(
                f'PK {node.pk} is of the kind {printable(kind)}: what can be exported are WorkChains and jobs of '
                'aiida-equitrain, potentials, datasets, phonons (PhonopyData) and structures'
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        if is_ours:
            self.process(node)
        else:
            self.data(node)
        self.readme(node)
        return self.files

    def data(self, node: Any) -> None:
        """Write a node that is no process."""
        name = {PotentialData: 'potential', DatasetData: 'dataset', PhonopyData: 'phonopy_data'}.get(
            type(node), 'structure'
        )
        if isinstance(node, PhonopyData):
            self.phonons(node, '', has_more=True)
        else:
            writer = self.writer_of(node)
            assert writer is not None
            writer(node, name)
        self.text(SUMMARY, json.dumps(printable_tree(summary_of(node), longest=SENTENCE), indent=2) + '\n')

    def process(self, node: Any) -> None:
        """Write all outputs of a process, its crystal, its figures with their curves, and its summary."""
        names = dict(leaves(node.outputs))
        if not names:
            raise NoExportError(f'PK {node.pk} has no outputs' + ('' if node.is_terminated else ': it has not ended'))
        if 'structure' in node.inputs:
            self.structure(node.inputs.structure, 'structure')
        for name, output in names.items():
            if isinstance(output, PhonopyData):
                self.correction(names, name)
            writer = self.writer_of(output)
            if writer is not None:
                writer(output, name.replace('.', '/'))
        for name, text in tables.tables_of(names).items():
            self.text(f'{name}.csv', text)
        for name, content in figures.files_of(node):
            self.write(f'{FIGURES}/{name}', content)
        self.text(SUMMARY, json.dumps(printable_tree(summary_of(node), longest=SENTENCE), indent=2) + '\n')

    def writer_of(self, node: Any) -> Callable[[Any, str], None] | None:
        """Return what writes a node of this kind."""
        writers: tuple[tuple[Any, Callable[[Any, str], None]], ...] = (
            (PhonopyData, self.phonons),
            (PotentialData, self.potential),
            (DatasetData, self.dataset),
            (orm.StructureData, self.structure),
            (orm.Dict, self.dictionary),
            (orm.SinglefileData, self.file),
            (orm.BandsData, self.nothing),
            (orm.XyData, self.nothing),
            (orm.TrajectoryData, self.trajectory),
            (orm.ArrayData, self.arrays),
        )
        return next((writer for kind, writer in writers if isinstance(node, kind)), None)

    def correction(self, names: dict[str, Any], name: str) -> None:
        """Say at the head of a phonopy file what corrected it, and write what was added to the force constants."""
        space = name.rpartition('.')[0]
        found = {key: names.get(f'{space}.{key}' if space else key) for key in ('correction', 'change')}
        if name.rpartition('.')[2] != 'phonopy_data' or found['correction'] is None:
            return
        facts = found['correction'].get_dict()
        self.notes = [
            f'Corrected by {facts.get("n_frames")} labelled frames: mean error bar '
            f'{float(facts.get("uncertainty_thz", np.nan)):.4f} THz; see correction.json beside this file.',
            'Forces are those that the corrected force constants give. `uncorrected` holds those of the potential.',
        ]
        change = arrays_of(found['change']) if found['change'] is not None else {}
        if {'change', 'primitive_atoms'} <= set(change):
            file = self.place(f'{space.replace(".", "/")}/FORCE_CONSTANTS_change'.lstrip('/'))
            write_constants(change['change'], change['primitive_atoms'], file)

    def phonons(self, node: PhonopyData, name: str, has_more: bool = False) -> None:
        """Write the files of phonopy.

        :param has_more: write density of states and thermal properties, too, that no WorkChain has made.
        """
        self.progress(f'{name or "phonons"}: {PHONOPY} ...')
        phonon = phonon_from_arrays(phonopy_arrays(node))
        comments = [f'{printable(node.label) or "phonons"}, PK {node.pk}, {node.uuid}; aiida-equitrain', *self.notes]
        self.notes = []
        # The output `phonopy_data` is what a WorkChain is about: its files lie at the top of its folder.
        place = name.removesuffix('phonopy_data').strip('/') if name.endswith('phonopy_data') else name
        folder = self.place(f'{place}/{PHONOPY}'.lstrip('/')).parent
        self.files.pop()
        self.files += write_phonons(phonon, folder, comments)
        if has_more:
            curves = thermal_curves(phonon, TEMPERATURES, MESH)
            self.text('thermal.csv', csv_text(tables.thermal_columns(TEMPERATURES, curves)))
            phonon.run_total_dos()
            density: Any = phonon.total_dos
            columns = {'frequency_thz': density.frequency_points, 'total_dos_per_thz': density.dos}
            self.text('dos.csv', csv_text(columns))

    def potential(self, node: PotentialData, name: str) -> None:
        """Copy the model file, and what a job makes of it, and tell how they are used."""
        self.progress(f'{name} ...')
        files, text = model.model_files(node, Path(name).name, self.convert(node))
        parent = Path(name).parent
        for file, content in files.items():
            self.write(str(parent / file), content)
        self.text(f'{name}.md', text)

    def dataset(self, node: DatasetData, name: str) -> None:
        """Write labelled frames."""
        file = self.place(f'{name}.extxyz')
        file.unlink(missing_ok=True)
        node.to_extxyz(file)

    def structure(self, node: orm.StructureData, name: str) -> None:
        """Write a crystal."""
        file = self.place(f'{name}.cif')
        file.unlink(missing_ok=True)
        node.get_ase().write(file, format='cif')

    def dictionary(self, node: orm.Dict, name: str) -> None:
        """Write a dictionary, and moduli as a table, too."""
        content = printable_tree(node.get_dict(), longest=SENTENCE)
        self.text(f'{name}.json', json.dumps(content, indent=2) + '\n')
        if name.rpartition('/')[2] == 'elastic':
            rows = [(*name_and_unit(key), value) for key, value in content.items() if not isinstance(value, list)]
            columns = dict(zip(('quantity', 'unit', 'value'), map(list, zip(*rows, strict=True)), strict=True))
            self.text(f'{name.removesuffix("elastic")}moduli.csv', csv_text(columns))

    def file(self, node: orm.SinglefileData, name: str) -> None:
        """Copy a file; its name is that of the output, with the suffixes that it has."""
        suffixes = [suffix for suffix in Path(node.filename).suffixes[-2:] if suffix[1:].isalnum()]
        self.write(name + ''.join(suffixes), node.get_content(mode='rb'))

    def trajectory(self, node: orm.TrajectoryData, name: str) -> None:
        """Leave trajectories out: `verdi data core.trajectory export` writes them."""

    def nothing(self, node: Any, name: str) -> None:
        """Leave out what the tables and ``band.yaml`` hold."""

    def arrays(self, node: orm.ArrayData, name: str) -> None:
        """Write arrays as NumPy has them; what people look at are the tables and curves beside them."""
        if not node.get_arraynames() or name.rpartition('/')[2] in ELSEWHERE:
            return
        file = self.place(f'{name}.npz')
        file.unlink(missing_ok=True)
        np.savez_compressed(file, allow_pickle=False, **arrays_of(node))

    def readme(self, node: orm.Node) -> None:
        """Write what the folder holds, and how to go on."""
        names = sorted(str(file.relative_to(self.folder)) for file in self.files)
        self.text(README, model.describe_folder(node, names))

    def place(self, name: str) -> Path:
        """Return the path of a file, whose folder is there then."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file not in self.files:
            self.files.append(file)
        return file

    def text(self, name: str, content: str) -> None:
        """Write a text file."""
        self.write(name, content.encode())

    def write(self, name: str, content: bytes) -> None:
        """Write a file anew: where a link stands, what it leads to is not touched."""
        file = self.place(name)
        file.unlink(missing_ok=True)
        file.write_bytes(content)


def leaves(outputs: Any, prefix: str = '') -> Iterator[tuple[str, orm.Node]]:
    """Yield all outputs by their dotted names."""
    for name in sorted(outputs):
        item = outputs[name]
        if isinstance(item, orm.Node):
            yield f'{prefix}{name}', item
        else:
            yield from leaves(item, f'{prefix}{name}.')
