"""Parsers of relaxation and forces, on folders that the real drivers wrote."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.common.folders import Folder
from aiida.common.links import LinkType
from aiida.plugins import CalculationFactory, ParserFactory
from ase.build import bulk

import aiida_equitrain
from aiida_equitrain.calculations.functions.label import trajectory_of
from aiida_equitrain.calculations.staging import module_of, stage_driver

DRIVERS = Path(aiida_equitrain.__file__).parent / 'drivers'
TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'
COMMON = {'dtype': 'float64', 'device': 'cpu', 'threads': 1}
RELAX = COMMON | {
    'fmax_ev_per_angstrom': 1e-3,
    'max_steps': 2,
    'relax_cell': True,
    'constant_volume': False,
    'fix_symmetry': False,
    'symprec': 1e-4,
    'optimizer': 'BFGS',
}
FORCES = COMMON | {'method': 'finite-differences', 'batch_size': 1}


@pytest.fixture(scope='session')
def run_driver(tmp_path_factory: Any, warm_python: Any) -> Callable[..., Path]:
    """Return a function that runs a driver in a folder of its own, and returns the folder; runs are shared."""
    done: dict[str, Path] = {}

    def run(driver: str, settings: dict[str, Any], broken: str = '') -> Path:
        key = json.dumps([driver, settings, broken])
        if key in done:
            return done[key]
        folder: Path = tmp_path_factory.mktemp('job')
        stage_driver(Folder(str(folder)), driver)
        shutil.copy(TINY_MODEL, folder / 'potential.model')
        atoms = bulk('Si', a=5.6)
        positions = np.array([atoms.positions] * 2)
        positions[1, 0, 0] += 0.1
        if broken == 'model':
            (folder / 'potential.model').write_bytes(b'no model')
        if broken == 'module':
            (folder / 'equitrain_job/drivers/potential_loader.py').write_text('import a_module_that_nobody_has\n')
        if broken == 'nan':
            positions[1, 0, 0] = np.nan
        np.savez(folder / 'structures.npz', numbers=atoms.numbers, positions=positions, cells=[atoms.cell[:]] * 2)
        potential = {'filename': 'potential.model', 'family': 'mace', 'head': None}
        (folder / 'job.json').write_text(json.dumps({'potential': potential, 'settings': settings}))
        warm_python.run(folder, module_of(driver)).wait()
        shutil.copy(folder / 'driver.err', folder / '_scheduler-stderr.txt')
        done[key] = folder
        return folder

    return run


@pytest.fixture
def parse(aiida_profile: Any, aiida_localhost: Any) -> Callable[..., tuple[dict[str, Any], Any]]:
    """Return a function that parses a folder as a job of ``equitrain.<name>`` retrieved it."""

    def factory(name: str, folder: Path, exit_status: int | None = None, leave_out: str = '') -> Any:
        process = CalculationFactory(f'equitrain.{name}')
        node = orm.CalcJobNode(computer=aiida_localhost, process_type=f'aiida.calculations:equitrain.{name}')
        node.set_option('scheduler_stderr', '_scheduler-stderr.txt')
        node.set_option('scheduler_stdout', '_scheduler-stdout.txt')
        node.set_option('output_filename', process.STDOUT)
        frames = trajectory_of([bulk('Si', a=5.6)] * 2)
        node.base.links.add_incoming(frames.store(), LinkType.INPUT_CALC, 'frames')
        if exit_status is not None:
            node.set_exit_status(exit_status)
            node.set_exit_message('the scheduler stopped the job')
        node.store()
        retrieved = orm.FolderData()
        for path in sorted(folder.iterdir()):
            if path.suffix in ('.json', '.out', '.txt') and path.name not in (leave_out, 'job.json'):
                retrieved.base.repository.put_object_from_file(str(path), path.name)
        retrieved.base.links.add_incoming(node, LinkType.CREATE, 'retrieved')
        retrieved.store()
        temporary = folder if leave_out not in [output.file for output in process.OUTPUTS.values()] else DRIVERS
        outputs, calcfunction = ParserFactory(f'equitrain.{name}').parse_from_node(
            node, store_provenance=False, retrieved_temporary_folder=str(temporary)
        )
        return outputs, calcfunction

    return factory


def codes_of(name: str) -> Any:
    return CalculationFactory(f'equitrain.{name}').exit_codes


def test_relax(run_driver: Any, parse: Any) -> None:
    outputs, node = parse('relax', run_driver('relax', RELAX | {'fmax_ev_per_angstrom': 50.0}))
    assert node.is_finished_ok, node.exit_message
    assert outputs['trajectory'].get_array('trajectory_index').tolist() == [0, 1]
    assert outputs['summary']['n_trajectories'] == 2


def test_relax_not_converged(run_driver: Any, parse: Any) -> None:
    outputs, node = parse('relax', run_driver('relax', RELAX | {'fmax_ev_per_angstrom': 1e-9}))
    assert node.exit_status == codes_of('relax').ERROR_NOT_CONVERGED.status
    assert outputs['trajectory'].numsteps == 6


def test_forces(run_driver: Any, parse: Any) -> None:
    outputs, node = parse('forces', run_driver('forces', FORCES))
    assert node.is_finished_ok, node.exit_message
    assert outputs['forces'].get_array('forces').shape == (2, 2, 3)
    assert np.isfinite(outputs['forces'].get_array('stress')).all()


@pytest.mark.parametrize(
    ('settings', 'broken', 'label', 'sentence'),
    [
        (FORCES, 'model', 'ERROR_POTENTIAL_NOT_LOADED', 'cannot be loaded'),
        (FORCES, 'module', 'ERROR_MODULE_MISSING', 'a_module_that_nobody_has'),
        (FORCES | {'device': 'cuda:99'}, '', 'ERROR_DEVICE_MISSING', 'cuda:99'),
        (FORCES | {'method': 'hessian'}, '', 'ERROR_DRIVER_FAILED', 'supercell_positions'),
    ],
)
def test_known_failures(run_driver: Any, parse: Any, settings: Any, broken: str, label: str, sentence: str) -> None:
    outputs, node = parse('forces', run_driver('forces', settings, broken))
    assert node.exit_status == codes_of('forces')[label].status
    assert sentence in node.exit_message
    assert 'forces' not in outputs


def test_not_finite(run_driver: Any, warm_python: Any, parse: Any, tmp_path: Any) -> None:
    """Forces that are not finite are attached, and have their exit code; the folder is a real one, spoilt."""
    shutil.copytree(run_driver('forces', FORCES), tmp_path / 'job')
    script = 'from equitrain_job.drivers import forces, job_io; import numpy as np\n'
    script += 'evaluate = forces.evaluate\n'
    script += 'forces.evaluate = lambda *a: ((e, f * np.nan, s) for e, f, s in evaluate(*a))\n'
    script += 'job_io.run_driver(forces.main)\n'
    (tmp_path / 'job' / 'spoilt.py').write_text(script)
    warm_python.run(tmp_path / 'job', 'spoilt').wait()
    outputs, node = parse('forces', tmp_path / 'job')
    assert node.exit_status == codes_of('forces').ERROR_FORCES_NOT_FINITE.status
    assert 'frame(s) 0, 1' in node.exit_message
    assert np.isnan(outputs['forces'].get_array('forces')).all()


def test_scheduler_and_kill(run_driver: Any, parse: Any, tmp_path: Any) -> None:
    """What the scheduler said survives, and what was computed is kept; a kill is told from a crash."""
    shutil.copytree(run_driver('forces', FORCES), tmp_path / 'job')
    for name in ('summary.json', 'failure.json'):
        (tmp_path / 'job' / name).unlink(missing_ok=True)
    outputs, node = parse('forces', tmp_path / 'job', exit_status=120)
    assert node.exit_status == codes_of('forces').ERROR_OUT_OF_WALLTIME.status
    assert 'forces' in outputs
    _, node = parse('forces', tmp_path / 'job', exit_status=131)
    assert node.exit_status == 131
    _, node = parse('forces', tmp_path / 'job')
    assert node.exit_status == codes_of('forces').ERROR_INTERRUPTED.status
    _, node = parse('forces', tmp_path / 'job', leave_out='progress.json')
    assert node.exit_status == codes_of('forces').ERROR_OUTPUT_MISSING.status
    assert 'summary.json' in node.exit_message
    (tmp_path / 'job' / '_scheduler-stderr.txt').write_text('_aiidasubmit.sh: line 12: 4242 Killed python\n')
    _, node = parse('forces', tmp_path / 'job')
    assert node.exit_status == codes_of('forces').ERROR_OUT_OF_MEMORY.status


def test_unreadable_result(run_driver: Any, parse: Any, tmp_path: Any) -> None:
    shutil.copytree(run_driver('forces', FORCES), tmp_path / 'job')
    (tmp_path / 'job' / 'forces.npz').write_bytes(b'PK nothing')
    _, node = parse('forces', tmp_path / 'job')
    assert node.exit_status == codes_of('forces').ERROR_OUTPUT_UNREADABLE.status


@pytest.mark.parametrize('name', ['relax', 'forces'])
def test_same_names(name: str) -> None:
    """The driver writes what the job retrieves and the parser reads."""
    process = CalculationFactory(f'equitrain.{name}')
    source = (DRIVERS / f'{process.DRIVER}.py').read_text() + (DRIVERS / 'evaluation_io.py').read_text()
    source += (DRIVERS / 'job_io.py').read_text()
    written = [output.file for output in process.OUTPUTS.values()]
    for file in (*written, process.SUMMARY, process.FAILURE, process.PROGRESS, process.JOB, process.STRUCTURES):
        assert f"'{file}'" in source
    for reason, label in process.FAILURES.items():
        assert label in process.exit_codes, reason
