"""Label files of strangers, through `data import`: extended XYZ, vasprun.xml, output of pw.x, folders and archives."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from case import Case

END = ['--functional', 'PBE']

Make = Callable[[Path], list[str]]


def file(name: str, content: str | bytes) -> Make:
    """Return a function that writes a file to import."""

    def make(folder: Path) -> list[str]:
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)
        return ['data', 'import', str(folder / name), *END]

    return make


# Extended XYZ

LATTICE = 'Lattice="5.4 0 0 0 5.4 0 0 0 5.4"'
PROPERTIES = 'Properties=species:S:1:pos:R:3:forces:R:3'
ATOMS = ('Si 0 0 0 0.1 0 0', 'Si 1.35 1.35 1.35 -0.1 0 0')


def frame(info: str = 'energy=-9.0', atoms: tuple[str, ...] = ATOMS, head: str | None = None, **keys: str) -> str:
    """Return one frame of extended XYZ."""
    given = {'lattice': LATTICE, 'properties': PROPERTIES, **keys}
    size = str(len(atoms)) if head is None else head
    return '\n'.join([size, f'{given["lattice"]} {given["properties"]} {info} pbc="T T T"', *atoms]) + '\n'


def moved(x: float) -> tuple[str, str]:
    return f'Si {x} 0 0 0.1 0 0', ATOMS[1]


TWO = frame() + frame(atoms=moved(0.01))
#: What is wrong with a frame, and what is said of it.
XYZ: dict[str, tuple[str | bytes, str]] = {
    'empty': ('', 'does not begin with a number of atoms'),
    'binary': (bytes(range(256)) * 40, 'not a text file'),
    'nulls': (b'\0' * 5000, 'does not begin with a number'),
    'not-utf8': (TWO.encode().replace(b'energy', b'\xff\xfe'), 'not a text file'),
    'utf16': (TWO.encode('utf-16'), 'not a text file'),
    'prose': ('Dear sir or madam,\nplease import this.\n', 'does not begin with a number of atoms'),
    'control-characters': ('\x1b]0;owned\x07\x1b[2J\n' + TWO, 'does not begin with a number of atoms'),
    'negative-size': (frame(head='-2'), 'does not begin with a number of atoms'),
    'zero-size': (frame(head='0', atoms=()), 'does not begin with a number of atoms'),
    'huge-size': (frame(head='999999999999'), 'more than the 100000'),
    'size-above-2-63': (frame(head='9' * 25), 'more than the 100000'),
    'size-of-a-million-digits': (frame(head='9' * 10**6), 'does not begin with a number of atoms'),
    'cut-off': (TWO[:-30], 'extended XYZ|ends after'),
    'cut-off-frame': (frame(head='90'), 'should have 90 atoms'),
    'blank-line-between': (frame() + '\n' + frame(), 'empty line'),
    'no-forces': (frame(properties='Properties=species:S:1:pos:R:3', atoms=('Si 0 0 0',)), 'no forces'),
    'nothing-but-symbols': (frame('', properties='Properties=species:S:1', atoms=('Si', 'Si')), 'no energy'),
    'forces-nan': (TWO.replace('0.1 0 0', 'nan 0 0'), 'not finite'),
    'forces-inf': (TWO.replace('0.1 0 0', 'inf 0 0'), 'not finite'),
    'forces-words': (TWO.replace('0.1 0 0', 'a b c'), 'no extended XYZ'),
    'forces-as-text': (TWO.replace('forces:R:3', 'forces:S:3').replace('0.1 0 0', 'a b c'), 'no extended XYZ'),
    'forces-two-columns': (TWO.replace('forces:R:3', 'forces:R:2'), 'forces have the shape'),
    'forces-mev': (TWO.replace('0.1 0 0', '54321 0 0'), 'meV/Å'),
    'energy-inf': (TWO.replace('-9.0', 'inf'), 'energy is not finite'),
    'energy-word': (TWO.replace('-9.0', 'low'), 'energy are no numbers'),
    'energy-vector': (TWO.replace('energy=-9.0', 'energy="1 2 3"'), 'energy have the shape'),
    'stress-kbar': (frame('energy=-9.0 stress="250 0 0 0 250 0 0 0 250"') * 2, 'kbar'),
    'stress-six': (frame('energy=-9.0 stress="1 2 3 4 5 6"') * 2, 'stress'),
    'stress-word': (frame('energy=-9.0 stress=none') * 2, 'stress'),
    'stress-nan': (frame('energy=-9.0 stress="nan 0 0 0 0 0 0 0 0"') * 2, 'stress are not finite'),
    'lattice-of-eight': (frame(lattice='Lattice="1 2 3 4 5 6 7 8"'), 'Lattice'),
    'lattice-word': (frame(lattice='Lattice=cubic'), 'Lattice'),
    'lattice-nan': (frame(lattice='Lattice="nan 0 0 0 5 0 0 0 5"'), 'Lattice'),
    'lattice-flat': (frame(lattice='Lattice="5 0 0 5 0 0 0 0 5"'), 'no volume'),
    'element-unknown': (TWO.replace('Si', 'Qq'), '`Qq`, which is no element'),
    'element-deuterium': (TWO.replace('Si', 'D'), 'write H'),
    'element-ghost': (TWO.replace('Si', 'X'), 'no elements'),
    'element-label': (TWO.replace('Si ', 'Si1 '), 'no element'),
    'element-escape': (TWO.replace('Si', '\x1b[31m'), 'no element'),
    'columns-a-billion': (TWO.replace('pos:R:3', 'pos:R:999999999'), 'Properties'),
    'columns-negative': (TWO.replace('pos:R:3', 'pos:R:-3'), 'Properties'),
    'columns-unknown-type': (TWO.replace('pos:R:3', 'pos:Q:3'), 'property type'),
    'columns-half-a-triplet': (TWO.replace('pos:R:3', 'pos:R'), 'no extended XYZ'),
    'columns-missing': (TWO.replace(' 0.1 0 0', ''), 'no extended XYZ'),
    'json-deep': (frame('energy=-9.0 note="_JSON ' + '[' * 50_000 + '"'), 'no extended XYZ'),
    'json-broken': (frame('energy=-9.0 note="_JSON {"'), 'no extended XYZ'),
    'comment-of-a-million': (frame('energy=-9.0 note=' + 'a' * 10**6), 'comment line'),
    'pbc-words': (frame().replace('pbc="T T T"', 'pbc="up down"'), 'no extended XYZ'),
    'role-training': (frame('energy=-9 role=training') * 2, 'did you mean `train`'),
    'role-escape': (frame('energy=-9 role="\x1b[2Jxxx"') * 2, 'role'),
    'role-long': (frame('energy=-9 role=' + 'v' * 50_000) * 2, 'role'),
    'one-frame': (frame(), 'a dataset needs two'),
    'only-isolated': (frame('energy=-9 config_type=IsolatedAtom') * 3, 'isolated atoms are no frames'),
    'fixed-atoms': (
        frame(properties=f'{PROPERTIES}:move_mask:L:1', atoms=('Si 0 0 0 0 0 0 F', 'Si 1 1 1 0.1 0 0 T')) * 2,
        'fixed atoms',
    ),
}  # fmt: skip
#: What is harmless.
GOOD_XYZ: dict[str, tuple[str, str]] = {
    'keys-not-ours': (frame('energy=-9 trajectory=md_300K source="1 2 3" role=7') + frame(atoms=moved(0.1)), 'train'),
    'trajectory-above-2-63': (frame('energy=-9 trajectory=99999999999999999999') + frame(atoms=moved(0.1)), 'train'),
    'source-with-escape': (frame('energy=-9 source="\x1b[2J"') + frame(atoms=moved(0.1)), 'train'),
    'no-energy': (frame('') + frame('', atoms=moved(0.1)), 'no energies'),
    'mixed-energies': (frame() + frame('', atoms=moved(0.1)), '1 of 2 frames have no energy'),
    'other-keys': (frame('dft_energy=-9') + frame('dft_energy=-9', atoms=moved(0.1)), '`dft_energy` not read'),
    'windows-lines': (TWO.replace('\n', '\r\n'), 'train'),
}

# vasprun.xml

ROW = '<v>0 0 0</v>'


def varray(name: str, *rows: str) -> str:
    return f'<varray name="{name}">' + ''.join(f'<v>{row}</v>' for row in rows) + '</varray>'


BASIS = varray('basis', '3 0 0', '0 3 0', '0 0 3')
SCF = '<scstep><energy><i name="e_fr_energy">-3</i></energy></scstep>'
FORCES = varray('forces', '0.1 0 0', '-0.1 0 0')


def step(forces: str = FORCES, scf: str = SCF, place: str = '0', energy: str = '-3.0', basis: str = BASIS) -> str:
    positions = varray('positions', f'{place} 0 0', '0.5 0.5 0.5')
    return (
        f'<calculation>{scf}<structure><crystal>{basis}</crystal>{positions}</structure>{forces}'
        f'<energy><i name="e_fr_energy">{energy}</i><i name="e_0_energy">-9</i></energy></calculation>'
    )


def vasprun(*steps: str, elements: tuple[str, ...] = ('Cu', 'Cu'), head: str = '', nelm: str = '60') -> str:
    atoms = ''.join(f'<rc><c>{element}</c><c>1</c></rc>' for element in elements)
    return (
        f'<?xml version="1.0" encoding="ISO-8859-1"?>{head}'
        f'<modeling><incar><i type="int" name="NELM">{nelm}</i></incar>'
        f'<atominfo><array name="atoms"><set>{atoms}</set></array></atominfo>{"".join(steps)}</modeling>'
    )


LAUGHS = '<!DOCTYPE a [<!ENTITY a "lol">' + ''.join(
    f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip('abcdefgh', 'bcdefghi', strict=True)
) + ']>'  # fmt: skip
GOOD = (step(), step(place='0.01'))
VASP: dict[str, tuple[str | bytes, str]] = {
    'empty': ('', 'cannot be read'),
    'binary': (bytes(range(256)) * 10, 'null bytes'),
    'html': ('<html><body>Not found</body></html>', 'no ionic step'),
    'cut-off-at-once': (vasprun(*GOOD)[:300], 'cannot be read'),
    'billion-laughs': (vasprun(*GOOD, head=LAUGHS).replace('-3.0', '&i;'), 'document type'),
    'external-entity': (
        vasprun(*GOOD, head='<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>').replace('Cu', '&x;'),
        'document type',
    ),
    'entity-in-utf16': (vasprun(*GOOD, head=LAUGHS).replace('ISO-8859-1', 'UTF-16').encode('utf-16'), 'null bytes'),
    'encoding-unknown': (vasprun(*GOOD).replace('ISO-8859-1', 'rot13'), 'cannot be read'),
    'nested-deeply': ('<modeling>' + '<a>' * 100_000, 'nested too deeply'),
    'no-labels': (vasprun(step(forces='')), 'no forces'),
    'unconverged': (vasprun(step(scf=SCF * 60)), 'did not converge'),
    'machine-learned': (vasprun(step(scf='')), 'machine-learned'),
    'stars': (vasprun(step(forces=varray('forces', '****** 0 0', '0 0 0'))), 'overflow'),
    'forces-nan': (vasprun(step(forces=varray('forces', 'nan 0 0', '0 0 0'))), 'overflow'),
    'forces-of-one-atom': (vasprun(step(forces=varray('forces', '0 0 0'))), 'not of 2 atoms'),
    'forces-of-two-numbers': (vasprun(step(forces=varray('forces', '0 0', '0 0'))), 'not of 2 atoms'),
    'forces-of-many': (vasprun(step(forces=varray('forces', *['0 0 0'] * 9))), 'more rows than there are atoms'),
    'forces-huge': (vasprun(step(forces=varray('forces', '9e9 0 0', '0 0 0'))), 'meV/Å'),
    'element-unknown': (vasprun(*GOOD, elements=('Cu', 'Q\x9b')), 'no element'),
    'atoms-none': (vasprun(*GOOD, elements=()), 'more rows than there are atoms|not of 0 atoms'),
    'atoms-a-million': (vasprun(*GOOD, elements=('H',) * 10**6), 'more rows than there are atoms'),
    'flat-cell': (vasprun(step(basis=varray('basis', *['3 0 0'] * 3))), 'no volume'),
    'nelm-huge': (vasprun(step(scf=''), nelm='9' * 400), 'no labels'),
    'energy-of-a-million-digits': (vasprun(step(energy='9' * 10**6)), 'overflow'),
    'one-step': (vasprun(GOOD[0]), 'a dataset needs two'),
}
GOOD_VASP: dict[str, tuple[str | bytes, str]] = {
    'latin-1': (vasprun(*GOOD, head='<!-- \xe9 -->').encode('latin-1'), '2 frames'),
    'cut-off-later': (vasprun(*GOOD, step())[:-300], 'cut off'),
    'nelm-word': (vasprun(*GOOD, nelm='many'), '2 frames'),
    'one-unconverged': (vasprun(*GOOD, step(scf=SCF * 60)), '1 of 3 steps left out'),
}

# pw.x

PW = """     Program PWSCF v.6.7 starts
     number of atoms/cell      =            2
     number of atomic types    =            1
     celldm(1)=  10.200000  celldm(2)=   0.000000
     crystal axes: (cart. coord. in units of alat)
               a(1) = (   1.000000   0.000000   0.000000 )
               a(2) = (   0.000000   1.000000   0.000000 )
               a(3) = (   0.000000   0.000000   1.000000 )
     site n.     atom                  positions (alat units)
         1           Si  tau(   1) = (   0.0000000   0.0000000   0.0000000  )
         2           Si  tau(   2) = (   0.2500000   0.2500000   0.2500000  )

