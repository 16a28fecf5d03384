"""Nodes whose every word is hostile, as an archive of a stranger may bring them, on pages and on the terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from case import Case

MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'
FRAMES = Path(__file__).parents[1] / 'fixtures' / 'si8_pbe.npz'

#: What a label, a name, a message may be.
TEXTS = {
    'colour': '\x1b[31m\x1b[8mhidden',
    'clear': '\x1b[2J\x1b[Hgone',
    'title': '\x1b]0;owned\x07\x1b]52;c;cm0gLXJm\x07',
    'link': '\x1b]8;;http://127.0.0.1:9/\x1b\\link\x1b]8;;\x1b\\',
    'c1': '\x9b31m\x9d0;owned\x9c\x90',
    'lines': 'x\r\nError: all is well\nStored\x0b\x0c\x85\u2028\u2029',
    'bidi': '\u202elacidem\u202c\u2066x\u2069\u200f',
    'unseen': '\u200b\u200d\ufeff\u00ad\u2060\U000e0041',
    'back': 'good\x08\x08\x08\x08evil\x7f',
    'script': '<script>document.title="ran"</script>',
    'tag': '"><img src=x onerror="document.title=\'ran\'"><svg onload=alert(1)>',
    'end': '</script></style></title><script>document.title="ran"</script><!--',
    'quote': '\' onmouseover=\'document.title="ran"\' x="` ',
    'template': '{{ 7 * 7 }}{% raw %}{# ${7*7} %s %(x)s {0}',
    'math': '$\\frac{1}{$ \\$ $_{^{x}} $$ \\n \\N{BELL}',
    'markup': '[red]x[/red][/][link=file:///etc/passwd]y[/link] :warning:',
    'address': 'javascript:document.title="ran"',
    'long': 'ab ' * 20000,
}
#: All of them in one.
ALL = ''.join(text for name, text in TEXTS.items() if name != 'long')
#: No character of theirs reaches the terminal that steers it or hides: of such only the ends of our lines are there.
CLEAN = r'\A[^\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0041]*\Z'


def _dataset(text: str) -> Any:
    from aiida_equitrain.data.dataset import DatasetData
    from aiida_equitrain.science.frames import Frames

    node = DatasetData(Frames.load(FRAMES), functional='PBE').store()
    return _altered(node, text, functional=text, code=text, licence=text, source={'uri': text})


def _potential(text: str) -> Any:
    from aiida_equitrain.data.potential import PotentialData

    node = PotentialData(MODEL).store()
    card = {'name': text, 'description': text, 'licence': text, 'citation': text}
    return _altered(node, text, card=card, origin=text, architecture=text)


def _altered(node: Any, text: str, **attributes: Any) -> Any:
    """Return a stored node with attributes that nobody has checked, as an archive brings them."""
    for name, value in attributes.items():
        node.backend_entity.set_attribute(name, value)
    node.label, node.description = text[:200], text
    return node


def _structure() -> Any:
    from aiida.orm import StructureData
    from ase.build import bulk

    return StructureData(ase=bulk('Si'))


def _process(name: str, text: str, inputs: dict[str, Any], outputs: dict[str, Any], failed: bool = False) -> Any:
    """Return a WorkChain that has ended."""
    from aiida import orm
    from aiida.common.links import LinkType

    node = orm.WorkChainNode(process_type=f'aiida.workflows:equitrain.{name}')
    node.set_process_label(text)
    for label, data in inputs.items():
        node.base.links.add_incoming(data.store(), LinkType.INPUT_WORK, label)
    node.store()
    for label, data in outputs.items():
        data.store().base.links.add_incoming(node, LinkType.RETURN, label)
    node.set_process_state('finished')
    node.set_exit_status(400 if failed else 0)
    node.set_exit_message(text)
    node.label = text[:200]
    return node


def _bands(text: str) -> Any:
    from aiida.orm import ArrayData

    node, line = ArrayData(), np.linspace(0, 1, 5)
    node.set_array('distances', line)
    node.set_array('segment_starts', np.array([0]))
    node.set_array('labels', np.array([[text, 'X']]))
    for side in ('reference', 'finetuned'):
        node.set_array(f'frequencies_{side}', np.stack([line, 2 * line], 1))
    return node


def material(text: str) -> Any:
    """Return a main job that failed with a message, and has results all the same."""
    from aiida import orm

    training = {
        'strategy': text, 'best_epoch': text, 'epochs': 2, 'threads': text, 'device_name': text,
        'versions': {text: text}, 'warnings': [text], 'worse_than_foundation': {text: [text]},
        'errors': {'after': {'train': {'forces_mae_mev_per_angstrom': 1.0}}},
    }  # fmt: skip
    comparison = {'reference': {'max_frequency_thz': 1.0}, 'mesh': [text], 'temperature_k': 300.0, 'candidates': {
        'finetuned': {'phonon_mae_thz': 0.1, 'max_frequency_thz': text}}}  # fmt: skip
    inputs = {
        'structure': _structure(), 'foundation': _potential(text), 'finetune__train__strategy': orm.Str(text),
        'finetune__train__seed': orm.Int(1), 'finetune__train__hyperparameters': orm.Dict({'lr': text}),
        'dataset': _dataset(text),
    }  # fmt: skip
    outputs = {'summary': orm.Dict(training), 'comparison': orm.Dict(comparison), 'bands': _bands(text)}
    return _process('material', text, inputs, outputs, failed=True)


def instability(text: str) -> Any:
    """Return a search for phases whose names are hostile."""
    from aiida import orm

    phase = {'space_group': text, 'parent': 'root', 'energy_below_root_mev_per_atom': 1.0, 'dynamically_stable': None,
             'qpoint_name': text, 'qpoint_text': text, 'irrep': text, 'mode': 0}  # fmt: skip
    root = {**phase, 'parent': None, 'space_group': 'P1', 'energy_below_root_mev_per_atom': 0.0}
    entry = {'parent': text, 'mode': 0, 'frequency_thz': -1.0, 'n_atoms': 2, 'amplitudes_angstrom': [0.0, 0.1, 0.2],
             'direction': [1.0], 'qpoint_name': text, 'qpoint_text': text, 'irrep': text}  # fmt: skip
    well = {'reach_angstrom': 1.0, 'powers': [2], 'coefficients': [-1.0], 'energies_ev': [0.0, -0.1, -0.2],
            'depth_mev_per_atom': 1.0, 'depth_ev': 0.1, 'minimum_angstrom': 0.1}  # fmt: skip
    outputs = {
        'tree': orm.Dict({'phases': {'root': root, text: phase}}),
        'modes__level_0': orm.Dict({'entries': [entry]}),
        'wells__level_0': orm.Dict({'entries': [well]}),
    }
    return _process('instability', text, {'structure': _structure()}, outputs)


def study(text: str) -> Any:
    """Return a study of a crystal whose name is hostile."""
    import pandas as pd
    from aiida import orm

    row = {'material': text, 'strategy': text, 'n_train': 2, 'seed': 1, 'phonon_mae_thz': 0.1,
           'foundation_phonon_mae_thz': 0.2, 'symfc_phonon_mae_thz': 0.3, 'process_uuid': material(text).uuid,
           'potential_uuid': text, 'train_core_seconds': 1.0}  # fmt: skip
    rows = [{**row, 'state': 'failed', 'reason': text}, {**row, 'seed': 2, 'state': text, 'reason': text}]
    group = {'strategy': text, 'n_train': 2, 'phonon_mae_thz': {'mean': {'value': 0.1, 'low': 0.1, 'high': 0.2}}}
    aggregates = {'strategies': [group], 'foundation': {}, 'symfc': {}, 'n_materials': 1, 'n_rows': 2, 'n_failed': 1,
                  'confidence': 0.95, 'cost': {'label_over_dft': {'value': None}}}  # fmt: skip
    table = io.BytesIO(pd.DataFrame(rows).to_csv(index=False).encode())
    inputs = {
        'foundation': _potential(text), 'strategies': orm.Dict({text.replace('.', ''): {}}),
        'settings': orm.Dict({'sizes': [text], 'seeds': [text]}),
    }  # fmt: skip
    outputs = {'aggregates': orm.Dict(aggregates), 'table': orm.SinglefileData(table, filename='table.csv')}
    return _process('study', text, inputs, outputs)


def odd(name: str, **outputs: Any) -> Callable[[str], Any]:
    """Return a maker of a job whose results are of another form than ours."""

    def make(text: str) -> Any:
        from aiida import orm

        inputs = {'structure': _structure(), 'foundation': _potential(text), 'train__strategy': orm.Str(text),
                  'train__seed': orm.Int(1), 'strategies': orm.Dict({}), 'settings': orm.Dict({})}  # fmt: skip
        made = {label: orm.Dict(value) if isinstance(value, dict) else orm.SinglefileData(io.BytesIO(value))
                for label, value in outputs.items()}  # fmt: skip
        return _process(name, text, inputs, made)

    return make


@cache
def _pk(make: Callable[[str], Any], text: str) -> int:
    return int(make(text).pk)


def _of(make: Callable[[str], Any], text: str, *arguments: str) -> Callable[[Path], list[str]]:
    """Return what makes a node and names it in the arguments."""

    def function(folder: Path) -> list[str]:
        pk = _pk(make, text)
        return [argument.replace('PK', str(pk)) for argument in arguments]

    return function


REPORTS = {'material': material, 'instability': instability, 'study': study}
ODD = {
    'no-numbers': odd('material', comparison={'candidates': {'finetuned': {'phonon_mae_thz': ['x']}}}),
    'no-candidates': odd('material', comparison={'candidates': 'x'}),
    'no-errors': odd('finetune', summary={'errors': [1, 2]}),
    'no-bands': odd('material', bands={'x': 1}, summary={'forgetting': 'x'}),
    'no-phases': odd('instability', tree={'phases': ['x']}),
    'no-phase': odd('instability', tree={'phases': {'x': None}}),
    'no-tree': odd('instability', tree={'x': 1}),
    'no-curves': odd('qha', qha={'x': 1}),
    'no-modes': odd('kappa', kappa={'temperatures_k': 'x'}),
    'no-table': odd('study', aggregates={}, table=b'\x00\xff'),
    'no-columns': odd('study', aggregates={}, table=b'a,b\n1,2\n'),
    'no-aggregates': odd('study', aggregates={'x': 1}, table=b'material,strategy\nSi,x\n'),
}
#: Attributes of another form than ours.
WRONG: dict[str, dict[str, Any]] = {
    'card': {'card': 'x'},
    'numbers': {'n_parameters': 'many', 'n_bytes': [1], 'cutoff': {}},
    'elements': {'elements': 5, 'heads': None},
    'kind': {'kind': ['x'], 'family': {'x': 1}},
}


def _wrong_potential(text: str) -> Any:
    node = _potential(text)
    for name, value in WRONG[text].items():
        node.backend_entity.set_attribute(name, value)
    return node


def _wrong_dataset(text: str) -> Any:
    return _altered(_dataset(text), text, n_frames='many', formulas=5, n_train=[1], max_atoms=2**70, source='x')


def _wrong_training(text: str) -> Any:
    from aiida import orm
    from aiida.common.links import LinkType

    job = orm.CalcJobNode(process_type='aiida.calculations:equitrain.train')
    for label, data in {'dataset': _wrong_dataset(text), 'strategy': orm.Dict({'value': [1]}).store()}.items():
        job.base.links.add_incoming(data, LinkType.INPUT_CALC, label)
    job.store()
    summary = orm.Dict({'errors': {'after': {'valid': {'forces_mae_mev_per_angstrom': 'x'}}}})
    for label, data in {'summary': summary, 'potential': _unstored()}.items():
        data.base.links.add_incoming(job, LinkType.CREATE, label)
        data.store()
    return data


def _unstored() -> Any:
    from aiida_equitrain.data.potential import PotentialData

    return PotentialData(MODEL)


def _card(folder: Path, text: str) -> list[str]:
    path = folder / 'card.json'
    path.write_text(text, encoding='utf-8')
    return ['potential', 'import', str(MODEL), '--label', 'card', '--card', str(path)]


#: Cards, and what is said of them.
CARDS: dict[str, tuple[str, str]] = {
    'no-json': (ALL, 'is no JSON'),
    'no-number': ('{"a": NaN}', 'finite numbers'),
    'infinite': ('{"a": -Infinity, "b": 1e999}', 'finite numbers'),
    'list': ('["name"]', 'of the form'),
    'strategy': (json.dumps({'finetune': {ALL: {}}}), 'of the card'),
    'finetune': ('{"finetune": {"lora": ["lr"]}}', 'strategy: {hyperparameter: value}'),
}


SENTENCE = 'are not of the form that aiida-equitrain gives them, so that there is no page|has no `'

CASES = [
    *(Case(f'show-dataset-{name}', _of(_dataset, text, 'show', 'PK'), CLEAN, fails=False, profile=True)
      for name, text in TEXTS.items()),
    *(Case(f'show-potential-{name}', _of(_potential, text, 'potential', 'show', 'PK'), CLEAN, fails=False, profile=True)
      for name, text in TEXTS.items() if name != 'long'),
    *(Case(f'show-job-{name}', _of(material, TEXTS[name], 'show', 'PK'), CLEAN, fails=False, profile=True)
      for name in ('clear', 'lines', 'bidi')),
    *(Case(f'follow-job-{name}', _of(material, TEXTS[name], 'launch', 'follow', 'PK'), CLEAN, profile=True)
      for name in ('clear', 'lines', 'bidi', 'markup')),
    *(Case(f'list-{name}-{style or "table"}', _of(make, ALL, 'list', name, *style.split()), CLEAN, False, profile=True)
      for name, make in {'datasets': _dataset, 'potentials': _potential, 'instabilities': instability,
                         'studies': study}.items() for style in ('', '--csv', '--json')),
    *(Case(f'report-{name}', _of(make, ALL, 'report', 'PK', '-o', 'page'), CLEAN, fails=False, profile=True)
      for name, make in REPORTS.items()),
    *(Case(f'report-{name}-long', _of(make, TEXTS['long'], 'report', 'PK', '-o', 'page'), CLEAN, False, profile=True)
      for name, make in REPORTS.items()),
    *(Case(f'report-{name}', _of(make, ALL, 'report', 'PK', '-o', 'page'), SENTENCE, profile=True)
      for name, make in ODD.items()),
    *(Case(f'show-wrong-{name}', _of(_wrong_potential, name, 'show', 'PK'), CLEAN, False, profile=True)
      for name in WRONG),
    *(Case(f'potential-show-wrong-{name}', _of(_wrong_potential, name, 'potential', 'show', 'PK'),
           'no potential of ours|does not hold its file', profile=True) for name in WRONG),
    Case('show-wrong-dataset', _of(_wrong_dataset, 'x', 'show', 'PK'), 'not of the form', False, profile=True),
    Case('show-wrong-training', _of(_wrong_training, 'x', 'show', 'PK'), CLEAN, False, profile=True),
    Case('list-wrong-training', _of(_wrong_training, 'x', 'list', 'potentials', '--max-error', '1'), CLEAN, False,
         profile=True),
    Case('list-wrong-datasets', _of(_wrong_training, 'x', 'list', 'datasets'), 'many', False, profile=True),
    Case('report-of-data', _of(_dataset, ALL, 'report', 'PK'), 'a report is made of', profile=True),
    Case('potential-export-nowhere', _of(_potential, 'x', 'potential', 'export', 'PK', '/none/x.model'),
         'there is no folder', profile=True),
    Case('show-nothing', lambda _: ['show', ALL], 'there is no node', profile=True),
    *(Case(f'card-of-{name}', partial(_card, text=text), says, profile=True) for name, (text, says) in CARDS.items()),
    Case('file-name', lambda folder: _model(folder, '\x1b[2J\n\u202e.model'), 'is no potential', profile=True),
    Case('file-name-bytes', lambda folder: _model(folder, '\udcff.model'), 'is no potential', profile=True),
]  # fmt: skip


def _model(folder: Path, name: str) -> list[str]:
    path = folder / name
    path.write_bytes(b'no model')
    return ['potential', 'import', str(path)]
