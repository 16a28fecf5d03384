"""Turn a trained starter into the files that ship: the model, its card, and the set that measures forgetting.

Usage, where mace-torch is installed: ``python finish.py LABELS_FOLDER starter.model ../aiida_equitrain/resources``.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from pathlib import Path

import mace.modules
import numpy as np
import phonopy
import properties
import torch
from ase import Atoms
from ase.io import read
from ase.units import GPa
from crystals import by_crystal
from mace.calculators import MACECalculator
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.science.frames import Frames
from aiida_equitrain.science.phonon_metrics import compare_phonons
from aiida_equitrain.science.phonopy_io import make_force_constants

#: What fine-tuning a model of this size takes, found with ``benchmarks/phonon_accuracy.py --hyperparameters``.
FINETUNE = Path(__file__).with_name('finetune.json')
#: Errors of its phonons before any label, by `benchmarks/foundations.py`: delete it when another model is trained.
ZERO_LABEL = Path(__file__).with_name('zero_label_thz.json')


def errors(frames: list[Atoms], calculator: MACECalculator) -> dict[str, float]:
    """Mean absolute errors against the teacher."""
    energy, forces, stress = [], [], []
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = calculator
        energy.append(abs(atoms.get_potential_energy() - frame.info['REF_energy']) / len(frame))
        forces.append(np.abs(atoms.get_forces() - frame.arrays['REF_forces']).ravel())
        stress.append(np.abs(atoms.get_stress(voigt=False) - np.reshape(frame.info['REF_stress'], (3, 3))).ravel())
    return {
        'n_frames': len(frames),
        'energy_mae_mev_per_atom': round(1e3 * float(np.mean(energy)), 2),
        'force_mae_mev_per_angstrom': round(1e3 * float(np.mean(np.concatenate(forces))), 2),
        'stress_mae_gpa': round(float(np.mean(np.concatenate(stress))) / GPa, 3),
    }


def phonon_errors(folder: Path, calculator: MACECalculator) -> dict[str, dict[str, float]]:
    """By crystal: mean error over the Brillouin zone against the teacher's phonons, lowest frequency of both (THz)."""
    rows = {}
    for path in sorted(folder.glob('*.yaml')):
        reference = phonopy.load(path, produce_fc=False, log_level=0)
        make_force_constants(reference, reference.dataset, acoustic_sum_rule=True)
        candidate = phonopy.load(path, produce_fc=False, log_level=0)
        pristine = forces_of(calculator, candidate.supercell)
        candidate.forces = [forces_of(calculator, cell) - pristine for cell in candidate.supercells_with_displacements]
        make_force_constants(candidate, candidate.dataset, acoustic_sum_rule=True)
        compared = compare_phonons(candidate, reference, mesh=(12, 12, 12))
        rows[path.stem] = {
            'mae': round(compared['candidate']['phonon_mae_thz'], 3),
            'lowest': round(compared['candidate']['min_frequency_thz'], 3),
            'lowest_of_teacher': round(compared['reference']['min_frequency_thz'], 3),
        }
    return rows


def elastic_errors(labels: Path, calculator: MACECalculator) -> dict[str, dict[str, float]]:
    """By crystal, in percent of the teacher's: volume, bulk modulus of the equation of state, elastic constants.

    Of the constants the largest error counts, over those of at least a tenth of the largest constant.
    """
    rows = {}
    teacher = json.loads((labels / 'elastic.json').read_text())
    for name, cell in properties.relaxed_crystals(labels, list(teacher)).items():
        mine, theirs = properties.elastic_properties(cell, calculator), teacher[name]
        a, b = np.array(mine['elastic_constants']), np.array(theirs['elastic_constants'])
        large = np.abs(b) >= 0.1 * np.abs(b).max()
        rows[name] = {
            'volume': round(100 * (mine['volume'] / theirs['volume'] - 1), 2),
            'bulk_modulus': round(100 * (mine['bulk_modulus'] / theirs['bulk_modulus'] - 1), 1),
            'elastic_constants': round(100 * float(np.abs(a / b - 1)[large].max()), 1),
        }
        print(name, rows[name], a[large].round(1), b[large].round(1), flush=True)
    return rows


def forces_of(calculator: MACECalculator, cell: PhonopyAtoms) -> np.ndarray:
    """Return the forces of the potential on a supercell of phonopy, eV/Angstrom."""
    atoms = Atoms(numbers=cell.numbers, positions=cell.positions, cell=cell.cell, pbc=True)
    return np.array(calculator.get_forces(atoms), dtype=float)


def deflate(path: Path) -> None:
    """Compress the pickled part of a torch file, losslessly; torch reads deflated members as it reads stored ones."""
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)  # a fixed date, so that equal weights give equal bytes
            info.compress_type = zipfile.ZIP_DEFLATED if name.endswith('data.pkl') else zipfile.ZIP_STORED
            archive.writestr(info, content)


def forgetting_set(test: list[Atoms], held_out: list[Atoms]) -> Frames:
    """One test frame of every trained crystal and two of every held-out one."""
    chosen = [group[0] for group in by_crystal(test).values()]
    chosen += [frame for group in by_crystal(held_out).values() for frame in group[:2]]
    return Frames.from_atoms(chosen, role='test', source='nequix-oam-1-pft')


def main() -> None:
    """Write ``potentials/starter.model``, ``potentials/starter.json`` and ``forgetting.npz``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('labels', type=Path)
    parser.add_argument('model', type=Path)
    parser.add_argument('resources', type=Path)
    args = parser.parse_args()
    folder = args.resources / 'potentials'
    folder.mkdir(parents=True, exist_ok=True)
    model = torch.load(args.model, map_location='cpu', weights_only=False)
    assert isinstance(model, mace.modules.ScaleShiftMACE)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    torch.save(model, folder / 'starter.model')
    deflate(folder / 'starter.model')
    calculator = MACECalculator(model_paths=folder / 'starter.model', device='cpu', default_dtype='float64')
    test, held_out = read(args.labels / 'test.xyz', ':'), read(args.labels / 'held_out.xyz', ':')
    card = {
        'name': 'starter',
        'starter': True,
        'description': 'Small MACE distilled from nequix-oam-1-pft, so that aiida-equitrain runs without a download. '
        'It is not MACE-MP and no foundation for science: see MODEL_CARD.md.',
        'functional': 'PBE',
        'teacher': 'nequix-oam-1-pft (MIT licence, copyright 2025 Teddy Koker; arXiv 2601.07742), SHA-256 4ce693d6...',
        'licence': 'MIT',
        'finetune': json.loads(FINETUNE.read_text()) if FINETUNE.exists() else {},
        'zero_label_thz': json.loads(ZERO_LABEL.read_text()) if ZERO_LABEL.exists() else {},
        'errors': {
            'test': errors(test, calculator),
            'held_out': errors(held_out, calculator),
            'by_held_out_crystal': {name: errors(group, calculator) for name, group in by_crystal(held_out).items()},
            'force_mae_by_test_crystal': {
                name: errors(group, calculator)['force_mae_mev_per_angstrom']
                for name, group in by_crystal(test).items()
            },
            'phonons_thz_against_teacher': phonon_errors(args.labels / 'phonons', calculator),
            'elastic_percent_against_teacher': elastic_errors(args.labels, calculator),
        },
    }
    (folder / 'starter.json').write_text(json.dumps(card, indent=2) + '\n')
    forgetting_set(test, held_out).save(args.resources / 'forgetting.npz')
    print(json.dumps(card['errors'], indent=2))


if __name__ == '__main__':
    main()
