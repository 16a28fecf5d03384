"""Jobs that are told to end save what they have done, and the next ones go on from there to the same results."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida.common.folders import Folder
from ase.build import bulk

from aiida_equitrain.calculations.evaluation import COMMON_SETTINGS
from aiida_equitrain.calculations.relax import RelaxCalculation
from aiida_equitrain.calculations.scan import RelaxPhasesCalculation
from aiida_equitrain.calculations.staging import module_of, stage_driver
from aiida_equitrain.science.frames import pack

from .conftest import TINY_MODEL

COMMON = {key: item.default for key, item in COMMON_SETTINGS.items()}
N_FRAMES = 60


def make_folder(folder: Path, driver: str, partial: Path | None = None) -> Path:
    """Write what the CalcJob would write."""
    stage_driver(Folder(str(folder)), driver)
    shutil.copy(TINY_MODEL, folder / 'potential.model')
    if partial is not None:
        shutil.copy(partial, folder / 'partial_in.npz')
    atoms = bulk('Si', a=5.5, cubic=True)
    positions = atoms.positions + np.random.default_rng(1).normal(0, 0.03, (N_FRAMES, len(atoms), 3))
    settings = {**COMMON, 'method': 'finite-differences', 'batch_size': 1}
    if driver == 'forces':
        arrays = {'numbers': atoms.numbers, 'positions': positions, 'cells': np.array([atoms.cell[:]] * N_FRAMES)}
    elif driver == 'relax':
        settings = {key: item.default for key, item in RelaxCalculation.SETTINGS.items()}
        settings |= {'fmax_ev_per_angstrom': 1e-2, 'max_steps': 8}
        arrays = {'numbers': atoms.numbers, 'positions': positions, 'cells': np.array([atoms.cell[:]] * N_FRAMES)}
    else:
        settings = {key: item.default for key, item in RelaxPhasesCalculation.SETTINGS.items()} | {'max_steps': 2}
        settings['fmax_ev_per_angstrom'] = 5.0
        arrays = pack([(atoms.numbers, item, atoms.cell[:]) for item in positions])
    np.savez(folder / 'structures.npz', **arrays)
    potential = {'filename': 'potential.model', 'family': 'mace', 'head': None}
    (folder / 'job.json').write_text(json.dumps({'potential': potential, 'settings': settings}))
    return folder


def run(warm_python: Any, folder: Path, driver: str, stop_after: int | None = None) -> None:
    """Run a driver, and tell it to end once so much is done."""
    process = warm_python.run(folder, module_of(driver))
    while stop_after is not None and process.poll() is None:
        try:
            done = json.loads((folder / 'progress.json').read_text())['done']
        except (OSError, ValueError):
            done = 0
        if done >= stop_after:
            process.terminate()
            break
        time.sleep(0.01)
    process.wait()


@pytest.mark.real
@pytest.mark.parametrize(
    ('driver', 'result', 'names'),
    [
        ('forces', 'forces.npz', ('energies', 'forces', 'stress')),
        ('scan', 'scan.npz', ('energies', 'forces', 'stress')),
        ('relax_phases', 'relaxed.npz', ('fixed_positions', 'free_energies', 'free_converged')),
        ('relax', 'trajectory.npz', ('trajectory_index',)),
    ],
)
def test_told_to_end(tmp_path: Path, warm_python: Any, driver: str, result: str, names: tuple[str, ...]) -> None:
    """SIGTERM leaves what is done and a reason; from there the results are those of a job that was left alone."""
    for name in ('whole', 'first', 'second'):
        (tmp_path / name).mkdir()
    whole = make_folder(tmp_path / 'whole', driver)
    run(warm_python, whole, driver)
    first = make_folder(tmp_path / 'first', driver)
    run(warm_python, first, driver, stop_after=3)
    failure = json.loads((first / 'failure.json').read_text())
    assert failure['reason'] == 'terminated', failure
    with np.load(first / 'partial.npz') as file:
        done = int(file['count'])
    assert done >= 3
    second = make_folder(tmp_path / 'second', driver, partial=first / 'partial.npz')
    run(warm_python, second, driver)
    assert not (second / 'partial.npz').exists()
    summaries = [json.loads((folder / 'summary.json').read_text()) for folder in (whole, second)]
    with np.load(whole / result) as expected, np.load(second / result) as found:
        if driver == 'relax':
            # A trajectory that was interrupted goes on with an optimizer that has forgotten its steps.
            ends = [[item['energy_end_ev'] for item in summary['trajectories']] for summary in summaries]
            assert np.abs(np.subtract(*ends)).max() < 1e-2
            assert set(found['trajectory_index']) == set(expected['trajectory_index'])
            return
        for name in names:
            assert np.array_equal(found[name], expected[name]), name
