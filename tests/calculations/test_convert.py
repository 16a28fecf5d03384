"""The job that writes a potential as other programs load it: what it computes, what it refuses, and how it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from ase.build import bulk

from aiida_equitrain.calculations.convert import ConvertCalculation, validate_potential
from aiida_equitrain.data.potential import PotentialData
from aiida_equitrain.science.adapter import make_adapter
from aiida_equitrain.science.model_file import read_tensor_shapes

TINY_MODEL = Path(__file__).parents[1] / 'fixtures' / 'tiny_mace.model'
TENSOR = 'interactions.0.conv_tp_weights.layer1.weight'


def run(code: Any, potential: Any, **settings: Any) -> Any:
    builder = ConvertCalculation.get_builder()
    builder.code, builder.potential = code, potential
    builder.settings = orm.Dict({'threads': 1, **settings})
    return run_get_node(builder)[1]


def in_lammps(file: Path, atoms: Any) -> tuple[float, Any]:
    """Return energy and forces as LAMMPS asks a file of MACE for them."""
    import torch
    from mace import data

    model: Any = torch.jit.load(file)
    table = [int(number) for number in model.atomic_numbers]
    edges, shifts, unit_shifts, cell = data.neighborhood.get_neighborhood(
        atoms.positions, float(model.r_max), atoms.pbc, atoms.cell.array
    )
    kinds = torch.tensor([table.index(number) for number in atoms.numbers])
    inputs = {
        'positions': torch.tensor(atoms.positions), 'edge_index': torch.tensor(edges).long(),
        'shifts': torch.tensor(shifts), 'unit_shifts': torch.tensor(unit_shifts), 'cell': torch.tensor(np.array(cell)),
        'node_attrs': torch.nn.functional.one_hot(kinds, len(table)).double(),
        'batch': torch.zeros(len(atoms), dtype=torch.long), 'ptr': torch.tensor([0, len(atoms)]),
    }  # fmt: skip
    found = model(inputs, torch.ones(len(atoms)).double(), False)
    return float(found['total_energy_local']), found['forces'].detach().numpy()


@pytest.mark.real
def test_adapter(aiida_profile: Any, python_code: Any, tmp_path: Path) -> None:
    """An adapter becomes one whole model, and the file for LAMMPS gives energies and forces of that very model."""
    import torch

    foundation = PotentialData(TINY_MODEL).store()
    shape = read_tensor_shapes(TINY_MODEL)[TENSOR]
    before = {TENSOR: np.zeros(shape, dtype=np.float32)}
    after = {TENSOR: np.random.default_rng(1).normal(size=shape).astype(np.float32)}
    about = {'foundation_sha256': foundation.sha256, 'strategy': 'l2-tsp', 'dtype': 'float32', 'head': foundation.head}
    tuned = PotentialData.from_adapter(make_adapter(before, after, **about), foundation=foundation).store()
    node = run(python_code, tuned)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert node.outputs.summary['is_adapter']
    for name in ('whole_model', 'lammps'):
        (tmp_path / name).write_bytes(node.outputs[name].get_content(mode='rb'))
    tuned.write_model(tmp_path / 'written')
    whole, written = (
        torch.load(tmp_path / name, weights_only=False).state_dict() for name in ('whole_model', 'written')
    )
    assert all(torch.equal(whole[name], values) for name, values in written.items())

    atoms = bulk('NaCl', 'rocksalt', a=5.0, cubic=True)
    atoms.rattle(0.1, seed=1)
    energy, forces = in_lammps(tmp_path / 'lammps', atoms)
    atoms.calc = tuned.get_calculator()
    assert np.abs(forces).max() > 1e-4
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-12)


@pytest.mark.real
def test_converter_fails(aiida_profile: Any, python_code: Any, tmp_path: Path) -> None:
    """A model that MACE's converter does not know ends the job with an exit code, and with its words."""
    import torch
    from mace.modules.radial import BesselBasis

    model = BesselBasis(4.0, trainable=True)
    model.register_buffer('atomic_numbers', torch.tensor([14]))
    torch.save(model, tmp_path / 'odd.model')
    node = run(python_code, PotentialData(tmp_path / 'odd.model').store())
    assert node.exit_status == ConvertCalculation.exit_codes.ERROR_NOT_CONVERTED.status, node.exit_message
    assert 'num_interactions' in node.exit_message
    assert 'whole_model' not in node.outputs


def test_nequix_is_refused(tiny_nequix: Any) -> None:
    sentence = validate_potential(tiny_nequix, None)
    assert sentence is not None
    assert 'no converter for LAMMPS' in sentence


@pytest.mark.real
def test_sevennet(aiida_profile: Any, sevennet_python: str, sevennet_0: Path, make_code: Any, tmp_path: Path) -> None:
    """SevenNet's own converter makes a file that torch opens by itself, with the elements that LAMMPS asks for."""
    import torch

    node = run(make_code('python-sevennet', sevennet_python), PotentialData(sevennet_0).store())
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    (tmp_path / 'lammps.pt').write_bytes(node.outputs.lammps.get_content(mode='rb'))
    about = {'chemical_symbols_to_index': ''}
    torch.jit.load(tmp_path / 'lammps.pt', _extra_files=about)
    assert 'Si' in str(about['chemical_symbols_to_index'])
