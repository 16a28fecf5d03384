"""How closely a model can be fitted to eight DFT frames of AlN, which tells whether its architecture bends.

Usage: ``python bend.py FRAMES.npz [--model starter.model | --channels 64 ...]`` where the npz holds ``numbers``
(atoms), ``cell`` (3, 3), ``positions`` and ``forces`` (frames, atoms, 3) in Angstrom and eV/Angstrom, made by
``bend.py --extract PHONOPY_PARAMS.yaml.xz FRAMES.npz``. All weights, squared loss of forces, one-cycle rate.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import mace.modules  # noqa: F401  (before e3nn)
import numpy as np
import torch
import train
from ase import Atoms


def extract(source: Path, target: Path) -> None:
    """Write frames 0 to 39 of a phonopy file with random displacements."""
    import phonopy

    phonon = phonopy.load(source, produce_fc=False, log_level=0)
    cell = phonon.supercell
    found = phonon.dataset
    np.savez(
        target,
        numbers=cell.numbers,
        cell=cell.cell,
        positions=cell.positions + found['displacements'][:40],
        forces=found['forces'][:40],
    )


def main() -> None:
    """Fit, and print the error on the frames trained on and on others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('frames', type=Path)
    parser.add_argument('--extract', type=Path)
    parser.add_argument('--model', type=Path)
    parser.add_argument('--steps', type=int, default=1750)
    parser.add_argument('--seconds', type=float, default=3600)
    parser.add_argument('--frames-a-step', type=int, default=8)
    parser.add_argument('--lr', type=float, default=0.005)
    for name, default in {'channels': 64, 'max-l': 1, 'max-ell': 2, 'correlation': 3}.items():
        parser.add_argument(f'--{name}', type=int, default=default)
    parser.add_argument('--r-max', type=float, default=5.0)
    args = parser.parse_args()
    if args.extract:
        extract(args.extract, args.frames)
        return
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    torch.manual_seed(1)
    held = np.load(args.frames)
    atoms = []
    for positions, forces in zip(held['positions'], held['forces'], strict=True):
        frame = Atoms(numbers=held['numbers'], cell=held['cell'], positions=positions, pbc=True)
        frame.arrays['REF_forces'] = forces
        atoms.append(frame)
    torch.set_default_dtype(torch.float32)
    if args.model:
        model = torch.load(args.model, map_location='cpu', weights_only=False).to(device)
        r_max = float(model.r_max)
        known = [int(number) for number in model.atomic_numbers]
        assert known == train.ELEMENTS, known
    else:
        r_max = args.r_max
        model = train.make_model(args, [0.0] * len(train.ELEMENTS), 0.3, 0.0, 40.0).to(device)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    fit, others = ([train.tensors(frame, r_max, device) for frame in group] for group in (atoms[:8], atoms[8:16]))
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.steps)

    def told(step: int) -> None:
        errors = [1e3 * train.evaluate(model, frames, 4)['forces'] for frames in (fit, others)]
        print(
            f'{args.model or vars(args)} step {step} {time.time() - begin:.0f} s: {errors[0]:.2f} meV/A fitted, '
            f'{errors[1]:.2f} others',
            flush=True,
        )

    begin = time.time()
    told(0)
    rng = np.random.default_rng(1)
    step = 0
    while step < args.steps and time.time() - begin < args.seconds:
        chosen = rng.choice(8, args.frames_a_step, replace=False)
        batch = train.batch_of([fit[i] for i in chosen])
        out = model(batch, training=True, compute_force=True, compute_stress=False)
        loss = 1e3 * (out['forces'] - batch['forces']).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        step += 1
        if step % 250 == 0:
            told(step)
    told(step)


if __name__ == '__main__':
    main()
