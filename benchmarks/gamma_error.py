"""What DFT at the Γ point, as `fast` has it for insulators, costs in accuracy: `python benchmarks/gamma_error.py`.

Phonons of one supercell at the Γ point against those of the same supercell with a shifted mesh of 2×2×2: same
displacement (0.01 Å), cut-off, pseudopotentials and thresholds, so that the k-points alone differ. Cells are the
experimental ones; the cut-off is low (it hardly matters for a difference of k-points). pw.x has to be on the PATH.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from aiida_equitrain.science.phonon_metrics import compare_phonons
from aiida_equitrain.science.phonopy_io import make_force_constants, make_phonon

CUBE, BODY_CENTRED = 2 * np.eye(3), np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
#: Name: conventional cell, supercell of it, cut-off (Ry).
CASES = {
    'Si, 64 atoms': (bulk('Si', cubic=True), CUBE, 20),
    'Si, 32 atoms': (bulk('Si', cubic=True), BODY_CENTRED, 20),
    'NaCl, 32 atoms': (bulk('NaCl', 'rocksalt', a=5.64, cubic=True), BODY_CENTRED, 45),
}
FAMILY = 'resources/pseudos/PseudoDojo-0.4-PBE-SR-standard/upf'
INPUT = """&CONTROL
 calculation='scf', tprnfor=.true., pseudo_dir='{pseudos}', outdir='{folder}', disk_io='none'
/
&SYSTEM
 ibrav=0, nat={n_atoms}, ntyp={n_types}, ecutwfc={ecutwfc}, ecutrho={ecutrho}, occupations='fixed'
/
&ELECTRONS
 conv_thr=1e-11
/
ATOMIC_SPECIES
{species}
CELL_PARAMETERS angstrom
{cell}
ATOMIC_POSITIONS angstrom
{positions}
K_POINTS {kpoints}
"""


def forces_of(atoms: Atoms, ecutwfc: float, kpoints: str) -> Any:
    """Return forces (N, 3) of pw.x, eV/Å."""
    kinds = sorted(set(atoms.get_chemical_symbols()))
    with tempfile.TemporaryDirectory() as folder:
        text = INPUT.format(
            pseudos=files('aiida_equitrain').joinpath(FAMILY),
            folder=folder,
            n_atoms=len(atoms),
            n_types=len(kinds),
            ecutwfc=ecutwfc,
            ecutrho=4 * ecutwfc,
            species='\n'.join(f'{kind} 1.0 {kind}.upf' for kind in kinds),
            cell='\n'.join(' '.join(f'{value:.12f}' for value in row) for row in atoms.cell),
            positions='\n'.join(
                f'{symbol} ' + ' '.join(f'{value:.12f}' for value in place)
                for symbol, place in zip(atoms.get_chemical_symbols(), atoms.positions, strict=True)
            ),
            kpoints=kpoints,
        )
        output = Path(folder, 'pw.out')
        with output.open('w') as file:
            subprocess.run(['pw.x'], input=text, stdout=file, text=True, check=True, cwd=folder)
        return ase.io.read(output, format='espresso-out').get_forces()


def phonons_of(cell: Atoms, matrix: Any, ecutwfc: float, kpoints: str) -> tuple[Phonopy, float]:
    """Return phonons, and the seconds that pw.x took."""
    unit = PhonopyAtoms(
        symbols=cell.get_chemical_symbols(), cell=cell.cell[:], scaled_positions=cell.get_scaled_positions()
    )
    phonon: Any = make_phonon(unit, matrix, 'auto', 1e-5)
    phonon.generate_displacements(distance=0.01)
    start, dataset = time.time(), phonon.dataset
    for displaced, item in zip(phonon.supercells_with_displacements, dataset['first_atoms'], strict=True):
        atoms = Atoms(displaced.symbols, displaced.positions, cell=displaced.cell, pbc=True)
        item['forces'] = forces_of(atoms, ecutwfc, kpoints)
    make_force_constants(phonon, dataset, acoustic_sum_rule=True)
    return phonon, time.time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--only', choices=CASES, help='One of the crystals.')
    for name, (cell, matrix, ecutwfc) in CASES.items():
        if parser.parse_args().only in (None, name):
            gamma, seconds = phonons_of(cell, matrix, ecutwfc, 'gamma')
            mesh, more = phonons_of(cell, matrix, ecutwfc, 'automatic\n2 2 2 1 1 1')
            found = compare_phonons(gamma, mesh)
            lattice = np.array(gamma.supercell.cell)
            width = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0).max()
            error, highest = found['candidate']['phonon_mae_thz'], found['reference']['max_frequency_thz']
            print(
                f'{name}, {width:.1f} Å wide: {error:.3f} THz of {highest:.2f} ({100 * error / highest:.1f} %), signed '
                f'{found["candidate"]["phonon_bias_thz"]:+.3f}, highest {found["candidate"]["max_frequency_thz"]:.2f}; '
                f'{seconds:.0f} s against {more:.0f} s',
                flush=True,
            )


if __name__ == '__main__':
    main()
