"""Nequix's helper of the drivers, in the Python that has Nequix, against the publisher's own calculator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiida_equitrain.calculations.forces import ForcesCalculation
from tests.drivers.conftest import COMPARE, run_script

#: Everything in one process, for the sake of its imports; the results are judged below.
SCRIPT = (
    COMPARE
    + """
import io, shutil, sys
from pathlib import Path
from nequix.calculator import NequixCalculator
from equitrain_job.drivers.forces import evaluate_batch
from equitrain_job.drivers.potential_loader import load_calculator, load_model, save_model

def theirs(path, backend):
    # Their loader leaves a converted file beside the one that it reads.
    Path('theirs').mkdir(exist_ok=True)
    copy = Path('theirs', Path(path).name)
    shutil.copy(path, copy)
    torch.set_default_dtype(torch.float32)
    result = values(NequixCalculator(model_path=str(copy), backend=backend, use_kernel=False))
    shutil.rmtree('theirs')
    return result

for name in sys.argv[1:]:
    of = found[name] = {}
    published = theirs(name, 'torch')
    of['jax'] = largest(theirs(name, 'jax'), published)
    of['single'] = largest(values(load_calculator(name, 'nequix', dtype='float32')), published)
    double = load_calculator(name, 'nequix', dtype='float64')
    of['double'] = largest(values(double), published)
    forces, sides = atoms.get_forces(), []
    for step in (1e-4, -1e-4):
        moved = atoms.copy()
        moved.calc = double
        moved.positions[0, 0] += step
        sides.append(moved.get_potential_energy())
    of['derivative'] = abs(float(forces[0, 0] + (sides[0] - sides[1]) / 2e-4))
    sides = []
    for strain in (1e-5, -1e-5):
        moved = atoms.copy()
        moved.calc = double
        moved.set_cell(atoms.cell @ (np.eye(3) + strain * np.eye(3)[:, [0]] * np.eye(3)[[1]] / 2
                                     + strain * np.eye(3)[:, [1]] * np.eye(3)[[0]] / 2), scale_atoms=True)
        sides.append(moved.get_potential_energy())
    stress = (sides[0] - sides[1]) / 2e-5 / atoms.get_volume()
    of['stress'] = abs(float(atoms.get_stress(voigt=False)[0, 1] - stress))
    other = atoms.copy()
    other.positions += rng.normal(0, 0.05, other.positions.shape)
    together = evaluate_batch(double, [atoms, other])
    of['batch'] = []
    for index, frame in enumerate((atoms, other)):
        double.calculate(frame)
        alone = double.results['energy'], double.results['forces']
        of['batch'] += largest(alone, [together[0][index], together[1][index]])

    # What is written, for their loader and for ours; a model in double precision is rounded to what theirs takes.
    model = load_model(name, 'nequix', dtype='float32')
    save_model(model, 'written.nqx', 'nequix')
    of['written'] = largest(theirs('written.nqx', 'jax'), theirs(name, 'jax'))
    model = load_model(name, 'nequix', dtype='float64')
    with torch.no_grad():
        for item in model.parameters():
            item.mul_(1 + 1e-10)
    buffer = io.BytesIO()
    save_model(model, buffer, 'nequix')
    Path('double.nqx').write_bytes(buffer.getvalue())
    again = load_model('double.nqx', 'nequix', dtype='float64')
    of['rounded'] = all(torch.equal(a.float().double(), b) for a, b in zip(model.parameters(), again.parameters()))
    of['theirs'] = largest(theirs('double.nqx', 'jax'), theirs(name, 'jax'))
    gold = bulk('Au')
    try:
        double.calculate(gold)
        of['unknown'] = ''
    except ValueError as error:
        of['unknown'] = str(error)
print('FOUND' + json.dumps(found))
"""
)


def run(folder: Path, python: str, *files: Path) -> dict[str, Any]:
    """Return what the script finds with copies of files in a folder as a job has it."""
    found = run_script(folder, python, ForcesCalculation.DRIVER, SCRIPT, *files)
    assert not list(folder.glob('*.pt'))
    return found


def judge(found: dict[str, Any]) -> None:
    assert max(found['single']) < 1e-4
    assert found['single'][1] < 1e-5
    assert found['double'][1] < 1e-5
    assert found['jax'][1] < 1e-5
    assert found['derivative'] < 1e-6
    assert found['stress'] < 1e-7
    assert max(found['batch']) < 1e-8
    assert max(found['written'][1:]) < 1e-6
    assert found['rounded'] is True
    assert max(found['theirs'][1:]) < 1e-5


@pytest.mark.real
def test_random_weights(nequix_python: str, nequix_file: Callable[..., Path], tmp_path: Path) -> None:
    """Whoever has the environment can see that our reading and Nequix's are one."""
    name = nequix_file().name
    found = run(tmp_path, nequix_python, tmp_path / name)[name]
    judge(found)
    assert '79' in found['unknown']


@pytest.mark.real
def test_published_weights(nequix_python: str, nequix_weights: Path, tmp_path: Path) -> None:
    name = 'nequix-oam-1-pft.nqx'
    judge(run(tmp_path, nequix_python, nequix_weights / name)[name])
