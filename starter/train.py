"""Train the starter on the teacher's labels (``label.py``), for as long as there is time, on a GPU or a CPU.

Usage, where mace-torch is installed: ``python train.py LABELS_FOLDER OUTPUT_FOLDER --minutes 8``. MACE's own command
goes by epochs; here the learning rate falls with the clock, so that rented minutes are used to the last. All frames
stay on the device as tensors; ``checkpoint.pt`` lets a run that ended be continued with ``--from``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import mace.modules
import numpy as np
import torch
from ase import Atoms
from ase.io import read
from ase.units import GPa
from e3nn import o3
from mace.data.neighborhood import get_neighborhood

ELEMENTS = [6, 7, 8, 11, 12, 13, 14, 17, 19, 20, 31, 32, 33, 34, 50, 52, 56, 82]
#: Edges of the Huber losses: eV/Angstrom, eV per atom, eV/Angstrom^3.
HUBER = {'forces': 0.01, 'energy': 0.01, 'stress': 1e-4}
#: Weights of the losses, each in units of its edge.
WEIGHTS = {'forces': 0.1, 'energy': 0.01, 'stress': 2.0}


def make_model(args: argparse.Namespace, energies: list[float], scale: float, shift: float, neighbors: float):
    """Return a MACE with random weights."""
    block = mace.modules.interaction_classes['RealAgnosticResidualInteractionBlock']
    hidden = '+'.join(f'{args.channels}x{degree}{"eo"[degree % 2]}' for degree in range(args.max_l + 1))
    return mace.modules.ScaleShiftMACE(
        r_max=args.r_max,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=args.max_ell,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps(hidden),
        MLP_irreps=o3.Irreps('16x0e'),
        atomic_energies=np.array(energies),
        avg_num_neighbors=neighbors,
        atomic_numbers=ELEMENTS,
        correlation=args.correlation,
        gate=torch.nn.functional.silu,
        radial_MLP=[64, 64, 64],
        atomic_inter_scale=scale,
        atomic_inter_shift=shift,
    )


def tensors(frame: Atoms, r_max: float, device: str) -> dict[str, torch.Tensor]:
    """Return one frame as tensors on the device."""
    edges, shifts, unit_shifts, _ = get_neighborhood(frame.positions, r_max, (True, True, True), np.array(frame.cell))
    one_hot = np.eye(len(ELEMENTS))[[ELEMENTS.index(number) for number in frame.numbers]]
    arrays = {
        'positions': frame.positions,
        'node_attrs': one_hot,
        'shifts': shifts,
        'unit_shifts': unit_shifts,
        'cell': np.array(frame.cell),
        'forces': frame.arrays['REF_forces'],
        'energy': np.array([frame.info.get('REF_energy', 0.0)]),
        'stress': np.reshape(frame.info.get('REF_stress', np.zeros(9)), (1, 3, 3)),
        'weight': np.full(len(frame), frame.info.get('config_forces_weight', 1.0)),
    }
    found = {name: torch.tensor(value, dtype=torch.float32, device=device) for name, value in arrays.items()}
    return {**found, 'edge_index': torch.tensor(np.array(edges), dtype=torch.long, device=device)}


def batch_of(frames: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Join frames to one graph of disconnected parts."""
    device = frames[0]['positions'].device
    counts = [len(frame['positions']) for frame in frames]
    starts = np.concatenate([[0], np.cumsum(counts)])
    batch = {name: torch.cat([frame[name] for frame in frames]) for name in frames[0] if name != 'edge_index'}
    batch['edge_index'] = torch.cat(
        [frame['edge_index'] + int(start) for frame, start in zip(frames, starts, strict=False)], dim=1
    )
    batch['ptr'] = torch.tensor(starts, device=device)
    batch['batch'] = torch.repeat_interleave(
        torch.arange(len(frames), device=device), torch.tensor(counts, device=device)
    )
    return batch


