"""A folder with everything that the training driver needs, as the CalcJob would make it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiida.common.folders import Folder

from aiida_equitrain.calculations.staging import module_of, stage_driver
from aiida_equitrain.calculations.train import TrainCalculation
from aiida_equitrain.common.hyperparameters import MAY_CHANGE_ON_RESTART, complete
from aiida_equitrain.common.strategies import default_engine

TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'
TRAINING = module_of(TrainCalculation.DRIVER)


class TrainFolder:
    """One run of the driver in a folder.

    :param warm: the Python of it.
    """

    def __init__(self, path: Path, warm: Any = None) -> None:
        self.path, self.warm = path, warm

    def run(self, module: str = TRAINING) -> int:
        """Return how ``python -m`` of a module in the folder ends: of the driver, or of one that a test has written."""
        return int(self.warm.run(self.path, module).wait())

    @property
    def stderr(self) -> str:
        return (self.path / 'driver.err').read_text()

    def json(self, name: str) -> Any:
        path = self.path / name
        assert path.exists(), self.stderr[-2000:]
        return json.loads(path.read_text())


def make_train_folder(path: Path, frames: Any, *, strategy: str = 'l2-tsp', forgetting: Any = None, seed: int = 1,
                      max_seconds: float | None = None, checkpoint: Path | None = None, engine: str | None = None,
                      replay: Any = None, replay_labels: str = 'given', **values: Any
                      ) -> Path:  # fmt: skip
    """Write what the CalcJob would write, and return the folder; ``values`` are hyperparameters."""
    path.mkdir(parents=True)
    stage_driver(Folder(str(path)), TrainCalculation.DRIVER)
    frames.save(path / 'frames.npz')
    shutil.copy(TINY_MODEL, path / 'foundation.model')
    if forgetting is not None:
        forgetting.save(path / 'forgetting.npz')
    if checkpoint is not None:
        shutil.copy(checkpoint, path / 'checkpoint_in.pt')
    if replay is not None:
        replay.save(path / 'replay.npz')
    engine = engine or default_engine(strategy)
    hyperparameters = {'epochs': 3, 'batch_size': 2, 'weight_decay': 0.0, **values}
    job = {
        'strategy': strategy,
        'engine': engine,
        'hyperparameters': complete(hyperparameters, strategy, engine),
        'replay_labels': replay_labels,
        'seed': seed,
        'family': 'mace',
        'head': None,
        'elements': ['Na', 'Si', 'Cl'],
        'may_change': list(MAY_CHANGE_ON_RESTART),
        'limits': {'max_seconds': max_seconds, 'reserve_seconds': 0.0},
    }
    (path / TrainCalculation.JOB).write_text(json.dumps(job))
    return path


@pytest.fixture
def train_folder(tmp_path: Path, tiny_frames: Any, warm_python: Any) -> Any:
    """Return a factory of :class:`TrainFolder`."""

    def factory(name: str = 'job', *, frames: Any = None, **values: Any) -> TrainFolder:
        path = make_train_folder(tmp_path / name, tiny_frames if frames is None else frames, **values)
        return TrainFolder(path, warm_python)

    return factory


#: Begins a script that compares calculators in the Python of a family: a strained NaCl, and what is wanted of it.
COMPARE = """
import json, warnings
warnings.simplefilter('ignore')
import numpy as np, torch
from ase.build import bulk

rng, found = np.random.default_rng(1), {}
atoms = bulk('NaCl', 'rocksalt', a=5.7, cubic=True)
atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)

def values(calculator):
    atoms.calc = calculator
    return atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)

def largest(one, other):
    return [float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).max()) for a, b in zip(one, other)]
"""


def run_script(folder: Path, python: str, driver: str, script: str, *files: Path) -> dict[str, Any]:
    """Run a script in another Python beside a staged driver and copies of files; return what it prints as FOUND."""
    stage_driver(Folder(str(folder)), driver)
    for file in files:
        if file.parent != folder:
            shutil.copy(file, folder)
    (folder / 'check.py').write_text(script)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': ''}
    command = [python, 'check.py', *(file.name for file in files)]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    line = next(line for line in result.stdout.splitlines() if line.startswith('FOUND'))
    content: dict[str, Any] = json.loads(line.removeprefix('FOUND'))
    return content
