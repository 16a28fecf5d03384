"""Models, cards, overrides, things that are no files, and numbers out of bounds."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import pickle
import socket
import struct
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

from case import Case
from harness import CODE_RAN
from torch_files import Call, Global, Made, Raw, archive, mace, nequix, npy, opcodes, pickled, sevennet, tensor

SILICON = Path(__file__).parents[2] / 'aiida_equitrain' / 'resources' / 'structures' / 'Si.cif'
LABEL = ('launch', 'label', str(SILICON), '--overrides', '{}')
Make = Callable[[Path], list[str]]
IMPORT = ('potential', 'import', '{}')


def written(name: str, content: bytes | Callable[[], bytes], *arguments: str) -> Make:
    """Return a function that writes a file, and gives the arguments with the file's path for ``{}``."""

    def make(folder: Path) -> list[str]:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content())
        return [argument.replace('{}', str(folder / name)) for argument in arguments]

    return make


def fifo(*arguments: str) -> Make:
    """Return a function that makes a FIFO that nobody writes to."""

    def make(folder: Path) -> list[str]:
        os.mkfifo(folder / 'fifo')
        return [argument.replace('{}', str(folder / 'fifo')) for argument in arguments]

    return make


def in_folder(*arguments: str) -> Make:
    """Return a function that gives arguments, with the folder of the input for ``{}``."""
    return lambda folder: [argument.replace('{}', str(folder)) for argument in arguments]


def sparse(folder: Path) -> list[str]:
    """Make a file of a terabyte that takes no place."""
    with (folder / 'large.model').open('wb') as file:
        file.write(b'PK\x03\x04')
        file.truncate(10**12)
    return ['potential', 'import', str(folder / 'large.model')]


def listening(folder: Path) -> list[str]:
    """Make a socket."""
    with socket.socket(socket.AF_UNIX) as made, chdir(folder):  # paths of sockets are short
        made.bind('socket')
    return ['potential', 'import', str(folder / 'socket')]


def zipped(*files: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip archive, in which a name may come twice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', compression) as made:
        for name, content in files:
            made.writestr(name, content)
    return buffer.getvalue()


def lying(compressed: bytes, method: int) -> bytes:
    """Return an archive whose pickle is compressed, unpacks to far more than it says, and says 100 bytes."""
    content = bytearray(archive(compressed))
    for sign, at in ((b'PK\x03\x04', 8), (b'PK\x01\x02', 10)):
        start = content.index(sign)
        content[start + at : start + at + 2] = struct.pack('<H', method)
        size = start + at + 14
        content[size : size + 4] = struct.pack('<I', 100)
    return bytes(content)


def encrypted() -> bytes:
    """Return an archive whose pickle says that it is encrypted."""
    content = bytearray(mace())
    for sign, at in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)):
        content[content.index(sign) + at] |= 1
    return bytes(content)