def losses(model, batch: dict[str, torch.Tensor], *, train: bool) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the weighted loss, and the mean absolute errors (eV/Angstrom, eV per atom, eV/Angstrom^3)."""
    out = model(batch, training=train, compute_force=True, compute_stress=True)
    counts = (batch['ptr'][1:] - batch['ptr'][:-1]).to(out['energy'].dtype)
    pairs = {
        'forces': (out['forces'], batch['forces']),
        'energy': (out['energy'] / counts, batch['energy'] / counts),
        'stress': (out['stress'], batch['stress']),
    }

    def huber(name: str) -> torch.Tensor:
        loss = torch.nn.functional.huber_loss(*pairs[name], delta=HUBER[name], reduction='none')
        return WEIGHTS[name] / HUBER[name] * loss

    loss = (huber('forces').mean(dim=1) * batch['weight']).mean() + huber('energy').mean() + huber('stress').mean()
    return loss, {name: (a - b).abs().mean().detach() for name, (a, b) in pairs.items()}


@torch.no_grad()
def average_into(average, model, decay: float) -> None:
    """Move the running average of the weights towards those of the model."""
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


def evaluate(model, frames: list[dict[str, torch.Tensor]], size: int) -> dict[str, float]:
    """Return the mean absolute errors over frames."""
    rows = [losses(model, batch_of(frames[i : i + size]), train=False)[1] for i in range(0, len(frames), size)]
    return {name: float(np.mean([float(row[name]) for row in rows])) for name in rows[0]}


def learning_rate(progress: float, largest: float) -> float:
    """Warm up over the first 2 %, then fall to a thousandth along a cosine."""
    if progress < 0.02:
        return largest * (0.05 + 0.95 * progress / 0.02)
    return largest * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * (progress - 0.02) / 0.98)))


def main() -> None:
    """Train, print the errors as they fall, write ``starter.model``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('labels', type=Path)
    parser.add_argument('output', type=Path)
    parser.add_argument('--minutes', type=float, default=8)
    parser.add_argument('--channels', type=int, default=64)
    parser.add_argument('--max-l', type=int, default=1, help='largest degree of the hidden features')
    parser.add_argument('--max-ell', type=int, default=2, help='largest degree of the spherical harmonics')
    parser.add_argument('--correlation', type=int, default=3)
    parser.add_argument('--r-max', type=float, default=5.0)
    parser.add_argument('--lr', type=float, default=0.01)
    parser.add_argument('--batch-atoms', type=int, default=320, help='atoms in a batch, about')
    parser.add_argument('--ema', type=float, default=0.998)
    parser.add_argument('--seed', type=int, default=20261128)
    parser.add_argument('--share', type=float, default=1.0, help='of the frames of train.xyz that an epoch takes')
    parser.add_argument(
        '--repeat', nargs='+', default=[], metavar='CRYSTAL=TIMES', help='how often an epoch takes its strained frames'
    )
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--from', dest='start', type=Path)
    args = parser.parse_args()
    begin = time.time()
    args.output.mkdir(parents=True, exist_ok=True)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    torch.set_num_threads(args.threads)
    train, strained, valid = (read(args.labels / f'{split}.xyz', ':') for split in ('train', 'strained', 'valid'))
    repeats = dict(item.split('=') for item in args.repeat)
    often = [int(repeats.get(frame.info['crystal'], 1)) for frame in strained]
    always = np.repeat(np.arange(len(train), len(train) + len(strained)), often)
    n_drawn = len(train)
    some = max(1, round(args.share * n_drawn))
    train = [*train, *strained]
    known = json.loads((args.labels / 'energies.json').read_text())
    energies = [known[str(number)] for number in ELEMENTS]
    excess = [
        (frame.info['REF_energy'] - sum(known[str(number)] for number in frame.numbers)) / len(frame) for frame in train
    ]
    scale = float(np.sqrt(np.mean(np.concatenate([frame.arrays['REF_forces'].ravel() ** 2 for frame in train]))))
    data, valid_data = ([tensors(frame, args.r_max, device) for frame in frames] for frames in (train, valid))
    neighbors = float(np.mean([frame['edge_index'].shape[1] / len(frame['positions']) for frame in data]))
    torch.set_default_dtype(torch.float32)
    model = make_model(args, energies, scale, float(np.mean(excess)), neighbors).to(device)
    average = make_model(args, energies, scale, float(np.mean(excess)), neighbors).to(device)
    if args.start:
        model.load_state_dict(torch.load(args.start, map_location=device, weights_only=True))
    average.load_state_dict(model.state_dict())
    print(
        f'{sum(p.numel() for p in model.parameters())} parameters, {len(data)} frames, {neighbors:.1f} neighbours, '
        f'{device}, set-up {time.time() - begin:.0f} s',
        flush=True,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, amsgrad=True, fused=device == 'cuda')
    sizes = np.array([len(frame) for frame in train])
    begin, limit, steps, epoch = time.time(), 60 * args.minutes, 0, 0
    told = begin
    while time.time() - begin < limit:
        order = rng.permutation([*rng.permutation(n_drawn)[:some], *always])
        cuts = np.flatnonzero(np.diff(np.cumsum(sizes[order]) // args.batch_atoms)) + 1
        for chosen in np.split(order, cuts):
            progress = (time.time() - begin) / limit
            if progress >= 1:
                break
            for group in optimizer.param_groups:
                group['lr'] = learning_rate(progress, args.lr)
            loss, _ = losses(model, batch_of([data[i] for i in chosen]), train=True)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            average_into(average, model, min(args.ema, (1 + steps) / (10 + steps)))
            steps += 1
            if time.time() - told > 30:
                told = time.time()
                found = evaluate(average, valid_data, 16)
                print(
                    f'{told - begin:5.0f} s  epoch {epoch:3d}  step {steps:6d}  loss {float(loss):.5f}  '
                    f'forces {1e3 * found["forces"]:.1f} meV/A  energy {1e3 * found["energy"]:.1f} meV  '
                    f'stress {found["stress"] / GPa:.3f} GPa',
                    flush=True,
                )
                torch.save(average.state_dict(), args.output / 'checkpoint.pt')
        epoch += 1
    torch.save(average.state_dict(), args.output / 'checkpoint.pt')
    torch.save(average.to('cpu'), args.output / 'starter.model')
    print('end', steps, 'steps', epoch, 'epochs', evaluate(average.to(device), valid_data, 16), flush=True)


if __name__ == '__main__':
    main()
