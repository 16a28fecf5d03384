"""Files of phonopy as strangers or accidents make them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path

from case import Case

#: A crystal of one atom, and the forces of its displacement.
GOOD = """phonopy:
  version: "4.10.0"
  symmetry_tolerance: 1.00000e-05
supercell_matrix:
- [ 1, 0, 0 ]
- [ 0, 1, 0 ]
- [ 0, 0, 2 ]
unit_cell:
  lattice:
  - [ 3.0, 0.0, 0.0 ]
  - [ 0.0, 3.0, 0.0 ]
  - [ 0.0, 0.0, 3.0 ]
  points:
  - symbol: Po
    coordinates: [ 0.0, 0.0, 0.0 ]
    mass: 208.9
displacements:
- atom: 1
  displacement: [ 0.01, 0.0, 0.0 ]
  forces:
  - [ -0.02, 0.0, 0.0 ]
  - [  0.02, 0.0, 0.0 ]
"""
LAUGHS = 'a: &a [x, x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'{two}: &{two} [{", ".join([f"*{one}"] * 10)}]\n' for one, two in zip('abcdefgh', 'bcdefghi', strict=True)
)
MANY = '  - {symbol: H, coordinates: [0, 0, 0]}\n' * 30_000
#: Code in YAML, in the spellings that PyYAML's unsafe loaders know; they touch the file of the harness.
CODE = {
    'apply-system': '!!python/object/apply:os.system ["touch {0}"]',
    'apply-popen': '!!python/object/apply:subprocess.Popen [["touch", "{0}"]]',
    'new-open': '!!python/object/new:open ["{0}", "w"]',
    'eval': "!!python/object/apply:builtins.eval [\"open('{0}', 'w')\"]",
    'long-tag': '!<tag:yaml.org,2002:python/object/apply:os.system> ["touch {0}"]',
    'name': '!!python/name:os.system ""',
    'module': '!!python/module:antigravity ""',
    'handle': '%TAG ! tag:yaml.org,2002:python/\n--- !object/apply:os.system ["touch {0}"]',
    'tuple': '!!python/tuple [!!python/object/apply:os.system ["touch {0}"]]',
}


def _compare(name: str, write: Callable[[Path], None]) -> Callable[[Path], list[str]]:
    """Return what writes a file, and compares it with itself."""

    def make(folder: Path) -> list[str]:
        path = folder / name
        write(path)
        return ['compare', str(path), str(path), '--mesh', '2', '2', '2']

    return make


def _import(name: str, write: Callable[[Path], None]) -> Callable[[Path], list[str]]:
    """Return what writes a file, and imports it as labelled frames."""

    def make(folder: Path) -> list[str]:
        path = folder / name
        write(path)
        return ['data', 'import', str(path), '--functional', 'PBE']

    return make


def _text(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(text.replace('{0}', str(path.parent / 'code-ran'))) and None


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def _folder(path: Path) -> None:
    path.mkdir()


def _beside(name: str, text: str) -> Callable[[Path], None]:
    """Return what writes a file without forces, and another one beside it."""

    def write(path: Path) -> None:
        path.write_text(GOOD.split('  forces:')[0])
        (path.parent / name).write_text(text)

    return write


def _beside_fifo(path: Path) -> None:
    path.write_text(GOOD.split('  forces:')[0])
    os.mkfifo(path.parent / 'FORCE_SETS')


def _replaced(old: str, new: str) -> Callable[[Path], None]:
    assert old in GOOD
    return _text(GOOD.replace(old, new))


OBJECT, BOMB = 'would make an object of Python', 'as only a bomb does'
#: By name: the file's name, what writes it, what is said of it.
FILES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    **{f'code-{name}': ('a.yaml', _text(code), OBJECT) for name, code in CODE.items()},
    'code-behind-what-is-right': ('a.yaml', _text(f'{GOOD}z: {CODE["apply-system"]}\n'), OBJECT),
    'code-as-a-key': ('a.yaml', _text(f'? {CODE["apply-system"]}\n: 1\n'), OBJECT),
    'code-as-a-number': ('a.yaml', _replaced('mass: 208.9', f'mass: {CODE["apply-system"]}'), OBJECT),
    'code-in-phono3py': ('phono3py_params.yaml', _text(f'phono3py: {CODE["apply-system"]}'), OBJECT),
    'code-compressed': ('a.yaml.xz', lambda path: _bytes(lzma.compress(
        CODE['apply-system'].replace('{0}', str(path.parent / 'code-ran')).encode()))(path), OBJECT),
    'laughs': ('a.yaml', _text(LAUGHS), 'more than 10000000 values'),
    'alias-to-itself': ('a.yaml', _text('a: &a [*a]'), 'nothing is named `a`'),
    'deep-lists': ('a.yaml', _text('[' * 200_000), 'nest'),
    'deep-mappings': ('a.yaml', _text('{a: ' * 200_000), 'nest'),
    'deep-blocks': ('a.yaml', _text('- ' * 200_000), 'nest'),
    'bomb-xz': ('a.yaml.xz', lambda path: _bytes(lzma.compress(bytes(2**26), preset=0))(path), BOMB),
    'bomb-gz': ('a.yaml.gz', lambda path: _bytes(gzip.compress(b'[],' * 2**24, 9))(path), BOMB),
    'bomb-bz2': ('a.yaml.bz2', lambda path: _bytes(bz2.compress(bytes(2**26)))(path), BOMB),
    'cut-off-xz': ('a.yaml.xz', _bytes(lzma.compress(GOOD.encode())[:-20]), 'is cut off'),
    'cut-off-gz': ('a.yaml.gz', _bytes(gzip.compress(GOOD.encode())[:-20]), 'is cut off'),
    'plain-called-xz': ('a.yaml.xz', _text(GOOD), 'not what its ending says'),
    'cut-off': ('a.yaml', _text(GOOD[: GOOD.index('  - [  0.02')]), r'has forces of the shape \(1, 3\)'),
    'cut-off-in-a-row': ('a.yaml', _text(GOOD[:-10]), 'is not valid YAML'),
    'binary': ('a.yaml', _bytes(bytes(range(256)) * 10), 'is not valid YAML'),
    'sixteen-bits': ('a.yaml', _bytes('a: 1'.encode('utf-16')), 'no unit cell'),
    'empty': ('a.yaml', _text(''), 'no unit cell'),
    'two-documents': ('a.yaml', _text(f'{GOOD}---\n{GOOD}'), 'more than one YAML document'),
    'a-key-twice': ('a.yaml', _text(f'{GOOD}displacements: []\n'), 'holds the key `displacements` twice'),
    'fifo': ('a.yaml', lambda path: os.mkfifo(path), 'is not a regular file|there is no file'),
    'fifo-beside': ('a.yaml', _beside_fifo, 'is not a regular file'),
    'device': ('a.yaml', lambda path: path.symlink_to('/dev/zero'), 'is not a regular file|there is no file'),
    'link-to-itself': ('a.yaml', lambda path: path.symlink_to(path), 'cannot be read|there is no file'),
    'control-characters': (
        'a.yaml', _replaced('version', '"calculator": "qe\\e[31m\\a"\n  version'), r'`qe\\u001b\[31m\\u0007`'),
    'control-characters-in-a-key': (
        'a.yaml', _text('"\\e]0;t\\a": 1\n"\\e]0;t\\a": 2'), r'`\\u001b\]0;t\\u0007` twice'),
    'unknown-calculator': ('a.yaml', _replaced('version', 'calculator: dmol\n  version'), 'whose units are unknown'),
    'two-units': ('a.yaml', _text(f'{GOOD}physical_unit: {{length: au}}\n'), 'says `length: au`'),
    'huge-supercell': ('a.yaml', _replaced('- [ 1, 0, 0 ]', '- [ 4000, 0, 0 ]'), 'supercell of|small integers'),
    'endless-supercell': ('a.yaml', _replaced('- [ 1, 0, 0 ]', f'- [ {"9" * 400}, 0, 0 ]'), 'that are not finite'),
    'many-atoms': ('a.yaml', _text(GOOD.replace('  points:\n', '  points:\n' + MANY)), 'no crystal|mass|supercell of'),
    'flat-cell': ('a.yaml', _replaced('[ 3.0, 0.0, 0.0 ]', '[ 0.0, 3.0, 0.0 ]'), 'which is no crystal'),
    'infinite-force': ('a.yaml', _replaced('-0.02, 0.0', '.inf, 0.0'), 'forces that are not finite'),
    'number-too-large': ('a.yaml', _replaced('atom: 1', f'atom: {"9" * 5000}'), 'displaces the atom'),
    'forces-of-constants': ('a.yaml', _text(GOOD + 'force_constants: {shape: [99999999, 99999999], elements: []}\n'),
                            'force constants of 99999999 atoms'),
    'FORCE_SETS-endless': ('a.yaml', _beside('FORCE_SETS', f'2\n{"9" * 18}\n1\n'), 'has 3 rows'),
    'FORCE_SETS-cut-off': ('a.yaml', _beside('FORCE_SETS', '2\n1\n1\n0.01 0 0\n'), 'has 4 rows'),
    'FORCE_SETS-blank': ('a.yaml', _beside('FORCE_SETS', '\n' * 100_000), 'not in the format of phonopy'),
    'FORCE_SETS-of-others': ('a.yaml', _beside('FORCE_SETS', '2\n1\n1\n0 0.01 0\n0 0 0\n0 0 0\n'), 'is none of'),
    'FORCE_CONSTANTS-huge': ('a.yaml', _beside('FORCE_CONSTANTS', '99999999 99999999\n1 1\n'), 'is cut off'),
}  # fmt: skip


def _not_there(folder: Path) -> list[str]:
    return ['compare', str(folder / 'absent.yaml'), str(folder / 'absent.yaml')]


def _folder_of_files(folder: Path) -> list[str]:
    return ['compare', str(folder), str(folder)]


def _harmless(folder: Path) -> list[str]:
    path = folder / 'a.yaml.gz'
    path.write_bytes(gzip.compress(GOOD.encode()))
    return ['compare', str(path), str(path), '--mesh', '2', '2', '2']


CASES = [
    *(Case(f'phonopy-compare-{name}', _compare(file, write), says) for name, (file, write, says) in FILES.items()),
    *(
        Case(f'phonopy-import-{name}', _import(file, write), says, profile=True)
        for name, (file, write, says) in FILES.items()
        if name.startswith(('code', 'laughs', 'bomb', 'cut-off', 'fifo', 'device', 'deep', 'control'))
    ),
    Case('phonopy-compare-absent', _not_there, 'there is no file'),
    Case('phonopy-compare-folder', _folder_of_files, 'is a folder, not a file'),
    Case('phonopy-compare-harmless', _harmless, 'dynamically stable', fails=False),
]
