"""Crystals of strangers, given to ``launch phonons``: a sentence each, and nothing of them runs."""

from __future__ import annotations

import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path

from case import Case

CELL = 'data_a\n' + ''.join(f'_cell_length_{name} 4\n' for name in 'abc')
CELL += ''.join(f'_cell_angle_{name} 90\n' for name in ('alpha', 'beta', 'gamma'))
LOOP = 'loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n'
POSCAR = 'a\n{scale}\n{a}\n2 0 2\n2 2 0\n{elements}\n{counts}\n{coordinates}\n0 0 0\n.25 .25 .25\n'
TOUCH = 'open("code-ran", "w").close()\n'


def structure(name: str, content: str | bytes, says: str, fails: bool = True, case: str = '', *more: str) -> Case:
    """Return the case of a file that is given as a structure."""

    def make(folder: Path) -> list[str]:
        data = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(data.replace(b'code-ran', str(folder / 'code-ran').encode()))
        return ['launch', 'phonons', str(folder / name), *more]

    return Case(f'structure-{case or name}', make, says, fails, profile=True)


def poscar(case: str, says: str, **changes: str) -> Case:
    """Return the case of a POSCAR of silicon with something else in it."""
    parts = {'scale': '1', 'a': '0 2 2', 'elements': 'Si', 'counts': '2', 'coordinates': 'Direct'}
    return structure('a.vasp', POSCAR.format(**(parts | changes)), says, case=case)


def special(case: str, prepare: Callable[[Path], Path], says: str) -> Case:
    """Return the case of a path that is no ordinary file."""
    return Case(f'structure-{case}', lambda folder: ['launch', 'phonons', str(prepare(folder))], says, profile=True)


def fifo(folder: Path) -> Path:
    """Return a pipe that nobody writes into."""
    os.mkfifo(folder / 'a.cif')
    return folder / 'a.cif'


def sparse(folder: Path) -> Path:
    """Return a file of 100 GB that takes no room."""
    with (folder / 'a.cif').open('wb') as handle:
        handle.truncate(100 * 10**9)
    return folder / 'a.cif'


def zero(folder: Path) -> Path:
    """Return a link to a device without end."""
    (folder / 'a.cif').symlink_to('/dev/zero')
    return folder / 'a.cif'


def loop(folder: Path) -> Path:
    """Return a link to itself."""
    (folder / 'a.cif').symlink_to(folder / 'a.cif')
    return folder / 'a.cif'


def xyz(n_atoms: int, header: str, line: str = 'Si 0 0 0\n') -> str:
    """Return an XYZ file."""
    return f'{n_atoms}\n{header}\n' + line * min(n_atoms, 3)


ENTITIES = '<!DOCTYPE a [<!ENTITY b0 "' + 'b' * 1000 + '">'
ENTITIES += ''.join(f'<!ENTITY b{level} "{f"&b{level - 1};" * 20}">' for level in range(1, 8)) + ']>'
GROUP = '_symmetry_Int_Tables_number 225\n'
SITES = ''.join(f'Si{index} {index / 9973:.6f} 0 0\n' for index in range(3000))

