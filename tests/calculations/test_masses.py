"""Masses, kinds and magnetic moments reach every phonon: the node, our jobs, and the job of phonopy itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import phonopy
import pytest
from aiida import orm
from aiida.common.folders import SandboxFolder
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida_phonopy.calculations.phonopy import PhonopyCalculation
from ase import Atoms
from ase.build import bulk

from aiida_equitrain.calculations.arrays import is_natural, phonopy_arrays
from aiida_equitrain.calculations.conductivity import ThirdOrderCalculation
from aiida_equitrain.calculations.functions import phonons as functions
from aiida_equitrain.calculations.functions import qha
from aiida_equitrain.launch.data_import import store_phonons
from aiida_equitrain.science import harmonic, phonon_metrics
from aiida_equitrain.science.phonopy_io import load_phonopy, phonon_from_arrays

pytestmark = pytest.mark.real

CASES = Path(__file__).parents[1] / 'fixtures' / 'cases'
MATRIX, SYMPREC, X = [[2, 0, 0], [0, 2, 0], [0, 0, 2]], 1e-4, [[0.5, 0.5, 0.0]]


def spring_forces(preprocess: Any) -> np.ndarray[Any, Any]:
    """Return forces (F, N, 3) of atoms that are tied to their places alone, 10 eV/Å²."""
    cells = preprocess.get_phonopy_instance(distinguish=True).supercells_with_displacements
    perfect = preprocess.get_supercell().get_ase().positions
    return np.array([-10.0 * (cell.positions - perfect) for cell in cells])


def phonons_by(way: str, structure: orm.StructureData) -> Any:
    """Return the node of phonons of a crystal as a WorkChain makes it."""
    displacement = orm.Dict({'distance': 0.01})
    made = functions.preprocess(structure, orm.List(MATRIX), displacement, orm.Float(SYMPREC))
    forces = spring_forces(made)
    node = orm.ArrayData()
    node.set_array('forces', forces)
    if way == 'potential':
        return functions.collect_forces(made, node)
    if way == 'dft':
        outputs = {}
        for index, force in enumerate(forces):
            outputs[f'forces_{index + 1}'] = orm.TrajectoryData()
            outputs[f'forces_{index + 1}'].set_trajectory(
                symbols=['H'] * force.shape[0],
                positions=np.zeros((1, *force.shape)),
                cells=np.eye(3)[None],
                pbc=(True,) * 3,
            )
            outputs[f'forces_{index + 1}'].set_array('forces', force[None])
        return functions.collect_dft_forces(made, **outputs)
    frames = qha.gather_displaced(volume_00=made)
    return qha.split_forces(frames, node, volume_00=made)['volume_00']


def with_nac(data: Any) -> Any:
    """Return the phonons with Born charges."""
    nac = orm.ArrayData()
    nac.set_array('born_charges', np.zeros((len(data.get_primitive_cell().sites), 3, 3)))
    nac.set_array('dielectric', np.eye(3))
    return functions.attach_nac(data, nac)


def job_phonons(data: Any) -> Any:
    """Return the phonons that our own jobs make of a node."""
    return phonon_from_arrays(phonopy_arrays(data))


def phonopy_job_phonons(data: Any, code: Any, tmp_path: Path) -> Any:
    """Return the phonons that the command ``phonopy`` makes of the file that its job writes."""
    inputs = {'code': code, 'phonopy_data': data, 'parameters': orm.Dict({'MESH': [2, 2, 2]}),
              'metadata': {'options': {'resources': {'num_machines': 1}}}}  # fmt: skip
    process = instantiate_process(get_manager().get_runner(), PhonopyCalculation, **inputs)
    with SandboxFolder() as folder:
        process.prepare_for_submission(folder)
        path = tmp_path / 'phonopy_params.yaml'
        path.write_text(Path(folder.get_abs_path('phonopy_disp.yaml')).read_text())
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return phonopy.load(path, is_nac=False, log_level=0)


@pytest.mark.parametrize('nac', [False, True], ids=['plain', 'nac'])
@pytest.mark.parametrize('way', ['potential', 'dft', 'qha'])
def test_isotopes(aiida_profile: Any, phonopy_code: Any, tmp_path: Path, way: str, nac: bool) -> None:
    """Frequencies of tied atoms go as one over the root of the mass, in every way that phonons are made."""
    atoms = bulk('Si', a=5.47)
    lowest = {}
    for mass in (28.0855, 7.021375):
        atoms.set_masses([mass] * 2)
        data = phonons_by(way, orm.StructureData(ase=atoms))
        data = with_nac(data) if nac else data
        for phonon in (job_phonons(data), phonopy_job_phonons(data, phonopy_code, tmp_path)):
            phonon.run_qpoints(X)
            lowest.setdefault(mass, []).append(float(phonon.qpoints.frequencies[0, 0]))
        assert [kind.mass for kind in data.get_primitive_cell().kinds] == pytest.approx([mass])
    assert lowest[7.021375] == pytest.approx([2 * value for value in lowest[28.0855]], rel=1e-6)
    assert lowest[28.0855][0] == pytest.approx(lowest[28.0855][1], rel=1e-9)


def test_some_isotopes(aiida_profile: Any, phonopy_code: Any, tmp_path: Path) -> None:
    """Two masses of one element are two kinds: all results have the lower symmetry."""
    atoms = bulk('Si', a=5.47)
    atoms.set_masses([28.0855, 7.021375])
    data = phonons_by('potential', orm.StructureData(ase=atoms))
    ours, theirs = job_phonons(data), phonopy_job_phonons(data, phonopy_code, tmp_path)
    for phonon in (ours, theirs):
        assert len(phonon.primitive_symmetry.pointgroup_operations) == 24
        phonon.run_qpoints(X)
        assert phonon.qpoints.frequencies[0, 5] == pytest.approx(2 * phonon.qpoints.frequencies[0, 0], rel=1e-6)
    assert harmonic.formula_units(ours) == 2


def test_kinds(aiida_profile: Any, phonopy_code: Any, tmp_path: Path) -> None:
    """Kinds lower the symmetry of displacements, of our jobs, and of phonopy's: bcc iron in two kinds is CsCl."""
    atoms = Atoms('Fe2', scaled_positions=[[0] * 3, [0.5] * 3], cell=[2.9] * 3, pbc=True, tags=[1, 2])
    data = phonons_by('potential', orm.StructureData(ase=atoms))
    assert len(data.displacement_dataset['first_atoms']) == 2
    for phonon in (job_phonons(data), phonopy_job_phonons(data, phonopy_code, tmp_path)):
        assert len(phonon.primitive) == 2
    side = phonon_metrics.evaluate_side(job_phonons(data), mesh=(2, 2, 2))
    assert (side.metrics['n_atoms'], side.metrics['space_group']) == (2, 'Pm-3m (221)')