def tarred() -> bytes:
    """Return a model in the format that PyTorch wrote before 2018."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as made:
        for name in ('sys_info', 'pickle', 'storages'):
            entry = tarfile.TarInfo(name)
            content = pickle.dumps(_Touch(), 2)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class _Touch:
    """Runs a command when it is unpickled the ordinary way."""

    def __reduce__(self) -> Any:
        return os.system, (f'touch {CODE_RAN}',)


SYSTEM = Global('os', 'system')
TOUCH = f'touch {CODE_RAN}'
LARGE = 2**21


def packed(pickle_: bytes) -> bytes:
    """Return an archive, compressed."""
    return archive(pickle_, compression=zipfile.ZIP_DEFLATED)


def laughs(depth: int = 40) -> Raw:
    """Return lists of the same list twice, so deep that their text would have 2**40 parts."""
    opcodes = b'](K\x01e'
    for _ in range(depth):
        opcodes = b'](' + opcodes + b'2e'
    return Raw(opcodes)


def called(function: Global, item: bytes, size: int, calls: int) -> bytes:
    """Return a model with a long list that is given to many calls."""
    args = b'](' + item * size + b'e\x85q\x01'
    return packed(b'\x80\x02(' + args + opcodes(function) + b'q\x02' + b'h\x02h\x01R' * calls + b't.')


def of_one_hash(number: int) -> bytes:
    """Return a model with a dictionary whose keys, pairs of numbers, all have the same hash."""
    size, first, second, start = 2**64, 11400714785074694791, 14029467366897019727, 2870177450012600261
    keys, left = [], 0
    while len(keys) < number:  # what CPython does with a tuple, and back from the end
        left += 1
        total = (start + left * second) % size
        right = (-((total << 31 | total >> 33) % size) * first) * pow(second, -1, size) % size
        right -= size if right >= size // 2 else 0
        if abs(right) < 2**61 - 1:
            keys.append(b'J' + struct.pack('<i', left) + b'\x8a\x08' + struct.pack('<q', right) + b'\x86N')
    return packed(b'\x80\x02}(' + b''.join(keys) + b'u.')


def shared(kind: str, size: int, modules: int) -> bytes:
    """Return a model with many modules that have one large dictionary in common."""
    large = b'}(' + b''.join(b'J' + struct.pack('<i', index) + b'N' for index in range(size)) + b'uq\x01'
    one = opcodes(Global('torch.nn', 'Module')) + b')\x81}(' + opcodes(kind) + b'h\x01ub'
    inner = b'}(' + b''.join(b'J' + struct.pack('<i', index) + one for index in range(modules)) + b'u'
    return mace(buffers={'large': Raw(large)}, state={'_modules': Raw(inner)})


def model_case(name: str, content: bytes | Callable[[], bytes], says: str, **values: Any) -> Case:
    """Return a case of `potential import`."""
    # The file's name is the label, which no other may bear.
    return Case(f'model-{name}', written(f'{name}.model', content, *IMPORT), says, profile=True, **values)


def weight(**changes: Any) -> bytes:
    """Return a MACE model with an odd tensor among its parameters."""
    return mace(parameters={'odd': tensor('2', 'DoubleStorage', 3, **changes)})


FILES = [
    Case('model-fifo', fifo(*IMPORT), 'not a regular file', profile=True),
    Case('model-folder', in_folder(*IMPORT), 'is a folder', profile=True),
    Case('model-device', in_folder('potential', 'import', '/dev/zero'), 'not a regular file', profile=True),
    Case('model-socket', listening, 'not a regular file', profile=True),
    Case('model-terabyte', sparse, 'larger than 512 MiB', profile=True),
    Case('model-absent', in_folder('potential', 'import', '{}/none.model'), 'there is no file', profile=True),
    Case('model-xz', written('a.model.xz', lzma.compress(b'\0' * 10**6), *IMPORT), 'is compressed', profile=True),
    Case('model-name-not-utf8', lambda folder: ['potential', 'import', os.fsdecode(bytes(folder) + b'/\xff.model')],
         'there is no file', profile=True),
]  # fmt: skip

ARCHIVES = [
    model_case('no-zip', b'nothing', 'no PyTorch model'),
    model_case('empty', b'', 'no PyTorch model'),
    model_case('cut', lambda: mace()[:-200], 'its zip archive is damaged'),
    model_case('legacy-pickle', lambda: pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(_Touch(), 2), 'no zip'),
    model_case('legacy-tar', tarred, 'no zip archive'),
    model_case('7z', b"7z\xbc\xaf'\x1c\0\4" + b'\0' * 100, 'no zip archive'),
    model_case('polyglot', lambda: pickle.dumps(_Touch(), 2) + mace(), 'no zip archive'),
    model_case('no-pickle', lambda: zipped(('model/data', b'')), 'no `data.pkl`'),
    model_case('two-pickles', lambda: zipped(('a/data.pkl', b'N.'), ('b/data.pkl', b'N.')), 'no `data.pkl`'),
    model_case('name-twice', lambda: zipped(('m/data.pkl', b'N.'), ('m/data.pkl', b'N.')), 'twice under one name'),
    model_case('name-in-two-cases', lambda: zipped(('m/data.pkl', b'N.'), ('M/DATA.PKL', b'')), 'twice under one name'),
    model_case('torchscript', lambda: archive(b'\x80\x02N.', {'constants.pkl': b'\x80\x02).', 'code/a.py': b''}),
               'TorchScript'),
    model_case('big-endian', lambda: archive(b'\x80\x02N.', {'byteorder2': b''}).replace(b'little', b'big   '),
               'damaged or encrypted'),
    model_case('many-files', lambda: zipped(*((f'm/{number}', b'') for number in range(20_001))), 'more than 20000'),
    model_case('encrypted', encrypted, 'damaged or encrypted'),
    model_case('wrong-checksum', lambda: mace().replace(b'ScaleShift', b'ScaleShaft', 1), 'damaged or encrypted'),
    model_case('bzip2-bomb', lambda: lying(bz2.compress(b'(' * 10**8), 12), 'compressed as PyTorch does not'),
    model_case('lzma-bomb', lambda: lying(b'\x09\x14\5\0' + lzma.compress(b'(' * 10**8, lzma.FORMAT_ALONE), 14),
               'compressed as PyTorch does not'),
    model_case('deflate-bomb', lambda: packed(b'(' * (2**26 + 1)), 'too large'),
]  # fmt: skip

CODE = [
    model_case('runs-reduce', lambda: archive(pickled({'a': Call(SYSTEM, (TOUCH,))})), 'only the weights'),
    model_case('runs-in-a-mace', lambda: mace(state={'x': Call(SYSTEM, (TOUCH,))}), 'Stored', fails=False),
    model_case('runs-root', lambda: archive(pickle.dumps(_Touch(), 2)), 'no supported model'),
    model_case('runs-protocol-5', lambda: archive(pickle.dumps(_Touch(), 5)), 'no supported model'),
    model_case('runs-protocol-0', lambda: archive(pickle.dumps(_Touch(), 0)), 'opcode that PyTorch does not write'),
    model_case('runs-inst', lambda: archive(f'(S{TOUCH!r}\nios\nsystem\n.'.encode()), 'opcode that PyTorch does not'),
    model_case('runs-obj', lambda: archive(b'(cos\nsystem\n' + b'X\x04\0\0\0trueo.'), 'opcode that PyTorch does not'),
    model_case('runs-extension', lambda: archive(b'\x80\x02\x82\x01.'), 'opcode that PyTorch does not write'),
    model_case('runs-getattr', lambda: archive(pickled(Call(Call(Global('builtins', 'getattr'), (
        SYSTEM, '__call__')), (TOUCH,)))), 'no supported model'),
    model_case('runs-eval', lambda: archive(pickled(Call(Global('builtins', 'eval'), ('1',)))), 'no supported model'),
    model_case('calls-a-text', lambda: archive(pickled(Call('text', ()))), 'calls something that is no function'),
    model_case('builds-a-list', lambda: archive(pickled(Raw(b']}b'))), 'gives a state to what has none'),
    model_case('state-of-a-function', lambda: archive(pickled(Made(Global('torch._utils', '_rebuild_tensor_v2'), {}))),
               'no supported model'),
]  # fmt: skip

BOMBS = [
    model_case('marks', lambda: packed(b'\x80\x02' + b'(' * LARGE), 'too long'),
    model_case('lists', lambda: packed(b'\x80\x02' + b']' * LARGE), 'too long'),
    model_case('sets', lambda: packed(b'\x80\x04' + b'\x8f' * LARGE), 'too long'),
    model_case('memo', lambda: packed(b'\x80\x04N' + b'\x94' * LARGE), 'too long'),
    model_case('memo-index', lambda: archive(b'\x80\x02Nr\xff\xff\xff\xff.'), 'holds a NoneType'),
    model_case('objects', lambda: packed(b'\x80\x02cmace\nA\nq\x00' + b'h\x00)\x81' * (LARGE // 4)), 'too long'),
    model_case('hash-of-laughs', lambda: archive(b'\x80\x02})' + b'2\x86' * 60 + b'Ns.'), 'key of an odd kind'),
    model_case('hash-of-the-deep', lambda: packed(b'\x80\x02})' + b'\x85' * 450_000 + b'Ns.'), 'key of an odd kind'),
    model_case('set-of-laughs', lambda: archive(b'\x80\x04\x8f()' + b'2\x86' * 60 + b'\x90.'), 'key of an odd kind'),
    model_case('deep-lists', lambda: packed(b'\x80\x02' + b']' * 200_000 + b"a" * 199_999 + b'.'), 'holds a list'),
    model_case('in-itself', lambda: archive(b'\x80\x02]q\x00h\x00a.'), 'holds a list'),
    model_case('bytearray', lambda: archive(b'\x80\x05\x96' + struct.pack('<Q', 2**33) + b'.'), 'opcode that PyTorch'),
    model_case('bytes', lambda: archive(b'\x80\x04\x8e' + struct.pack('<Q', 2**62) + b'.'), 'is damaged'),
    model_case('text', lambda: archive(b'\x80\x04\x8d' + struct.pack('<Q', 2**40) + b'.'), 'is damaged'),
    model_case('frame', lambda: archive(b'\x80\x04\x95' + struct.pack('<Q', 2**40) + b'.'), 'is damaged'),
    model_case('digits', lambda: archive(b'\x80\x02I' + b'9' * 10**6 + b'\n.'), 'opcode that PyTorch does not write'),
    model_case('long-number', lambda: archive(b'\x80\x02}\x8b' + struct.pack('<i', 2**20) + b'\x7f' * 2**20 + b'Ns.'),
               'too large'),
    model_case('no-end', lambda: archive(b'\x80\x02]'), 'is damaged'),
    model_case('stack-below', lambda: archive(b'\x80\x02R.'), 'is damaged'),
]  # fmt: skip

NUMBERS = [
    model_case(f'element-{number}', lambda number=number: mace((number,)), 'are no elements')
    for number in (0, -1, 119, 10**9, 2**62)
] + [
    model_case(f'cut-off-{value:g}', lambda value=value: mace(r_max=value), 'the cut-off of the model')
    for value in (float('nan'), float('inf'), -float('inf'), 0.0, -5.0, 1e30)
] + [
    model_case('many-elements', lambda: mace(tuple([14] * 200)), 'does not say which elements'),
    model_case('elements-of-nan', lambda: mace(buffers={'atomic_numbers': tensor('2', 'DoubleStorage', 3)}),
               'does not say which elements'),
    model_case('elements-strided', lambda: mace((14, 8), buffers={
        'atomic_numbers': tensor('0', 'LongStorage', 2, (2,), (0,))}), 'not contiguous'),
    model_case('two-cut-offs', lambda: mace(buffers={'r_max': tensor('2', 'DoubleStorage', 3)}), 'the cut-off of the'),
    model_case('no-cut-off', lambda: mace(buffers={'r_max': 5.0}), 'does not say'),
    model_case('shape-huge', lambda: weight(shape=(2**62, 2**62)), 'a shape that is none'),
    model_case('shape-large', lambda: weight(shape=(2**30, 2**30)), 'larger than any can be'),
    model_case('shape-negative', lambda: weight(shape=(-3,)), 'a shape that is none'),
    model_case('shape-nested', lambda: weight(shape=((1, (2,)),), strides=(1,)), 'a shape that is none'),
    model_case('shape-many', lambda: weight(shape=(1,) * 100), 'a shape that is none'),
    model_case('shape-list', lambda: weight(shape=[3]), 'a shape that is none'),
    model_case('offset-negative', lambda: weight(offset=-1), 'a shape that is none'),
    model_case('offset-beyond', lambda: weight(offset=10**9), 'shorter than it says'),
    model_case('storage-short', lambda: weight(shape=(10**6,)), 'shorter than it says'),
    model_case('storage-absent', lambda: mace(parameters={'odd': tensor('77', 'DoubleStorage', 3)}), 'shorter than it'),
    model_case('storage-elsewhere', lambda: mace(parameters={'odd': tensor('../../x', 'DoubleStorage', 3)}), 'shorter'),
    model_case('storage-complex', lambda: mace(parameters={'odd': tensor('2', 'ComplexDoubleStorage', 3)}),
               'unknown number type'),
    model_case('parameters-of-integers', lambda: mace(parameters={'weight': tensor('0', 'LongStorage', 1)}),
               'number types'),
    model_case('no-parameters', lambda: mace(state={'_parameters': {}}), 'has no parameters'),
    model_case('persistent-nonsense', lambda: archive(pickled(Raw(b'X\x01\0\0\0xQ'))), 'no tensor'),
]  # fmt: skip

NAMES = [
    model_case('heads-nested', lambda: mace(state={'heads': [[['a']]]}), 'are no names'),
    model_case('heads-laugh', lambda: mace(state={'heads': laughs()}), 'are no names'),
    model_case('heads-many', lambda: mace(state={'heads': [f'h{number}' for number in range(2000)]}), 'too many heads'),
    model_case('heads-steer', lambda: mace(state={'heads': ['a\x1b]0;title\x07', 'b']}), 'odd names of heads'),
    model_case('heads-long', lambda: mace(state={'heads': ['a' * 10**6]}), 'are no names'),
    model_case('heads-number', lambda: mace(state={'heads': 5}), 'are no names'),
    model_case('class-steers', lambda: archive(b'\x80\x04\x8c\x04mace\x8c\x09A\x1b[31m\n\xc2\x9b\x93)\x81.'), 'odd'),
    model_case('class-long', lambda: archive(pickled(Made(Global('mace', 'A' * 10**5), {}))), 'odd name'),
    model_case('other-class', lambda: archive(pickled(Made(Global('torch.nn', 'Linear'), {}))), 'no supported model'),
    model_case('state-is-a-tuple', lambda: archive(pickled(Made(Global('mace.m', 'M'), ({}, {})))), 'does not say'),
    model_case('state-is-laughs', lambda: archive(pickled(Made(Global('mace.m', 'M'), laughs()))), 'does not say'),
    model_case('calls-with-one-list', lambda: called(Global('collections', 'OrderedDict'), b'K\x01N\x86', 50_000, 500),
               'is too long'),
    model_case('calls-with-one-set', lambda: called(Global('builtins', 'set'), b'K\x01', 50_000, 50_000), 'is too lon'),
    model_case('keys-of-one-hash', lambda: of_one_hash(50_000), 'only the weights'),
    model_case('modules-share-parameters', lambda: shared('_parameters', 50_000, 20_000), 'more than those of any'),
    model_case('modules-share-modules', lambda: shared('_modules', 50_000, 20_000), 'more than those of any'),
    model_case('cuequivariance', lambda: mace(state={'x': Made(Global('cuequivariance_torch.primitives', 'T'), {})}),
               'needs the package `cuequivariance_torch`'),
    model_case('weights-only', lambda: archive(pickled({'w': tensor('0', 'FloatStorage', 1)})), 'only the weights'),
]  # fmt: skip

SEVENNET = [
    model_case(f'sevennet-{name}', lambda config=config: sevennet(**config), says)
    for name, config, says in (
        ('nan', {'cutoff': float('nan')}, 'does not say its cutoff'),
        ('inf', {'cutoff': float('inf')}, 'does not say its cutoff'),
        ('negative', {'cutoff': -1.0}, 'does not say its cutoff'),
        ('huge', {'cutoff': 10**400}, 'does not say its cutoff'),
        ('text', {'cutoff': '5'}, 'does not say its cutoff'),
        ('elements', {'_type_map': {10**9: 0}}, 'which elements'),
        ('element-0', {'_type_map': {0: 0}}, 'which elements'),
        ('elements-nested', {'_type_map': [[14]]}, 'which elements'),
        ('type', {'_model_type': 'E3\x1b[2J'}, 'type of its model'),
        ('type-laughs', {'_model_type': laughs()}, 'type of its model'),
        ('modalities', {'use_modality': True}, 'modalities'),
        ('accelerated', {'cuequivariance_config': {'use': True}}, 'cuEquivariance'),
    )
] + [
    model_case('sevennet-shape', lambda: sevennet({'w': tensor('0', 'FloatStorage', 3, (10**9,))}), 'shorter than it'),
    model_case('sevennet-no-tensors', lambda: sevennet({}), 'has no tensors'),
]  # fmt: skip

NEQUIX = [
    model_case(f'nequix-{name}', content, says)
    for name, content, says in (
        ('deep', b'[' * 10**6, 'no PyTorch model'),
        ('deep-object', b'{"a": ' + b'[' * 10**5 + b'\n', 'nests deeper'),
        ('no-end', b'{' + b'"a": 1, ' * 10**6, 'no settings'),
        ('digits', b'{"lmax": ' + b'9' * 5000 + b'}\n', 'digits'),
        ('layers', nequix(n_layers=10**9), '`n_layers`'),
        ('layers-100', nequix(n_layers=100), 'missing'),
        ('degree', nequix(lmax=10**6), '`lmax`'),
        ('channels', nequix(hidden_irreps='99999x0e'), 'more channels'),
        ('channels-many', nequix(hidden_irreps=' + '.join(['1x0e'] * 10**5)), 'one kind for each degree'),
        ('channels-steer', nequix(hidden_irreps='\x1b[2J'), 'no number of channels'),
        ('elements', nequix(atomic_numbers=[14] * 10**5), 'not in their order'),
        ('elements-nested', nequix(atomic_numbers=[[14]]), 'which elements'),
        ('cutoff-inf', nequix(cutoff=float('inf')), '`cutoff`'),
        ('cutoff-huge', nequix(cutoff=10**300), '`cutoff`'),
        ('energies-nan', nequix(atom_energies={'14': float('nan')}), 'energies of its atoms'),
        ('no-arrays', nequix(b''), 'missing'),
        ('terabyte', nequix(npy('(1000000000000,)')), 'by its settings'),
        ('shape-code', nequix(npy('(__import__("os"),)')), 'no array of numbers'),
        ('objects', nequix(npy('(1,)', "'|O'", b'cos\nsystem\n.')), 'no array of numbers'),
        ('long-description', nequix(npy('(1,' + ' ' * 65000 + ')')), 'no array of numbers'),
        ('cut-off', nequix()[:-2], 'shorter than it says'),
    )
]  # fmt: skip

HARMLESS = [
    model_case('harmless-mace', lambda: mace(name='MACE'), 'Stored', fails=False),
    model_case('harmless-sevennet', lambda: sevennet(version='0.9'), 'Stored', fails=False),
    model_case('harmless-nequix', nequix, 'Stored', fails=False),
    model_case('harmless-head', lambda: mace(state={'heads': ['Default']}), 'Stored', fails=False),
]


def card_case(name: str, content: bytes, says: str) -> Case:
    """Return a case of `potential import --card`."""

    def make(folder: Path) -> list[str]:
        (folder / 'a.model').write_bytes(mace())
        (folder / 'card.json').write_bytes(content)
        return ['potential', 'import', str(folder / 'a.model'), '--label', name, '--card', str(folder / 'card.json')]

    return Case(f'potential-card-{name}', make, says, profile=True)


CARDS = [
    card_case('deep', b'[' * 10**5, 'nests deeper'),
    card_case('no-end', b'["' + b'\\"[' * 300_000, 'nests deeper|no end'),
    card_case('digits', b'{"a": ' + b'9' * 5000 + b'}', 'digits'),
    card_case('large', b'[' + b'1,' * 2**20 + b'1]', 'larger than'),
    card_case('no-json', b'{', 'no JSON'),
    card_case('no-text', b'\xff\xfe', 'not UTF-8'),
    card_case('list', b'[]', 'of the form'),
    card_case('nested-finetune', b'{"finetune": {"l2-tsp": [1]}}', 'of the form'),
    Case(
        'potential-card-fifo',
        fifo('potential', 'import', '/dev/null', '--card', '{}'),
        'not a regular file',
        profile=True,
    ),
]


def overrides_case(name: str, content: bytes, says: str, file: str = 'o.yaml') -> Case:
    """Return a case of `--overrides`."""
    return Case(f'overrides-{name}', written(file, content, *LABEL), says,
                profile=True)  # fmt: skip


ALIASES = b'a: &a [1,1,1,1,1,1,1,1,1,1]\n' + b''.join(
    b'%c: &%c [%s]\n' % (name, name, b','.join([b'*%c' % (name - 1)] * 10)) for name in range(ord('b'), ord('q'))
)
OVERRIDES = [
    overrides_case('runs', f'a: !!python/object/apply:os.system ["{TOUCH}"]'.encode(), 'YAML tag'),
    overrides_case('runs-new', f'!!python/object/new:os.system ["{TOUCH}"]'.encode(), 'YAML tag'),
    overrides_case('module', b'a: !!python/module:os', 'YAML tag'),
    overrides_case('aliases', ALIASES, 'aliases'),
    overrides_case('in-itself', b'a: &a [*a]', 'where it is used'),
    overrides_case('deep', b'[' * 10**5, 'nest'),
    overrides_case('no-yaml', b'a: [1', 'not valid YAML'),
    overrides_case('two-documents', b'a: 1\n---\nb: 2', 'more than one'),
    overrides_case('key-twice', b'a: 1\na: 2', 'twice'),
    overrides_case('list', b'- 1', 'keys and values'),
    overrides_case('number', b'1', 'keys and values'),
    overrides_case('no-text', b'a: \xff\xfe\xfa', 'not valid YAML|not UTF-8|no text'),
    overrides_case('steers', b'a: "\x1b]0;x\x07', 'not valid YAML'),
    overrides_case('large', b'a: ' + b'x' * 2**21, 'larger than'),
    overrides_case('bomb', lzma.compress(b'a: 1\n' * 10**7), 'larger than|a bomb', 'o.yaml.xz'),
    overrides_case('json-deep', b'{"a":' * 10**5, 'nests deeper', 'o.json'),
    overrides_case('json-digits', b'{"a":' + b'1' * 5000 + b'}', 'digits', 'o.json'),
    overrides_case('json-list', b'[1]', 'keys and values', 'o.json'),
    overrides_case('json-cut', b'{"a"', 'cannot be read as JSON', 'o.json'),
    Case('overrides-fifo', fifo(*LABEL), 'not a regular file', profile=True),
    Case('overrides-folder', in_folder(*LABEL), 'is a directory', profile=True),
]  # fmt: skip


def command(name: str, says: str, *arguments: str, profile: bool = True) -> Case:
    """Return a case of arguments that are out of bounds."""
    return Case(f'command-{name}', in_folder(*arguments), says, profile=profile)


#: Of no node, whatever the profile holds.
HUGE = '9' * 25
COMMANDS = [
    command('follow', 'there is no job', 'launch', 'follow', HUGE),
    command('follow-2-63', 'there is no job', 'launch', 'follow', str(2**63)),
    command('show', 'there is no node', 'show', HUGE),
    command('report', 'there is no node', 'report', HUGE),
    command('publish', 'there is no node', 'publish', HUGE),
    command('potential-show', 'there is no potential', 'potential', 'show', HUGE),
    command('potential-export', 'there is no potential', 'potential', 'export', HUGE, '{}/x.model'),
    command('list', 'is not in the range', 'list', 'potentials', '--foundation', HUGE),
    command('limit', 'is not in the range|up to', 'list', 'potentials', '--limit', HUGE),
    command('finetune', 'there is no', 'launch', 'finetune', HUGE),
    command('structure', 'neither a file nor|is no|there is no', 'launch', 'phonons', HUGE),
    command('seed', 'is not in the range', 'launch', 'finetune', HUGE, '--seed', str(2**64)),
    command('seed-negative', 'is not in the range', 'launch', 'finetune', HUGE, '--seed', '-1'),
    command('seed-text', 'is not a valid int', 'launch', 'finetune', HUGE, '--seed', '1e3'),
    command('seeds', 'between 0 and', 'launch', 'study', HUGE, '--seeds', f'1,{2**64}'),
    command('sizes', 'between 0 and', 'launch', 'study', HUGE, '--sizes', '-5'),
    command('import-seed', 'is not in the range', 'data', 'import', 'x', '--functional', 'PBE', '--seed', HUGE),
    command('mesh', 'is not in the range', 'compare', 'a', 'b', '--mesh', '1', '1', str(10**9), profile=False),
    command('report-below-a-file', 'is no folder', 'launch', 'finetune', HUGE, '--report', '/etc/passwd/x'),
    command('figure-nowhere', 'there is no folder', 'launch', 'qha', HUGE, '--figure', '{}/none/x.png'),
    command('figure-folder', 'no regular file', 'launch', 'kappa', HUGE, '--figure', '{}'),
    command('figure-device', 'no regular file', 'launch', 'instability', HUGE, '--figure', '/dev/full'),
    command('no-profile', 'no AiiDA profile', '-p', 'none', 'list', 'potentials'),
    command('no-command', 'there is no command', 'nothing', profile=False),
    command('no-job', 'there is no job', 'launch', 'follow', 'x' * 1000),
]

CASES = [
    *FILES, *ARCHIVES, *CODE, *BOMBS, *NUMBERS, *NAMES, *SEVENNET, *NEQUIX, *HARMLESS, *CARDS, *OVERRIDES, *COMMANDS,
]  # fmt: skip
