"""`aiida-equitrain launch`: wrong input ends in a sentence; a job runs here without a daemon."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from click.testing import CliRunner

from aiida_equitrain.cli.root import cmd_root
from aiida_equitrain.launch import nodes
from aiida_equitrain.setup import defaults

pytestmark = pytest.mark.real


@pytest.fixture
def invoke(aiida_profile: Any) -> Any:
    """Return a function that runs a command line in the test profile."""

    def run(*arguments: Any) -> Any:
        return CliRunner().invoke(cmd_root, [str(argument) for argument in arguments])

    return run


def test_help(invoke: Any) -> None:
    """Every job has its help."""
    for job in ('material', 'label', 'finetune', 'phonons', 'instability', 'qha', 'kappa', 'follow'):
        result = invoke('launch', job, '--help')
        assert result.exit_code == 0, result.output
    assert '--dft' in invoke('launch', 'material', '--help').output


def test_phases_by_dft(
    invoke: Any, silicon: Any, phonopy_code: Any, pw_code: Any, pseudo_family: Any, python_code: Any, monkeypatch: Any
) -> None:
    """With `--dft-phases` no potential is asked for: DFT scans and relaxes."""
    built = []
    monkeypatch.setattr('aiida_equitrain.cli.launch.go', lambda build, *_: built.append(build()))
    result = invoke('launch', 'instability', silicon.store().pk, '--dft-phases', '--family', pseudo_family.label)
    assert result.exit_code == 0, (result.output, result.exception)
    given = built[0]._inputs(prune=True)
    assert {'pw', 'pw_relax', 'structure'} <= set(given)
    assert not {'potential', 'phonopy_data'} & set(given)


@pytest.mark.parametrize(
    ('command', 'more'),
    [
        ('material', ['--dataset', 'DATASET', '--no-dft']),
        ('phonons', []),
        ('instability', []),
        ('qha', []),
        ('kappa', []),
        ('study', ['--dataset', 'Si=DATASET', '--no-dft', '--sizes', '2', '--seeds', '1']),
    ],
)
def test_postprocess(
    invoke: Any, silicon: Any, starter: Any, tiny_dataset: Any, phonopy_code: Any, python_code: Any, monkeypatch: Any,
    aiida_computer_local: Any, command: str, more: list[str],
) -> None:  # fmt: skip
    """`--postprocess` names the Python that looks at phonons of a MACE as well, on another computer than its own."""
    here = aiida_computer_local(label='here')
    code = orm.InstalledCode(label=f'looks-{command}', computer=here, filepath_executable=sys.executable).store()
    module = {'qha': 'launch_thermal', 'kappa': 'launch_thermal', 'study': 'launch_study'}.get(command, 'launch')
    built: list[Any] = []
    monkeypatch.setattr(f'aiida_equitrain.cli.{module}.go', lambda build, *_: built.append(build()))
    more = [item.replace('DATASET', str(tiny_dataset.pk)) for item in more]
    crystal = silicon.store().pk
    options = ('--foundation', starter.pk, '--python', python_code.label, '--postprocess', code.full_label)
    result = invoke('launch', command, crystal, *more, *options)
    assert built, (result.output, result.exception)
    assert (built[0].postprocess_code, built[0].python_code) == (code, python_code)


def test_dry_run(
    invoke: Any, silicon: Any, starter: Any, phonopy_code: Any, pw_code: Any, pseudo_family: Any, python_code: Any,
    tmp_path: Path, monkeypatch: Any,
) -> None:  # fmt: skip
    """Nothing is stored as a process; frames, atoms, k-points, cut-offs, displacements and both costs are printed."""
    codes = ('--family', pseudo_family.label, '--foundation', starter.pk, '--protocol', 'fast')
    monkeypatch.setattr('aiida_equitrain.launch.plan.SMALL', 63)
    before = orm.QueryBuilder().append(orm.ProcessNode).count()
    result = invoke('launch', 'label', silicon.store().pk, *codes, '--recipe', 'mixed', '--dry-run')
    assert result.exit_code == 0, (result.output, result.exception)
    for text in (
        'labels, paper: 12 frames of 64 atoms, 28/112 Ry, k-points 1×1×1 (1)',
        'labels, harmonic: 2 frames of 64 atoms, 28/112 Ry',
        'steps or so of 2 atoms',
        'force constants of 64 atoms: 25 independent ones, determined by 1 frame without a potential, or by 1 finite '
        'displacement',
        'within a factor of 2',
        'force constants of the supercell of 64 atoms, about a minute ...',
    ):
        assert text in result.output, result.output
    assert orm.QueryBuilder().append(orm.ProcessNode).count() == before
    overrides = tmp_path / 'small.yaml'
    overrides.write_text('{recipe: harmonic, harmonic: {n_frames: 1, phonon_tolerance_thz: 0.01, max_frames: 6}}')
    result = invoke('launch', 'label', silicon.pk, *codes, '--overrides', overrides, '--dry-run')
    assert 'more until error bars are below 0.01 THz, at most 6 frames' in result.output, result.output
    overrides.write_text('label: {max_atoms: 10}')
    result = invoke('launch', 'material', silicon.pk, *codes, '--overrides', overrides, '--dry-run')
    assert result.exit_code == 1
    assert '64 atoms, more than `max_atoms`' in result.output
    result = invoke('launch', 'material', silicon.pk, *codes, '--recipe', 'harmonic', '--dry-run')
    assert result.exit_code == 0, (result.output, result.exception)
    assert 'DFT phonons: 1 displacement of 64 atoms' in result.output
    assert 'labels, paper' not in result.output
    overrides.write_text('{label: {pw: {pw: {parameters: {SYSTEM: {ecutwfc: 20}}}}}}')
    result = invoke('launch', 'material', silicon.pk, *codes, '--overrides', overrides, '--dry-run')
    (line,) = (line for line in result.output.splitlines() if line.startswith('DFT phonons'))
    assert f'finite displacements {line.split(", ")[-1]};' in result.output, result.output
    assert orm.QueryBuilder().append(orm.ProcessNode).count() == before


def test_load_structure(aiida_profile: Any, silicon: Any, tmp_path: Path) -> None:
    """A structure is a file or a PK; partial occupancy, which ASE drops silently, is refused."""
    path = tmp_path / 'Si.cif'
    silicon.get_ase().write(path)
    assert nodes.load_structure(str(path)).get_formula() == 'Si2'
    stored = silicon.store()
    assert nodes.load_structure(str(stored.pk)).uuid == stored.uuid
    with pytest.raises(ValueError, match='neither a file nor a structure'):
        nodes.load_structure('nothing.cif')
    with pytest.raises(ValueError, match='not a StructureData'):
        nodes.load_structure(str(orm.Int(1).store().pk))
    (tmp_path / 'broken.cif').write_text('this is no structure')
    with pytest.raises(ValueError, match='cannot be read'):
        nodes.load_structure(str(tmp_path / 'broken.cif'))
    mixed = """data_mixed