@pytest.mark.parametrize(
    ('name', 'qpoint', 'expected'),
    [('PdD_t1', [0, 0, 0], None), ('NiAFM_t1', [0.5, 0.5, 0], [2.99922388] * 2 + [3.66518836] * 2 + [4.35637163] * 2)],
)
def test_stored_phonons(aiida_profile: Any, tmp_path: Path, phonopy_code: Any, name: str, qpoint: Any,
                        expected: Any) -> None:  # fmt: skip
    """Masses and moments of a file reach the stored node, our jobs and phonopy's, as ``phonopy.load`` has them."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        by_hand = phonopy.load(CASES / f'{name}.yaml', symprec=SYMPREC, log_level=0)
    structure, data = store_phonons(load_phonopy(CASES / f'{name}.yaml'), name)
    by_hand.run_qpoints([qpoint])
    right = by_hand.qpoints.frequencies[0]
    if expected is not None:
        assert right == pytest.approx(expected, abs=1e-6)
    for phonon in (job_phonons(data), phonopy_job_phonons(data, phonopy_code, tmp_path)):
        phonon.run_qpoints([qpoint])
        assert phonon.qpoints.frequencies[0] == pytest.approx(right, abs=1e-5)
    if name == 'PdD_t1':
        assert {kind.symbol: kind.mass for kind in structure.kinds}['H'] == pytest.approx(2.014)
    else:
        assert sorted(kind.name for kind in structure.kinds) == ['Ni1', 'Ni2']
        assert (
            len(
                functions.preprocess(structure, orm.List(MATRIX), orm.Dict({}), orm.Float(1e-4))
                .get_primitive_cell()
                .sites
            )
            == 2
        )


def test_deuterium_is_heavier(aiida_profile: Any) -> None:
    """The optical mode of PdD at X is 74.4 THz, not the 105.2 THz of hydrogen."""
    _, data = store_phonons(load_phonopy(CASES / 'PdD_t1.yaml'))
    phonon = job_phonons(data)
    phonon.run_qpoints([[0, 0, 0.5]])
    assert phonon.qpoints.frequencies[0, 3] == pytest.approx(74.44, abs=0.01)


def test_third_order(aiida_profile: Any, starter: Any, python_code: Any) -> None:
    """phono3py's job is given the masses."""
    atoms = bulk('Si', a=5.47)
    for mass, known in ((28.0855, False), (27.977, True)):
        atoms.set_masses([mass] * 2)
        inputs = {'code': python_code, 'potential': starter, 'structure': orm.StructureData(ase=atoms),
                  'supercell_matrix': orm.List(MATRIX), 'phonon_supercell_matrix': orm.List(MATRIX)}  # fmt: skip
        process = instantiate_process(get_manager().get_runner(), ThirdOrderCalculation, **inputs)
        assert ('masses' in process.get_structures()) == known


@pytest.mark.parametrize(
    ('symbol', 'mass', 'natural'),
    [('H', 1.008, True), ('H', 1.00794, True), ('H', 2.014, False), ('Si', 28.0855, True), ('Si', 27.977, False),
     ('U', 238.0508, False), ('Se', 78.96, True), ('Se', 78.971, True), ('Fe', 55.935, False)],
)  # fmt: skip
def test_natural(symbol: str, mass: float, natural: bool) -> None:
    """The tables of the libraries differ in the last digit; isotopes differ by more."""
    assert is_natural(symbol, mass) == natural
