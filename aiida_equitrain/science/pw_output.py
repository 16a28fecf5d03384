"""Read labels from the output of pw.x: of steps that converged, the energy of their forces, forces and stress."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.io.espresso import get_atomic_positions, get_cell_parameters, label_to_symbol, parse_pwo_start, units
from numpy.typing import NDArray

from .frame_checks import other_physics
from .frames import Frame

START, POSITIONS, UNCONVERGED = 'Program PWSCF', 'ATOMIC_POSITIONS', 'convergence NOT achieved'
#: Lines that are read at most.
MAX_LINES = 2_000_000
_HUBBARD = re.compile(r'(LDA|DFT)\+U')
#: With hybrid functionals there are several, and the last one is that of the forces.
_ENERGY = re.compile(r'^!+\s+total energy\s+=\s*(\S+)\s+Ry')
_FORCE = re.compile(r'^\s*atom\s+\d+\s+type\s+\d+\s+force\s+=\s*(\S+)\s+(\S+)\s+(\S+)\s*$')


def read_pw(text: str) -> tuple[list[Frame], list[str]]:
    """Return the frames of all steps that converged, and sentences about those left out.

    Not by ASE's reader, which takes the first energy of a step and stops at a step that did not converge.

    :raises ValueError: one sentence, if this is no output of pw.x or none of its steps is a label.
    """
    if text.count('\n') > MAX_LINES:
        raise ValueError(f'it has more than {MAX_LINES} lines: cut it into parts')
    lines = text.split('\n')
    starts = {row for row, line in enumerate(lines) if START in line}
    if not starts:
        raise ValueError(f'it is no output of pw.x: it has no line with `{START}`')
    rows = sorted([*starts, *(row for row, line in enumerate(lines) if POSITIONS in line and row > min(starts))])
    frames: list[Frame] = []
    n_unconverged, cut_off = 0, text.rfind('JOB DONE') < text.rfind(START)
    for row, end in zip(rows, [*rows[1:], len(lines)], strict=True):
        step = lines[row:end]
        try:
            if row in starts:
                first, alat = _first_structure(lines, row)
            atoms = first if row in starts else _structure(lines, row, first, alat)
            frame = _frame(step, atoms)
        except (KeyError, IndexError, ValueError, AssertionError, AttributeError, TypeError, StopIteration) as error:
            if cut_off and end == len(lines):
                break
            raise ValueError(f'it cannot be read as output of pw.x, from line {row + 1} on') from error
        if any(UNCONVERGED in line for line in step) or (frame is not None and frame.energy is None):
            n_unconverged += 1
        elif frame is not None:
            frames.append(frame)
    physics = other_physics('Starting magnetic structure' in text, _HUBBARD.search(text) is not None)
    return frames, _notes(text, len(frames), n_unconverged, cut_off) + physics


def _notes(text: str, n_frames: int, n_unconverged: int, cut_off: bool) -> list[str]:
    """Return sentences about what was left out.

    :raises ValueError: if nothing is left.
    """
    if n_frames:
        notes = [f'{n_unconverged} steps left out: their scf did not converge'] if n_unconverged else []
        return notes + (['it is cut off (no `JOB DONE`): its whole steps are taken'] if cut_off else [])
    if n_unconverged:
        raise ValueError('the calculation did not converge (`convergence NOT achieved`): it has no labels')
    if 'Error in routine' in text:
        raise ValueError('the calculation stopped with an error of pw.x: it has no labels')
    if cut_off:
        raise ValueError('the calculation was cut off before its forces were written (no `JOB DONE`): run it again')
    raise ValueError('it has no forces: set `tprnfor = .true.` in the input of pw.x')


def _first_structure(lines: Sequence[str], row: int) -> tuple[Atoms, float]:
    """Return the structure, and the lattice parameter in Å, that the calculation begins with."""
    found = parse_pwo_start(lines, row)
    return found['atoms'], float(found['alat'])


def _structure(lines: Sequence[str], row: int, first: Atoms, alat: float) -> Atoms:
    """Return the structure of a later step; its cell stands before it where it changes."""
    cell = np.array(first.cell)
    if row >= 5 and 'CELL_PARAMETERS' in lines[row - 5]:
        cell, _ = get_cell_parameters(lines[row - 5 : row])
    card = get_atomic_positions(lines[row : row + len(first) + 1], n_atoms=len(first), cell=cell, alat=alat)
    return Atoms([label_to_symbol(item[0]) for item in card], [item[1] for item in card], cell=cell, pbc=True)


def _frame(step: Sequence[str], atoms: Atoms) -> Frame | None:
    """Return the labelled frame of a step, ``None`` if it has no forces; it has an energy only if it converged."""
    forces = _forces(step, len(atoms))
    energies = [match[1] for line in step if (match := _ENERGY.match(line))]
    if forces is None:
        return None
    return Frame(
        numbers=np.asarray(atoms.numbers, dtype=np.int64),
        positions=np.array(atoms.positions),
        cell=np.array(atoms.cell),
        energy=float(energies[-1]) * units['Ry'] if energies else None,
        forces=forces * units['Ry'] / units['Bohr'],
        stress=_stress(step),
    )


def _forces(step: Sequence[str], size: int) -> NDArray[np.float64] | None:
    """Return the total forces, Ry/bohr, which stand before their parts."""
    head = next((row for row, line in enumerate(step) if 'Forces acting on atoms' in line), None)
    if head is None:
        return None
    found: list[tuple[str, ...]] = []
    for line in step[head + 1 :]:
        if match := _FORCE.match(line):
            found.append(match.groups())
        elif line.strip():
            break
    if len(found) != size:
        raise ValueError('the forces are not those of all atoms')
    return np.array(found, dtype=float)


def _stress(step: Sequence[str]) -> NDArray[np.float64] | None:
    """Return the stress, eV/Å³; pw.x writes the pressure tensor, in Ry/bohr³ and in kbar."""
    head = next((row for row, line in enumerate(step) if 'total   stress' in line), None)
    if head is None:
        return None
    rows = [line.split()[:3] for line in step[head + 1 : head + 4]]
    unit = float(units['Ry'] / units['Bohr'] ** 3)
    return -np.array(rows, dtype=float).reshape(3, 3) * unit