CASES = [
    structure('a.py', TOUCH, 'no name of a structure file'),
    structure('a.cif.py', TOUCH, 'no name of a structure file'),
    structure('a.json', json.dumps({'__ase_objtype__': 'atoms'}), 'no name of a structure file'),
    structure('a.db', b'SQLite format 3\0', 'no name of a structure file'),
    structure('a.traj', b'- of Ulm', 'no name of a structure file'),
    structure('a.pckl', b"cos\nsystem\n(S'touch code-ran'\ntR.", 'no name of a structure file'),
    structure('a.cfg', '', 'no name of a structure file'),
    structure('a.cif', TOUCH, 'cannot be read', case='python-as-cif'),
    structure('a.cif', b"cos\nsystem\n(S'touch code-ran'\ntR.", 'cannot be read', case='pickle-as-cif'),
    structure('a.xyz', b"cos\nsystem\n(S'touch code-ran'\ntR.", 'cannot be read', case='pickle-as-xyz'),
    structure('a.cif', '', 'cannot be read', case='empty-cif'),
    structure('a.vasp', '', 'no line with the elements', case='empty-poscar'),
    structure('a.xyz', '', 'cannot be read', case='empty-xyz'),
    structure('a.xml', '', 'cannot be read', case='empty-vasprun'),
    structure('a.in', '', 'cannot be read', case='empty-pwi'),
    structure('a.out', '', 'cannot be read', case='empty-pwo'),
    structure('a.xsf', '', 'cannot be read', case='empty-xsf'),
    structure('a.cif', bytes(range(256)) * 100, 'cannot be read', case='noise-cif'),
    structure('a.vasp', bytes(range(256)) * 100, 'cannot be read|no line with', case='noise-poscar'),
    structure('a.xyz', bytes(range(256)) * 100, 'cannot be read', case='noise-xyz'),
    structure('a.xml', bytes(range(256)) * 100, 'cannot be read', case='noise-vasprun'),
    structure('a.cif.gz', b'no gzip', 'a.cif', case='no-gzip'),
    structure('a.cif.gz', gzip.compress(bytes(40_000_000), 1), 'a bomb', case='gzip-bomb'),
    structure('a.cif.xz', lzma.compress(bytes(40_000_000), preset=0), 'a bomb', case='xz-bomb'),
    structure('a.cif.gz', gzip.compress(CELL.encode())[:40], 'a.cif', case='gzip-cut-off'),
    structure('a.xml', f'<?xml version="1.0"?>{ENTITIES}<modeling>&b7;</modeling>', 'cannot be read', case='xml-bomb'),
    structure(
        'a.xml',
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><modeling>&b;</modeling>',
        'cannot be read',
        case='xml-file',
    ),
    structure('a.cif', f'{CELL}{GROUP}{LOOP}{SITES}', 'symmetry operations', case='cif-operations'),
    structure('a.cif', f'{CELL}{LOOP}Si1 nan 0 0\n', 'not finite|cannot be read', case='cif-nan'),
    structure('a.cif', f'{CELL}{LOOP}Si1 inf 0 0\n', 'not finite|cannot be read', case='cif-inf'),
    structure('a.cif', f'{CELL}{LOOP}Si1 a b c\n', 'cannot be read', case='cif-words'),
    structure('a.cif', f'{CELL}{LOOP}Xx1 0 0 0\n', 'no known element', case='cif-element'),
    structure('a.cif', f'{CELL}{LOOP}\x1b]0;owned\x07 0 0 0\n', 'no known element', case='cif-escape'),
    structure('a.cif', CELL.replace(' 4\n', ' 0\n') + f'{LOOP}Si1 0 0 0\n', 'not above zero', case='cif-no-cell'),
    structure('a.cif', CELL.replace(' 4\n', ' -4\n') + f'{LOOP}Si1 0 0 0\n', 'not above zero', case='cif-minus'),
    structure('a.cif', CELL.replace(' 90\n', ' 179\n') + f'{LOOP}Si1 0 0 0\n', 'volume|cannot be read|not finite',
              case='cif-angles'),
    structure('a.cif', CELL.replace(' 4\n', ' 1e300\n') + f'{LOOP}Si1 0 0 0\n', 'not finite|more than|cannot be read',
              case='cif-huge'),
    structure('a.cif', f'{CELL}_symmetry_Int_Tables_number 999\n{LOOP}Si1 0 0 0\n', 'cannot be read', case='cif-group'),
    structure('a.cif', f'{CELL}{LOOP}Si1 0 0 0\nSi2 0 0 0.01\n', 'atoms overlap', case='cif-overlap'),
    structure('a.cif', CELL + LOOP + 'Si1 0 0 0\n' + CELL.replace('_a', '_\x1b[2J') + LOOP + 'Si1 0 0 0\n',
              'holds 2 structures|cannot be read', case='cif-block-escape'),
    structure('a.cif', f'{CELL}{LOOP}Si1 0 0 0\n', 'has no structure', True, 'cif-no-block', '--block', 'nothing'),
    structure('a.xyz', xyz(10**12, 'Lattice="4 0 0 0 4 0 0 0 4"'), 'has 1000000000000 atoms', case='xyz-count'),
    structure('a.xyz', xyz(1, 'Lattice="0 0 0 0 0 0 0 0 0"'), 'has no cell', case='xyz-no-cell'),
    structure('a.xyz', xyz(1, 'Lattice="nan 0 0 0 4 0 0 0 4"'), 'not finite|cannot be read', case='xyz-nan'),
    structure('a.xyz', xyz(1, 'Lattice="4 0 0 0 4 0 0 0"'), 'cannot be read', case='xyz-lattice'),
    structure('a.xyz', xyz(1, 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:99999999'),
              'more than 100 numbers', case='xyz-columns'),
    structure('a.xyz', xyz(1, 'Lattice="4 0 0 0 4 0 0 0 4" pbc="F F F"', 'Si 0 0 0\n'), 'not periodic',
              case='xyz-not-periodic'),
    structure('a.in', '&SYSTEM\n ibrav=0, nat=999999999, ntyp=1\n/\nCELL_PARAMETERS\n', 'cannot be read',
              case='pwi-count'),
    poscar('poscar-count', 'has 999999999999 atoms', counts='999999999999'),
    poscar('poscar-minus', 'cannot be read|numbers of atoms', counts='-2'),
    poscar('poscar-nan', 'not finite', a='nan 2 2'),
    poscar('poscar-scale', 'thick|no volume', scale='1e-8'),
    poscar('poscar-metres', 'more than 1000', scale='1e10'),
    poscar('poscar-scale-0', 'no volume', scale='0'),
    poscar('poscar-element', 'cannot be read', elements='Zz'),
    poscar('poscar-needle', 'thick', a='0 1e-2 1e-2'),
    special('fifo', fifo, 'not a regular file'),
    special('sparse', sparse, 'larger than'),
    special('device', zero, 'not a regular file'),
    special('link-loop', loop, 'no file|neither a file|cannot be read'),
    special('folder', lambda folder: folder, 'no name of a structure file|is a folder'),
    special('absent', lambda folder: folder / 'a.cif', 'neither a file'),
]  # fmt: skip
