"""How a search for instabilities can fail: a code for each cause, with what was computed before kept."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory
from aiida_phonopy.data import PhonopyData, PreProcessData

ANALYTIC = Path(__file__).parents[1] / 'fixtures' / 'analytic'
FERRO = {'a': 2.0, 'b': 10.0, 'c': 6.0, 'k': 0.3, 'spring': 8.0}
FEW = {'max_modes': 1, 'max_directions': 1, 'max_depth': 1, 'amplitudes_angstrom': [0.1, 0.2, 0.3], 'fit_degree': 4}


@pytest.fixture
def cscl(aiida_profile: Any) -> orm.StructureData:
    """Return the cubic parent of the analytic model."""
    structure = orm.StructureData(cell=np.eye(3) * 4.0)
    structure.append_atom(position=(0, 0, 0), symbols='Cl')
    structure.append_atom(position=(2, 2, 2), symbols='Si')
    return structure


@pytest.fixture
def analytic_phonons(cscl: Any, monkeypatch: Any) -> Any:
    """Return a function that gives the parent's phonons by the analytic model, or with given forces."""

    def factory(broken: bool = False) -> PhonopyData:
        monkeypatch.setenv('ANALYTIC_MODEL', json.dumps(FERRO))
        monkeypatch.syspath_prepend(str(ANALYTIC))
        monkeypatch.delitem(sys.modules, 'potential_loader', raising=False)
        from potential_loader import load_calculator

        data = PreProcessData(structure=cscl, supercell_matrix=(2 * np.eye(3, dtype=int)).tolist())
        data.set_displacements(distance=0.01)
        calculator = load_calculator('', 'mace', None, 'cpu', 'float64')
        forces = []
        for cell in data.get_phonopy_instance(distinguish=True).supercells_with_displacements:
            from ase import Atoms

            atoms = Atoms(cell.symbols, positions=cell.positions, cell=cell.cell, pbc=True, calculator=calculator)
            forces.append(np.full((len(atoms), 3), np.nan) if broken else atoms.get_forces())
        phonons = PhonopyData(preprocess_data=data)
        phonons.set_forces(sets_of_forces=np.array(forces))
        monkeypatch.delitem(sys.modules, 'potential_loader', raising=False)
        return phonons

    return factory


@pytest.fixture
def run(cscl: Any, starter: Any, phonopy_code: Any, make_code: Any, tmp_path: Path) -> Any:
    """Return a function that runs the WorkChain from given phonons."""

    def factory(phonons: Any, model: dict[str, float], overrides: dict[str, Any] | None = None, **changes: Any) -> Any:
        script = tmp_path / 'python-analytic'
        variables = f"PYTHONPATH='{ANALYTIC}' ANALYTIC_MODEL='{json.dumps(model)}'"
        script.write_text(f'#!/bin/sh\n{variables} exec {sys.executable} "$@"\n')
        script.chmod(0o755)
        builder = WorkflowFactory('equitrain.instability').get_builder_from_protocol(
            cscl,
            phonopy_code,
            starter,
            make_code(f'python-{tmp_path.name}'.replace('_', '-'), str(script)),
            relax=False,
            supercell_matrix=[[2, 0, 0], [0, 2, 0], [0, 0, 2]],
            protocol='fast',
            overrides={'settings': FEW, **(overrides or {})},
            **changes,
        )
        if phonons is not None:
            del builder.structure
            builder.phonopy_data = phonons
        return run_get_node(builder)

    return factory


@pytest.mark.thorough
@pytest.mark.real
def test_phonons_fail(run: Any) -> None:
    # The analytic model has no Hessian.
    overrides = {'phonons': {'potential_forces': {'settings': {'method': 'hessian'}}}}
    _, node = run(None, FERRO, overrides)
    assert node.exit_status == 401, node.exit_message


@pytest.mark.thorough
@pytest.mark.real
def test_modes_fail(run: Any, analytic_phonons: Any) -> None:
    _, node = run(analytic_phonons(broken=True), FERRO)
    assert node.exit_status == 402
    assert 410 in [child.exit_status for child in node.called]


@pytest.mark.thorough
@pytest.mark.real
def test_scan_fails(run: Any, analytic_phonons: Any) -> None:
    outputs, node = run(analytic_phonons(), FERRO | {'b': 1e400})
    assert node.exit_status == 403, node.exit_message
    assert 'modes' in outputs
    assert 410 in [job.exit_status for job in node.called]


@pytest.mark.real
def test_relaxation_fails(run: Any, analytic_phonons: Any) -> None:
    overrides = {'relax': {'settings': {'max_steps': 0, 'fmax_ev_per_angstrom': 1e-9}}}
    outputs, node = run(analytic_phonons(), FERRO, overrides)
    assert node.exit_status == 404, node.exit_message
    assert {'modes', 'scan', 'wells', 'relaxed'} <= set(outputs)
    assert 400 in [job.exit_status for job in node.called]


@pytest.mark.thorough
@pytest.mark.real
def test_dft_fails(run: Any, analytic_phonons: Any, make_code: Any, pseudo_family: Any) -> None:
    """Points that fail cost the comparison, not the phases."""
    outputs, node = run(
        analytic_phonons(),
        FERRO,
        {'settings': FEW | {'energy_tolerance_ev_per_atom': 10.0}},
        pw_code=make_code('pw-false', str(shutil.which('false')), 'quantumespresso.pw'),
        pseudo_family=pseudo_family.label,
        options={'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}, 'withmpi': False},
    )
    assert node.exit_status == 405, node.exit_message
    assert 'all else is there' in node.exit_message
    (told,) = outputs['dft']['level_0']['entries']
    assert told['n_failed'] == 4
    assert told['errors'] is None
    assert set(outputs['tree']['phases']) == {'root'}


def test_dft_needs_pseudopotentials(run: Any, make_code: Any) -> None:
    with pytest.raises(ValueError, match='DFT needs a `pseudo_family`'):
        run(None, FERRO, pw_code=make_code('pw-false', str(shutil.which('false')), 'quantumespresso.pw'))
