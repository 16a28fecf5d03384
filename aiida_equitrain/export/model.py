"""Model files, and the words that tell how they are used; nothing in them is run."""

from __future__ import annotations

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
#: The command of the family that makes a file for LAMMPS, and the line of LAMMPS that takes it.
LAMMPS = {
    Family.MACE.value: (
        'mace_create_lammps_model {file} --dtype float64{head}',
        'pair_style mace no_domain_decomposition\npair_coeff * * {file}-lammps.pt {elements}',
    ),
    Family.SEVENNET.value: (
        'sevenn get_model {file}',
        'pair_style e3gnn\npair_coeff * * deployed_serial.pt {elements}',
    ),
}


def model_files(node: PotentialData, name: str) -> tuple[dict[str, bytes], str]:
    """Return the files of a potential by their names, and how they are used, as Markdown.

    Of an adapter it is the adapter and the model of its foundation: what puts them together runs what is in the
    foundation's file, and is told as a command.

    :param name: of the files, without suffix.
    """
    root = node.foundation or node
    file = f'{name}{SUFFIXES[node.family]}'
    node.checked_sha256()
    root.checked_sha256()
    content = root.base.repository.get_object_content(root.FILENAME, mode='rb')
    lines = [f'# {printable(node.card.get("name") or node.label or "A potential", longest=NAME)}', '']
    lines += [f'PK {node.pk}, {node.uuid}, {node.family}, {node.n_parameters} parameters, cut-off {node.cutoff:g} Å, '
              f'SHA-256 {node.sha256}.', '']  # fmt: skip
    if node.kind == ADAPTER:
        adapter = node.base.repository.get_object_content(node.ADAPTER_FILENAME, mode='rb')
        files = {f'{name}.foundation{SUFFIXES[node.family]}': content, f'{name}.safetensors': adapter}
        lines += [
            'It is stored as an adapter: what training changed, beside the file of its foundation. One model file is '
            'made of them by', '', '```', f'aiida-equitrain potential export {node.pk} {file}', '```', '',
            'which loads the file of the foundation, and so runs whatever is in it: it asks before.' if node.family !=
            Family.NEQUIX.value else 'Nothing in the files is run by that.', '',
        ]  # fmt: skip
    else:
        files = {file: content}
    heads = node.head if node.head and len(node.heads) > 1 else None
    words = {
        'file': file,
        'elements': ' '.join(node.elements if len(node.elements) < 12 else ['ELEMENTS']),
        'head': f", head='{heads}'" if heads else '',
        'modal': f", modal='{heads}'" if heads else '',
    }
    lines += ['With ASE, in a Python that has the package of the family:', '', '```python']
    lines += [line.format(**words) for line in CALCULATORS[node.family]] + ['```', '']
    if node.family in LAMMPS:
        command, use = LAMMPS[node.family]
        lines += ["For LAMMPS, the family's own converter makes a file (it runs what is in the model):", '',
                  '```', command.format(**{**words, 'head': f' --head {heads}' if heads else ''}), '```', '',
                  'and the input of LAMMPS takes it by', '', '```', use.format(**words), '```', '']  # fmt: skip
    if node.card.get('starter'):
        lines += ['It is the starter potential that ships with aiida-equitrain: small, made for trying things out.', '']
    return files, '\n'.join(lines)


#: What is said of files by the ends of their names.
FILES = {
    'phonopy.yaml': 'cells, displacements, forces, force constants (eV/Å²), Born charges: phonopy and Euphonic open it',
    'FORCE_CONSTANTS': 'the force constants, for programs that want them alone',
    'FORCE_CONSTANTS_change': 'what the labels added to the force constants of the potential',
    'BORN': 'Born charges and dielectric tensor',
    'band.yaml': 'bands (THz) as phonopy writes them (`phonopy-bandplot`, `sumo-phonon-bandplot`)',
    'dos.csv': 'density of states',
    'thermal.csv': 'thermal properties over temperature',
    'moduli.csv': 'elastic moduli',
    'summary.json': 'the numbers, with their units in the keys',
    '.cif': 'a crystal',
    '.extxyz': 'labelled frames: energies (eV), forces (eV/Å) and stresses (eV/Å³) under `REF_...`',
    '.npz': 'arrays, read by `numpy.load`',
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