_cell_length_a 5.4
_cell_length_b 5.4
_cell_length_c 5.4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Si1 Si 0 0 0 0.5
Ge1 Ge 0 0 0 0.5
"""
    (tmp_path / 'mixed.cif').write_text(mixed)
    with pytest.raises(ValueError, match='partial occupancy'):
        nodes.load_structure(str(tmp_path / 'mixed.cif'))


def test_overrides(tmp_path: Path) -> None:
    """Overrides are a mapping in YAML or JSON."""
    path = tmp_path / 'a.yaml'
    path.write_text('finetune: {train: {seed: 3}}')
    assert nodes.load_overrides(path) == {'finetune': {'train': {'seed': 3}}}
    path.write_text('- 1')
    with pytest.raises(ValueError, match='keys and values'):
        nodes.load_overrides(path)
    assert nodes.load_overrides(None) is None


def test_forgetting_dataset_is_stored_once(aiida_profile: Any) -> None:
    """The same node serves every launch."""
    first = nodes.forgetting_dataset()
    assert first is None or nodes.forgetting_dataset().uuid == first.uuid


def test_sentences(invoke: Any, silicon: Any, tmp_path: Path) -> None:
    """What is missing is said in one sentence, without a traceback."""
    path = tmp_path / 'Si.cif'
    silicon.get_ase().write(path)
    result = invoke('launch', 'material', path, '--submit')
    assert result.exit_code == 1
    assert 'nothing can be submitted: the profile has no broker' in result.output
    result = invoke('launch', 'phonons', path, '--python', 'nosuch')
    assert result.exit_code == 1
    assert 'there is no' in result.output
    assert 'aiida-equitrain setup' in result.output


def test_finetune_here(invoke: Any, starter: Any, tiny_dataset: Any, python_code: Any, tmp_path: Path) -> None:
    """Without a daemon the job runs in this process, shows its stages, and the report is written."""
    overrides = tmp_path / 'tiny.yaml'
    overrides.write_text('train: {hyperparameters: {epochs: 2}}')
    report = tmp_path / 'report'
    result = invoke(
        'launch', 'finetune', tiny_dataset.pk, '--protocol', 'fast', '--foundation', starter.pk, '--overrides',
        overrides, '--python', python_code.full_label, '--report', report,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert 'Running in this process, as the profile has no broker' in result.output
    assert 'FinetuneWorkChain: done, 1/1 jobs' in result.output
    assert (report / 'report.html').exists()
    assert (report / 'summary.json').exists()
    assert defaults.PYTHON_CODE == 'python'


def test_block_and_tolerance(invoke: Any, starter: Any, python_code: Any, phonopy_code: Any, monkeypatch: Any) -> None:
    """`--block` chooses one of several structures, `--symprec` is the tolerance of the whole; both are said."""
    cases = Path(__file__).parents[1] / 'fixtures' / 'cases'
    built: list[Any] = []
    monkeypatch.setattr('aiida_equitrain.cli.launch.go', lambda build, *_: built.append(build()))
    codes = ('--foundation', starter.pk, '--python', python_code.label)
    result = invoke('launch', 'phonons', cases / 'two_structures.cif', *codes, '--block', 'y', '--symprec', '1e-3')
    assert result.exit_code == 0, (result.output, result.exception)
    assert built[0].structure.get_formula() == 'Si8'
    assert built[0].symprec.value == 1e-3
    assert 'block `y` of 2 is taken' in result.output
    assert f'Foundation: `starter` (PK {starter.pk}), whose phonons are off by ' in result.output
    result = invoke('launch', 'phonons', cases / 'two_structures.cif', *codes)
    assert 'choose one by `--block NAME_OR_NUMBER`' in str(result.exception)
    assert 'chooses among the structures of a file' in str(
        invoke('launch', 'phonons', built[0].structure.store().pk, *codes, '--block', '1').exception
    )