!    total energy              =     -16.73000000 Ry

     Forces acting on atoms (cartesian axes, Ry/au):

     atom    1 type  1   force =     0.01000000    0.00000000    0.00000000
     atom    2 type  1   force =    -0.01000000    0.00000000    0.00000000

     total   stress  (Ry/bohr**3)                   (kbar)     P=        1.00
   0.00001000   0.00000000   0.00000000            1.47        0.00        0.00
   0.00000000   0.00001000   0.00000000            0.00        1.47        0.00
   0.00000000   0.00000000   0.00001000            0.00        0.00        1.47
   JOB DONE.
"""
MOVED = PW.replace('0.2500000   0.2500000   0.2500000', '0.2510000   0.2500000   0.2500000')
UNCONVERGED = PW.replace('!    total', '     convergence NOT achieved after   3 iterations: stopping\n     total')
OUT: dict[str, tuple[str | bytes, str]] = {
    'empty': ('', 'no output of pw.x'),
    'binary': (bytes(range(256)) * 10, 'not a text file'),
    'other-program': ('Program PHONON v.6.7\n' * 10, 'no output of pw.x'),
    'newlines': ('Program PWSCF' + '\n' * 3_000_000, 'more than 2000000 lines'),
    'unconverged': (UNCONVERGED, 'did not converge'),
    'killed': (PW[: PW.index('Forces')], 'cut off before'),
    'killed-in-the-forces': (PW[: PW.index('atom    2 type')], 'cut off before'),
    'killed-in-the-header': (PW[: PW.index('a(2)')], 'cut off before'),
    'stopped': (PW[: PW.index('!')] + ' Error in routine electrons (1):\n', 'stopped with an error'),
    'no-forces': (PW[: PW.index('Forces')] + 'JOB DONE.', 'tprnfor'),
    'forces-of-one-atom': (PW.replace('     atom    2 type  1   force =', '     gone'), 'cannot be read'),
    'forces-stars': (PW.replace('0.01000000', '**********'), 'cannot be read'),
    'forces-nan': (PW.replace('0.01000000', '       NaN'), 'cannot be read|not finite'),
    'energy-stars': (PW.replace('-16.73000000', '************'), 'cannot be read'),
    'celldm-word': (PW.replace('10.200000', 'ten'), 'cannot be read'),
    'atoms-above-2-63': (PW.replace('=            2', '= 99999999999999999999'), 'cannot be read'),
    'atoms-negative': (PW.replace('=            2', '=           -2'), 'cannot be read|no forces'),
    'element-unknown': (PW.replace('Si  tau', 'Qq  tau'), 'cannot be read'),
    'header-only': ('Program PWSCF\nJOB DONE\n' * 50, 'cannot be read'),
}
GOOD_OUT: dict[str, tuple[str | bytes, str]] = {
    'one-unconverged': (PW + UNCONVERGED + MOVED, '1 steps left out'),
    'killed-later': (PW + MOVED.replace('JOB DONE', '') + PW[: PW.index('Forces')], '2 frames'),
}

# Compressed files, archives and folders


def bomb(name: str, size: int, content: bytes = b'\0') -> Make:
    """Return a function that writes a compressed file of one byte, repeated."""
    pack: Any = gzip.compress if name.endswith('.gz') else partial(lzma.compress, preset=0)

    def make(folder: Path) -> list[str]:
        return file(name, pack(content * (size // len(content))))(folder)

    return make


def archive(name: str, *members: tuple[tarfile.TarInfo, bytes]) -> Make:
    """Return a function that writes a tar archive."""

    def make(folder: Path) -> list[str]:
        options: dict[str, Any] = {'mode': 'w:xz', 'preset': 0} if name.endswith('xz') else {'mode': 'w'}
        with tarfile.open(folder / name, **options) as target:
            for member, content in members:
                target.addfile(member, io.BytesIO(content))
        return ['data', 'import', str(folder / name), *END]

    return make


def member(
    name: str, content: bytes = b'', kind: bytes = tarfile.REGTYPE, link: str = ''
) -> tuple[tarfile.TarInfo, bytes]:
    """Return an entry of a tar archive."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    return info, content


