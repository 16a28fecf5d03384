"""The main job for real, at tiny size; run again from the cache; and its report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching

from aiida_equitrain.publish.write import publish

OVERRIDES = {
    'label': {
        'min_frames': 2,
        'max_atoms': 20,
        'rattle': {'volume_changes': [-0.02, 0.0, 0.02], 'min_length_angstrom': 5.0, 'max_length_angstrom': 8.0},
        'selection': {'frames_per_trajectory': 1},
    },
    'finetune': {'train': {'hyperparameters': {'epochs': 2}}},
    'phonons': {'settings': {'min_length_angstrom': 5.0, 'mesh': [6, 6, 6]}},
    'dft_phonons': {'settings': {'min_length_angstrom': 5.0, 'mesh': [6, 6, 6]}},
    'compare': {'settings': {'mesh': [6, 6, 6], 'temperature_k': 300.0}},
}


def jobs(node: Any) -> list[Any]:
    """Return the jobs below a process."""
    return [child for child in node.called_descendants if isinstance(child, orm.CalcJobNode)]


def fresh(node: Any) -> list[str]:
    """Return the kinds of the jobs that really ran."""
    return sorted(job.process_label for job in jobs(node) if not job.base.caching.is_created_from_cache)


@pytest.fixture
def run(
    silicon: Any,
    starter: Any,
    python_code: Any,
    pw_code: Any,
    phonopy_code: Any,
    pseudo_family: Any,
    tiny_dataset: Any,
) -> Callable[[str], Any]:
    """Return a function that runs the main job with a strategy, and returns its node."""
    from aiida_equitrain.workflows.material import MaterialWorkChain

    def function(strategy: str) -> Any:
        builder = MaterialWorkChain.get_builder_from_protocol(
            silicon,
            starter,
            python_code=python_code,
            phonopy_code=phonopy_code,
            pw_code=pw_code,
            pseudo_family=pseudo_family.label,
            forgetting_dataset=tiny_dataset,
            strategy=strategy,
            protocol='fast',
            overrides=OVERRIDES,
        )
        with enable_caching():
            node = run_get_node(builder).node
        assert node.is_finished_ok, (node.exit_status, node.exit_message)
        return node

    return function


@pytest.fixture
def first(run: Callable[[str], Any], stored_once: Any) -> Any:
    """Return the first run, which the tests of this file share."""
    return stored_once('main job', lambda: (run('l2-tsp'),))[0]


@pytest.mark.real
def test_material(first: Any, tmp_path: Path) -> None:
    """All stages run, both potentials are compared with DFT, and the report tells of all of it."""
    from aiida_equitrain.report.write import write_report

    outputs = first.outputs
    assert {'foundation', 'finetuned', 'dft'} == set(outputs.phonons)
    assert outputs.dataset.n_frames == 3
    comparison = outputs.comparison.get_dict()
    assert set(comparison['candidates']) == {'foundation', 'finetuned'}
    assert comparison['candidates']['foundation']['phonon_mae_thz'] > 0
    matrices = {outputs.phonons[side].supercell_matrix.uuid for side in outputs.phonons}
    assert len(matrices) == 1

    folder = tmp_path / 'report'  # the jobs run in `tmp_path`
    data = write_report(first, folder)
    summary = json.loads((folder / 'summary.json').read_text())
    assert summary['material'] == 'Si'
    assert summary['strategy'] == 'l2-tsp'
    assert summary['n_frames'] == 3
    assert summary['foundation_mae_thz'] == pytest.approx(comparison['candidates']['foundation']['phonon_mae_thz'])
    assert {path.name for path in folder.iterdir()} == {
        'report.html', 'summary.json', 'flow.png',
        *(f'{name}.{kind}' for name in ('bands', 'learning', 'parity', 'thermal') for kind in ('png', 'csv')),
    }  # fmt: skip
    assert [stage['name'] for stage in data['stages']] == [
        'label', 'finetune', 'phonons_foundation', 'phonons_finetuned', 'phonons_dft', 'foundation_at_dft_cell',
        'finetuned_at_dft_cell', 'compare', 'all',
    ]  # fmt: skip
    assert data['stages'][-1]['jobs'] == len(jobs(first))


@pytest.mark.thorough
@pytest.mark.real
def test_material_twice(first: Any, run: Callable[[str], Any], in_new_profile: Any, tmp_path: Path) -> None:
    """A second identical run makes no new job; another strategy reuses all before the training; and elsewhere."""
    from aiida_equitrain.report.write import write_report

    second = run('l2-tsp')
    assert fresh(second) == []
    assert len(jobs(second)) == len(jobs(first))
    assert write_report(second, tmp_path / 'report')['stages'][-1]['reused'] == len(jobs(second))

    third = run('transfer')
    assert 'PwCalculation' not in fresh(third)
    assert fresh(third).count('TrainCalculation') == 1

    reproduce_with_dft(first, in_new_profile, tmp_path)


def reproduce_with_dft(node: Any, in_new_profile: Any, folder: Path) -> None:
    """On an empty profile, labels and phonons are computed by pw.x again, and all comes out as it was."""
    archive = publish(node, folder / 'main.aiida').archive
    again, database = in_new_profile(
        folder / 'other',
        ['aiida-equitrain', '-p', 'second', 'reproduce', str(archive), '--rerun', 'all', '--csv', 'lines.csv'],
        ['verdi', '-p', 'second', 'process', 'list', '-a', '-r', '-P', 'process_label'],
    )
    assert again.returncode == 0, again.stdout + again.stderr
    n_dft = sum(job.process_label == 'PwCalculation' for job in jobs(node))
    assert n_dft > 3
    assert database.stdout.count('PwCalculation') == 2 * n_dft, 'those of the archive, and as many new ones'
    lines = (folder / 'other' / 'lines.csv').read_text().splitlines()[1:]
    assert len(lines) > 10
    assert all(line.endswith(',reproduced') for line in lines)
