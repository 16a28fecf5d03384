"""What `--help` and the documentation say of the protocols is what they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ase.build import bulk
from click.testing import CliRunner

from aiida_equitrain.cli.root import cmd_root
from aiida_equitrain.common.phonon_settings import SYMPREC
from aiida_equitrain.launch.plan import _stage, displaced_supercells, phonon_of
from aiida_equitrain.science.supercells import supercell_rows
from aiida_equitrain.workflows.finetune import FinetuneWorkChain
from aiida_equitrain.workflows.label.workchain import LabelWorkChain
from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain
from aiida_equitrain.workflows.qha import QHAWorkChain

FOLDER = Path(LabelWorkChain.get_protocol_filepath()).parent
CHOOSING = Path(__file__).parents[2] / 'docs' / 'topics' / 'choosing.md'
EDGE = 'min_length_angstrom'


def descriptions(name: str) -> dict[str, str]:
    """Return the descriptions of a file of protocols."""
    content = yaml.safe_load((FOLDER / f'{name}.yaml').read_text(encoding='utf-8'))
    return {protocol: values['description'] for protocol, values in content['protocols'].items()}


@pytest.mark.parametrize('protocol', ['fast', 'balanced', 'stringent', 'paper'])
def test_numbers_of_the_main_job(protocol: str) -> None:
    """Frames, atoms, edges and epochs are those of the stages."""
    label, phonons = (chain.get_protocol_inputs(protocol) for chain in (LabelWorkChain, PhononsWorkChain))
    training = FinetuneWorkChain.get_protocol_inputs(protocol)['train']['hyperparameters']
    frames = len(label['rattle']['volume_changes']) * label['selection']['frames_per_trajectory']
    cells = f'in cells of {label["rattle"][EDGE]:g} Å'
    expected = [
        f'{frames} frames ' + (f'of up to {label["max_atoms"]} atoms' if protocol == 'fast' else cells),
        f'phonons in cells of {phonons["settings"][EDGE]:g} Å',
        f'{training["epochs"]} epochs',
    ]
    text = descriptions('material')[protocol]
    assert [words for words in expected if words not in text] == []
    assert ('in float64' in text) == (training.get('dtype') == 'float64')
    if protocol == 'paper':
        assert f'{label["selection"]["n_train"]} of which train' in text


@pytest.mark.parametrize(('name', 'chain'), [('phonons', PhononsWorkChain), ('qha', QHAWorkChain)])
def test_edges(name: str, chain: Any) -> None:
    """A description that names an edge names the right one."""
    for protocol, text in descriptions(name).items():
        edges = [float(edge) for edge in re.findall(r'[Cc]ells of (\d+) Å', text)]
        assert edges in ([], [chain.get_protocol_inputs(protocol)['settings'][EDGE]]), (protocol, text)


@pytest.mark.real
@pytest.mark.parametrize('protocol', ['fast', 'balanced', 'stringent'])
def test_hours(protocol: str, make_material_builder: Any) -> None:
    """The core hours of silicon are those of the estimate: frames times one of them, and the displacements."""
    inputs = make_material_builder(protocol=protocol)._inputs(prune=True)
    label, dft = inputs['label'], inputs['dft_phonons']
    silicon = inputs['structure'].get_ase()
    frames = int(re.findall(r'(\d+) frames', descriptions('material')[protocol])[0])
    frame = bulk('Si', a=silicon.get_volume() ** (1 / 3) * 4 ** (1 / 3), cubic=True) * (2, 2, 2)
    frame.rattle(0.1, seed=1)
    seconds = frames * _stage(label['pw'], [frame])['core_seconds']
    rows = supercell_rows(silicon, dft['settings'].get_dict()[EDGE], any_shape=True)
    phonon = phonon_of(silicon, rows, SYMPREC)
    seconds += _stage(dft['pw'], displaced_supercells(phonon))['core_seconds']
    said = float(re.findall(r'DFT of silicon: ([\d.]+) core hours', descriptions('material')[protocol])[0])
    assert said == pytest.approx(seconds / 3600, rel=0.1)


def test_said() -> None:
    """The table of the documentation and the help of the command have the words of the file."""
    table = ' '.join(CHOOSING.read_text(encoding='utf-8').split())
    shown = ' '.join(CliRunner().invoke(cmd_root, ['launch', 'material', '--help'], terminal_width=5000).output.split())
    for protocol, text in descriptions('material').items():
        words = ' '.join(text.split())
        assert words in table, f'docs/topics/choosing.md: write `{words}`'
        assert f'{protocol}: {words}' in shown
    assert '[default: balanced]' in shown
    for command in ('label', 'phonons', 'instability', 'qha', 'kappa', 'finetune', 'study', 'active-learning'):
        output = CliRunner().invoke(cmd_root, ['launch', command, '--help'], terminal_width=5000).output
        first = descriptions(command.replace('-', '_'))['fast']
        assert f'fast: {first}' in ' '.join(output.split()), command