def claims(size: int) -> Make:
    """Return a function that writes a tar archive whose header claims a size."""

    def make(folder: Path) -> list[str]:
        info = tarfile.TarInfo('a/phonopy_disp.yaml')
        info.size = size
        (folder / 'a.tar').write_bytes(info.tobuf() + b'x' * 512)
        return ['data', 'import', str(folder / 'a.tar'), *END]

    return make


def folder_of(**content: str | bytes | None) -> Make:
    """Return a function that makes a folder of files, ``None`` being a FIFO; ``__`` stands for a dot."""

    def make(folder: Path) -> list[str]:
        for name, data in content.items():
            path = folder / name.replace('__', '.')
            if data is None:
                os.mkfifo(path)
            else:
                path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return ['data', 'import', str(folder), *END]

    return make


def fifo(name: str) -> Make:
    """Return a function that makes a FIFO that nobody writes to."""

    def make(folder: Path) -> list[str]:
        os.mkfifo(folder / name)
        return ['data', 'import', str(folder / name), *END]

    return make


def hollow(kind: bytes, size: int, sparse: bool = False) -> Callable[[Path], list[str]]:
    """Return the maker of a tar archive with one entry of nothing but zeros, which takes no room."""

    def make(folder: Path) -> list[str]:
        entry = tarfile.TarInfo('a')
        entry.type, entry.size = kind, size
        if sparse:
            entry.pax_headers = {'GNU.sparse.major': '1', 'GNU.sparse.minor': '0'}
        head = entry.tobuf(tarfile.PAX_FORMAT)
        with (folder / 'a.tar').open('wb') as file:
            file.write(head)
            file.truncate(len(head) + size // 512 * 512 + 1536)
        return ['data', 'import', str(folder / 'a.tar'), *END]

    return make


FOLDER = member('a', kind=tarfile.DIRTYPE)
WIDE = varray('basis', '4 0 0', '0 4 0', '0 0 4')
FAR = step(place='0.4').replace('0.5 0.5 0.5', '0.7 0.7 0.7')
DISP = """phonopy:
  calculator: vasp
supercell_matrix:
- [ 1, 0, 0 ]
- [ 0, 1, 0 ]
- [ 0, 0, 1 ]
unit_cell:
  lattice:
  - [ 3.0, 0.0, 0.0 ]
  - [ 0.0, 3.0, 0.0 ]
  - [ 0.0, 0.0, 3.0 ]
  points:
  - symbol: Cu
    coordinates: [ 0.0, 0.0, 0.0 ]
    mass: 63.5
  - symbol: Cu
    coordinates: [ 0.5, 0.5, 0.5 ]
    mass: 63.5
"""
OTHERS = [
    Case('labels-xyz-bomb-xz', bomb('a.extxyz.xz', 60 * 2**20), 'bomb|larger'),
    Case('labels-xyz-bomb-gz', bomb('a.extxyz.gz', 60 * 2**20, b'\n'), 'bomb|larger'),
    Case('labels-xyz-bomb-of-frames', bomb('a.extxyz.gz', 60 * 2**20, TWO.encode()), 'bomb|larger'),
    Case('labels-vasprun-bomb-xz', bomb('vasprun.xml.xz', 60 * 2**20, b'<a/>'), 'bomb|larger'),
    Case('labels-pw-bomb-gz', bomb('pw.out.gz', 60 * 2**20, b'\n'), 'bomb|larger'),
    Case('labels-xz-is-no-xz', file('a.extxyz.xz', TWO), 'cannot be unpacked'),
    Case('labels-gz-is-no-gz', file('a.extxyz.gz', TWO), 'cannot be unpacked'),
    Case('labels-gz-cut-off', file('a.extxyz.gz', gzip.compress(TWO.encode())[:-12]), 'cut off'),
    Case('labels-xz-cut-off', file('a.extxyz.xz', lzma.compress(TWO.encode())[:-12]), 'cut off'),
    Case('labels-tar-bomb', archive('a.tar.xz', member('a/vasprun.xml', b'\0' * (60 * 2**20))), 'bomb'),
    Case('labels-tar-claims', claims(2**32), 'more than|damaged'),
    Case('labels-tar-many', archive('a.tar', *[FOLDER] * 10_100), 'more than 10000 files'),
    Case('labels-tar-is-no-tar', file('a.tar.xz', b'nothing' * 99), 'cannot be unpacked'),
    Case('labels-tar-empty', archive('a.tar.xz'), 'no phonopy or phono3py file'),
    Case('labels-tar-outside', archive('a.tar', member('../../code-ran', b'x')), 'no phonopy'),
    Case(
        'labels-tar-link',
        archive('a.tar', member('a/phonopy_disp.yaml', kind=tarfile.SYMTYPE, link='/etc/passwd')),
        'no phonopy',
    ),
    Case(
        'labels-tar-through-link',
        archive('a.tar', member('a', kind=tarfile.SYMTYPE, link='/tmp'), member('a/phonopy_disp.yaml', b'a: 1')),
        'phonopy|damaged',
    ),
    Case('labels-tar-hard-link', archive('a.tar', member('b', kind=tarfile.LNKTYPE, link='/etc/passwd')), 'no phonopy'),
    *(
        Case(f'labels-tar-long-{name}', hollow(kind, 900 * 2**20), 'headers of more than 1 MiB')
        for name, kind in {'name': tarfile.GNUTYPE_LONGNAME, 'link': tarfile.GNUTYPE_LONGLINK,
                           'header': tarfile.XHDTYPE, 'global': tarfile.XGLTYPE}.items()
    ),
    Case('labels-tar-sparse', hollow(tarfile.REGTYPE, 2**20, sparse=True), 'sparse file'),
    Case('labels-tar-old-sparse', hollow(tarfile.GNUTYPE_SPARSE, 2**20), 'sparse file'),
    Case('labels-tar-fifo', archive('a.tar', member('phonopy_disp.yaml', kind=tarfile.FIFOTYPE)), 'no phonopy'),
    Case('labels-tar-device', archive('a.tar', member('phonopy_disp.yaml', kind=tarfile.CHRTYPE)), 'no phonopy'),
    Case('labels-folder-empty', folder_of(), 'no phonopy or phono3py file'),
    Case('labels-folder-no-vasprun', folder_of(phonopy_disp__yaml=DISP), 'no vasprun files'),
    Case('labels-folder-bad-vasprun', folder_of(phonopy_disp__yaml=DISP, vasprun__xml='<a>'), 'cannot be read'),
    Case('labels-folder-fifo', folder_of(phonopy_disp__yaml=DISP, vasprun__xml=None), 'not a regular file'),
    Case('labels-folder-yaml-fifo', folder_of(phonopy_disp__yaml=None), 'not a regular file'),
    Case(
        'labels-folder-unconverged',
        folder_of(phonopy_disp__yaml=DISP, vasprun__xml=vasprun(step(scf=SCF * 60))),
        'did not converge',
    ),
    Case(
        'labels-folder-other-cell',
        folder_of(phonopy_disp__yaml=DISP, vasprun__xml=vasprun(step(basis=WIDE))),
        'another cell',
    ),
    Case(
        'labels-folder-other-atoms',
        folder_of(phonopy_disp__yaml=DISP, vasprun__xml=vasprun(*GOOD, elements=('Cu', 'Ag'))),
        'other atoms',
    ),
    Case(
        'labels-folder-one-site-twice',
        folder_of(phonopy_disp__yaml=DISP, vasprun__xml=vasprun(step().replace('0.5 0.5 0.5', '0.1 0 0'))),
        'on one site',
    ),
    Case(
        'labels-folder-moved-far',
        folder_of(phonopy_disp__yaml=DISP, vasprun__xml=vasprun(FAR)),
        'more than a third of the shortest bond',
    ),
    Case('labels-fifo-xyz', fifo('a.extxyz'), 'not a regular file'),
    Case('labels-fifo-xml', fifo('vasprun.xml'), 'not a regular file'),
    Case('labels-fifo-out', fifo('pw.out'), 'not a regular file'),
    Case('labels-fifo-tar', fifo('a.tar.xz'), 'not a regular file'),
    Case('labels-absent', lambda folder: ['data', 'import', str(folder / 'a.extxyz'), *END], 'there is no file'),
    Case('labels-unknown-kind', file('a.exe', TWO), 'unknown kind'),
    Case('labels-escape-in-name', file('a\x1b[2J.exe', TWO), 'unknown kind'),
    Case('labels-device', lambda _: ['data', 'import', '/dev/zero', *END], 'unknown kind'),
]  # fmt: skip

FILES = {'xyz': ('a.extxyz', XYZ), 'vasprun': ('vasprun.xml', VASP), 'pw': ('pw.out', OUT)}
TAKEN = {'xyz': ('a.extxyz', GOOD_XYZ), 'vasprun': ('vasprun.xml', GOOD_VASP), 'pw': ('pw.out', GOOD_OUT)}
CASES = [
    Case(f'labels-{kind}-{name}', file(path, content), says, fails, profile=True)
    for table, fails in ((FILES, True), (TAKEN, False))
    for kind, (path, contents) in table.items()
    for name, (content, says) in contents.items()
] + [Case(case.name, case.make, case.says, profile=True) for case in OTHERS]
