"""Give a trained starter the teacher's elastic constants by the smallest change of its weights.

Usage, where mace-torch is installed: ``python polish.py LABELS_FOLDER starter.model OUTPUT.model --often pnma-SnSe=4``.

Elastic constants of soft crystals hang on forces of 3 meV/Å on strained cells whose ions are relaxed; ``train.py``,
whose loss is quadratic below 10 meV/Å, hardly sees them. Here forces and stresses on those cells (each kind of strain
in both directions, for every crystal) become the teacher's to first order in the change of the weights; energies and
forces of other frames, those of phonons among them, stay; and of all such changes the smallest is made: ridge
regression in its dual form, δ = Jᵀ (J Jᵀ + λ)⁻¹ r. Takes ten minutes of a core and 9 GB.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.io import read
from crystals import by_crystal
from train import batch_of, tensors

#: What counts as one in the regression: eV/Å, eV/Å³, eV per atom.
UNITS = {'forces': 1e-3, 'stress': 3e-5, 'energy': 1e-3}
#: Of the six sizes of each kind of strain, in the order of ``label.elastic_frames``: -0.005 and 0.005.
SIZES = (1, 4)
N_ELASTIC = 36
#: Atoms in the largest frame that is no supercell for phonons.
LARGEST = 24
#: Places of the six stresses among nine.
VOIGT = (0, 4, 8, 5, 2, 1)


def evaluate(model, frame: Atoms) -> tuple[torch.Tensor, torch.Tensor]:
    """Return forces, stresses and energy per atom of a frame in their units, and what the teacher has more."""
    parts = tensors(frame, float(model.r_max), 'cpu')
    parts = {name: value.double() if value.is_floating_point() else value for name, value in parts.items()}
    out = model(batch_of([parts]), training=True, compute_force=True, compute_stress=True)
    scales = {**UNITS, 'energy': UNITS['energy'] * len(frame)}
    values = torch.cat([out[name].flatten() / scale for name, scale in scales.items()])
    labels = torch.cat([parts[name].flatten() / scale for name, scale in scales.items()])
    return values, (labels - values).detach()


def gradients(values: torch.Tensor, weights: list[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Yield the derivatives (P,) of each value by all weights."""
    for value in values:
        found = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
        parts = [torch.zeros_like(w) if part is None else part for part, w in zip(found, weights, strict=True)]
        yield torch.cat([part.flatten() for part in parts]).float()


def rows_to_reach(model, frames: list[Atoms], weights: list[torch.Tensor], often: dict[str, float]) -> Iterator:
    """Yield derivatives and residuals of forces and stresses on strained cells with relaxed ions."""
    for name, own in by_crystal(frames).items():
        for start in range(len(own) - N_ELASTIC, len(own), N_ELASTIC // 6):
            for frame in (own[start + size] for size in SIZES):
                values, residuals = evaluate(model, frame)
                # The forces of the last atom follow from the others.
                places = [*range(3 * len(frame) - 3), *(3 * len(frame) + place for place in VOIGT)]
                factor = often.get(name, 1.0)
                for row, place in zip(gradients(values[places], weights), places, strict=True):
                    yield factor * row, factor * float(residuals[place])
        print(name, flush=True)


def rows_to_keep(model, frames: list[Atoms], weights: list[torch.Tensor], number: int, rng) -> Iterator:
    """Yield derivatives of the energy and two random sums of forces of some frames of each crystal, which stay."""
    for own in by_crystal(frames).values():
        for index in rng.permutation(len(own))[:number]:
            values, _ = evaluate(model, own[index])
            n_forces = 3 * len(own[index])
            sums = torch.tensor(rng.normal(size=(2, n_forces))) @ values[:n_forces] / n_forces**0.5
            yield from ((row, 0.0) for row in gradients(torch.cat([sums, values[-1:]]), weights))


def smallest_change(jacobian: torch.Tensor, residuals: torch.Tensor, ridge: float) -> torch.Tensor:
    """Return the change of the weights; print the residuals before and after it, to first order."""
    kernel = (jacobian @ jacobian.T).double()
    shift = ridge * float(kernel.diagonal().mean()) * torch.eye(len(kernel))
    dual = torch.linalg.solve(kernel + shift, residuals)
    before, after = (float(item.square().mean().sqrt()) for item in (residuals, residuals - kernel @ dual))
    print(f'{len(residuals)} rows, residual {before:.3f}, {after:.3f} after', flush=True)
    return (jacobian.T @ dual.float()).double()


def main() -> None:
    """Write the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('labels', type=Path)
    parser.add_argument('model', type=Path)
    parser.add_argument('output', type=Path)
    parser.add_argument('--ridge', type=float, default=1e-4, help='λ in units of the mean diagonal of J Jᵀ')
    parser.add_argument('--kept', type=int, default=6, help='training frames of each crystal whose forces stay')
    parser.add_argument(
        '--often', nargs='+', default=[], metavar='CRYSTAL=FACTOR', help='weight of crystals that are still wrong'
    )
    args = parser.parse_args()
    often = {name: float(factor) for name, factor in (item.split('=') for item in args.often)}
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    model = torch.load(args.model, map_location='cpu', weights_only=False).double()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    train = read(args.labels / 'train.xyz', ':')
    rows = list(rows_to_reach(model, read(args.labels / 'strained.xyz', ':'), weights, often))
    for kept in ([frame for frame in train if (len(frame) > LARGEST) == large] for large in (False, True)):
        rows += rows_to_keep(model, kept, weights, args.kept, np.random.default_rng(0))
    jacobian, residuals = torch.stack([row for row, _ in rows]), torch.tensor([residual for _, residual in rows])
    del rows
    change = smallest_change(jacobian, residuals, args.ridge)
    with torch.no_grad():
        for weight, part in zip(weights, change.split([weight.numel() for weight in weights]), strict=True):
            weight += part.reshape(weight.shape)
    torch.save(model.float(), args.output)


if __name__ == '__main__':
    main()
