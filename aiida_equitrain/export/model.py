"""Model files, and the words that tell how they are used; nothing in them is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiida import orm

from aiida_equitrain.common.names import Family
from aiida_equitrain.common.printable import NAME, printable
from aiida_equitrain.data.potential import ADAPTER, PotentialData

#: Suffix of the model files of a family.
SUFFIXES = {Family.MACE.value: '.model', Family.SEVENNET.value: '.pth', Family.NEQUIX.value: '.nqx'}
#: Two lines that make ASE's calculator of a model file.
CALCULATORS = {
    Family.MACE.value: (
        'from mace.calculators import MACECalculator',
        "calculator = MACECalculator(model_paths='{file}', device='cpu', default_dtype='float64'{head})",
    ),
    Family.SEVENNET.value: (
        'from sevenn.calculator import SevenNetCalculator',
        "calculator = SevenNetCalculator('{file}', device='cpu'{modal})",
    ),
    Family.NEQUIX.value: (
        'from nequix.calculator import NequixCalculator',
        "calculator = NequixCalculator(model_path='{file}', backend='torch', use_kernel=False)",
    ),
}
#: What makes the file for LAMMPS of a family, its name, and the lines of LAMMPS that take it.
LAMMPS = {
    Family.MACE.value: ('`mace_create_lammps_model` of MACE', 'pair_style mace no_domain_decomposition'),
    Family.SEVENNET.value: ('`sevenn get_model` of SevenNet', 'pair_style e3gnn'),
}
#: Names of as many elements are written into the line.
NAMED = 12


@dataclass(frozen=True)
class Conversion:
    """What a job made of a potential, or why there is nothing.

    :param job: it, with the outputs ``lammps`` and, of an adapter, ``whole_model``.
    :param reason: one sentence, where there is none.
    """

    job: Any = None
    reason: str = ''

    def content(self, name: str) -> bytes | None:
        """Return the file of an output."""
        if self.job is None or name not in self.job.outputs:
            return None
        content: bytes = self.job.outputs[name].get_content(mode='rb')
        return content


def model_files(node: PotentialData, name: str, conversion: Conversion) -> tuple[dict[str, bytes], str]:
    """Return the files of a potential by their names, and how they are used, as Markdown.

    Of an adapter that no job has put together it is the adapter and the model of its foundation.

    :param name: of the files, without suffix.
    """
    file = f'{name}{SUFFIXES[node.family]}'
    lines = [f'# {printable(node.card.get("name") or node.label or "A potential", longest=NAME)}', '']
    lines += [f'PK {node.pk}, {node.uuid}, {node.family}, {node.n_parameters} parameters, cut-off {node.cutoff:g} Å, '
              f'SHA-256 {node.sha256}.', '']  # fmt: skip
    whole = node.whole_model() or conversion.content('whole_model')
    if whole is None:
        files, told = _parts(node, name, conversion.reason)
        lines += told
    else:
        files = {file: whole}
        if node.kind == ADAPTER:
            lines += [f'It is stored as an adapter to its foundation (PK {_root(node).pk}); `{file}` is what they '
                      'amount to' + _by(conversion) + '.', '']  # fmt: skip
    heads = node.head if node.kind != ADAPTER and node.head and len(node.heads) > 1 else None
    words = {'file': file, 'head': f", head='{heads}'" if heads else '', 'modal': f", modal='{heads}'" if heads else ''}
    lines += ['With ASE, in a Python that has the package of the family:', '', '```python']
    lines += [line.format(**words) for line in CALCULATORS[node.family]] + ['```', '']
    if node.family in LAMMPS:
        made = conversion.content('lammps')
        lines += _for_lammps(node, f'{name}-lammps.pt', made is not None, conversion)
        files |= {} if made is None else {f'{name}-lammps.pt': made}
    if node.card.get('starter'):
        lines += ['It is the starter potential that ships with aiida-equitrain: small, made for trying things out.', '']
    return files, '\n'.join(lines)


def _root(node: PotentialData) -> PotentialData:
    """Return the node whose file is a model."""
    return node.foundation or node


def _by(conversion: Conversion) -> str:
    """Return in words which job made something."""
    return '' if conversion.job is None else f' (job {conversion.job.pk})'


def _parts(node: PotentialData, name: str, reason: str) -> tuple[dict[str, bytes], list[str]]:
    """Return the files of an adapter and its foundation, and what is to be done with them."""
    root, suffix = _root(node), SUFFIXES[node.family]
    root.checked_sha256()
    files = {
        f'{name}.foundation{suffix}': root.base.repository.get_object_content(root.FILENAME, mode='rb'),
        f'{name}.safetensors': node.base.repository.get_object_content(node.ADAPTER_FILENAME, mode='rb'),
    }
    return files, [
        'It is stored as an adapter: what training changed, beside the file of its foundation. They were not put '
        f'together here: {reason}. Then one model file is made of them by', '', '```',
        f'aiida-equitrain potential export {node.pk} {name}{suffix}', '```', '',
    ]  # fmt: skip


def _for_lammps(node: PotentialData, file: str, is_made: bool, conversion: Conversion) -> list[str]:
    """Return how LAMMPS uses a potential, or why it cannot."""
    what, style = LAMMPS[node.family]
    if not is_made:
        return [f'There is no file for LAMMPS: {conversion.reason}.', '']
    elements = ' '.join(node.elements if len(node.elements) < NAMED else ['ELEMENTS'])
    lines = [f'For LAMMPS there is `{file}`, made by {what}{_by(conversion)}:', '',
             '```', style, f'pair_coeff * * {file} {elements}', '```', '']  # fmt: skip
    if len(node.elements) >= NAMED:
        lines += ['where `ELEMENTS` are the elements of your atom types in their order, such as `Na Cl`.', '']
    return lines


#: What is said of files by the ends of their names.
FILES = {
    'phonopy.yaml': 'cells, displacements, forces, force constants (eV/Å²), Born charges: phonopy and Euphonic open it',
    'FORCE_CONSTANTS': 'the force constants, for programs that want them alone',
    'FORCE_CONSTANTS_change': 'what the labels added to the force constants of the potential',
    'BORN': 'Born charges and dielectric tensor',
    'band.yaml': 'bands (THz) as phonopy writes them (`phonopy-bandplot`, `sumo-phonon-bandplot`)',
    'dos.csv': 'density of states',
    'thermal.csv': 'thermal properties over temperature',
    'dos_of_atoms.csv': 'density of states of each atom',
    'moduli.csv': 'elastic moduli',
    'qha.csv': 'free energy, volume, expansion, bulk modulus and heat capacity over temperature',
    'kappa.csv': 'thermal conductivity over temperature',
    'metrics.csv': 'errors over the epochs of the training',
    'comparison.json': 'errors of all sides against the reference, and their verdicts on stability',
    'correction.json': 'what the labels determine: numbers of frames and constants, residual, error bars',
    'properties.json': 'harmonic properties at one temperature, the sum rules, moduli',
    'stability.json': 'lowest and highest frequencies, and the verdict on stability',
    'tree.json': 'the phases that were found, and from which mode',
    'summary.json': 'the numbers, with their units in the keys',
    '.cif': 'a crystal',
    '.model': 'a potential of MACE', '.pth': 'a potential of SevenNet', '.nqx': 'a potential of Nequix',
    '-lammps.pt': 'the potential for LAMMPS',
    '.safetensors': 'what training changed of the model beside it',
    '.extxyz': 'labelled frames: energies (eV), forces (eV/Å) and stresses (eV/Å³) under `REF_...`',
    'potential.md': 'how ASE and LAMMPS take the potential',
    '.npz': 'arrays, read by `numpy.load`',
    '.json': 'numbers, with their units in the keys',
    '.svg': 'a figure', '.pdf': 'a figure',
    '.csv': 'the curves of a figure or a table, units in the names of the columns',
}  # fmt: skip


def describe_folder(node: orm.Node, names: list[str]) -> str:
    """Return what the files of a folder are, and commands that open them, as Markdown."""
    kind: Any = getattr(node, 'process_label', None) or type(node).__name__
    lines = [f'# {printable(kind)} {node.pk}', '', f'{printable(node.label, longest=NAME)} {node.uuid}'.strip(), '',
             'Written by `aiida-equitrain export`.', '']  # fmt: skip
    for name in names:
        ends = sorted((end for end in FILES if name.endswith(end)), key=len)
        lines.append(f'- `{name}`' + (f': {FILES[ends[-1]]}' if ends else ''))
    text = '\n'.join(lines) + '\n'
    phonons = [name for name in names if name.rpartition('/')[2] == 'phonopy.yaml']
    if phonons:
        folder = phonons[0].rpartition('/')[0]
        text += OPEN_PHONONS.format(file=phonons[0], place=f"path='{folder}', " if folder else '')
    if THIRD_ORDER in names:
        text += OPEN_THIRD_ORDER.format(file=THIRD_ORDER)
    return text


OPEN_PHONONS = """
```
phonopy-load {file} --band auto -p
aiida-equitrain compare {file} OTHER.yaml
```

```python
import phonopy
phonon = phonopy.load('{file}')

from euphonic import ForceConstants
constants = ForceConstants.from_phonopy({place}summary_name='phonopy.yaml')
```
"""
THIRD_ORDER = 'phono3py_params.yaml.xz'
OPEN_THIRD_ORDER = """
```python
import phono3py
phonon3 = phono3py.load('{file}')
```
"""
