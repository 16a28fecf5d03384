"""Evaluate forces on many structures of the same atoms with a potential, in one process.

Reads ``job.json`` and ``structures.npz``; writes ``forces.npz``, ``progress.json`` and ``summary.json``.

Finite differences evaluate every structure; several at once (``batch_size``) pay on a GPU only. The analytic Hessian
evaluates the undisplaced supercell once and differentiates its forces: what is needed are the responses -Φ·u to the
given displacements, and each costs one backward pass (or three per displaced atom, where that is less).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .evaluation_io import Evaluation, Partial, Progress, make_atoms, stress_tensor
from .job_io import DriverFailure, run_driver, write_arrays

FORCES = 'forces.npz'
#: Displacements below this length (Å) are taken for rounding.
NO_DISPLACEMENT = 1e-10


def evaluate(calculator: Any, frames: list[Any], batch_size: int) -> Iterator[tuple[Any, Any, Any]]:
    """Yield energies (B,), forces (B, N, 3) and stresses (B, 3, 3) of the frames, batch after batch."""
    import numpy as np

    if batch_size > 1:
        for start in range(0, len(frames), batch_size):
            yield evaluate_batch(calculator, frames[start : start + batch_size])
        return
    for atoms in frames:
        calculator.calculate(atoms)
        results = calculator.results
        stress = np.array([stress_tensor(results)], dtype=float)
        yield np.array([results['energy']], dtype=float), np.array([results['forces']], dtype=float), stress


def evaluate_batch(calculator: Any, frames: list[Any]) -> tuple[Any, Any, Any]:
    """Return what :func:`evaluate` yields for one batch, of one pass through the model."""
    import numpy as np

    if hasattr(calculator, 'evaluate'):  # of Nequix
        energies, forces, stress = calculator.evaluate(frames)
        return energies, forces.reshape(len(frames), -1, 3), stress
    out = calculator.models[0](batch_of(calculator, frames), compute_stress=True, training=False)
    n_frames, n_atoms = len(frames), len(frames[0])
    energies, forces, stress = (
        out[key].detach().cpu().numpy().astype(np.float64) for key in ('energy', 'forces', 'stress')
    )
    return energies.reshape(n_frames), forces.reshape(n_frames, n_atoms, 3), stress.reshape(n_frames, 3, 3)


def batch_of(calculator: Any, frames: list[Any]) -> dict[str, Any]:
    """Return the input of a MACE model for several structures."""
    import torch
    from mace import data
    from mace.tools import torch_geometric

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if calculator.default_dtype == 'float64' else torch.float32)
    try:
        graphs = [
            data.AtomicData.from_config(
                data.config_from_atoms(atoms, head_name=calculator.head),
                z_table=calculator.z_table,
                cutoff=calculator.r_max,
                heads=calculator.available_heads,
            )
            for atoms in frames
        ]
    finally:
        torch.set_default_dtype(before)
    whole: Any = torch_geometric.Batch
    batch: dict[str, Any] = whole.from_data_list(graphs).to(calculator.device).to_dict()
    return batch


def displacements_of(positions: Any, supercell: Any, cell: Any) -> Any:
    """Return the displacements (F, N, 3) of the frames from the supercell, each by its nearest image."""
    import numpy as np

    fractional = np.linalg.solve(cell.T, (positions - supercell).reshape(-1, 3).T).T
    displacements = ((fractional - np.round(fractional)) @ cell).reshape(positions.shape)
    displacements[np.abs(displacements) < NO_DISPLACEMENT] = 0.0
    return displacements


def response(calculator: Any, atoms: Any, displacements: Any, progress: Any) -> tuple[Any, Any, float, int]:
    """Return the forces -Φ·u (F, N, 3) that follow from the analytic Hessian Φ for the displacements u.

    :returns: these forces, the forces of the supercell itself (N, 3), its energy, and the number of backward passes.
    """
    import numpy as np
    import torch

    model = calculator.models[0]
    batch = batch_of(calculator, [atoms])
    out = model(batch, training=True, compute_stress=False)
    forces, positions = out['forces'], batch['positions']

    def differentiate(vector: Any) -> Any:
        tensor = torch.as_tensor(vector, dtype=forces.dtype, device=forces.device)
        (gradient,) = torch.autograd.grad(forces, positions, tensor, retain_graph=True)
        return gradient.detach().cpu().numpy().astype(np.float64)

    moved = np.flatnonzero(np.abs(displacements).max(axis=(0, 2)))
    if len(displacements) <= 3 * len(moved):
        result = np.empty_like(displacements)
        for index, displacement in enumerate(displacements):
            result[index] = differentiate(displacement)
            progress(index + 1)
        passes = len(displacements)
    else:
        result = np.zeros_like(displacements)
        for done, (atom, axis) in enumerate((atom, axis) for atom in moved for axis in range(3)):
            row = np.zeros(displacements.shape[1:])
            row[atom, axis] = 1.0
            result += displacements[:, atom, axis, None, None] * differentiate(row)
            progress(round((done + 1) / (3 * len(moved)) * len(displacements)))
        passes = 3 * len(moved)
    pristine = forces.detach().cpu().numpy().astype(np.float64)
    return result, pristine, float(out['energy'].detach().cpu().reshape(-1)[0]), passes


def run_hessian(calculator: Any, file: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays and the facts for the summary by the analytic Hessian.

    The energies are those of the harmonic expansion around the supercell.
    """
    import numpy as np

    progress = Progress('forces', len(file['positions']))
    displacements = displacements_of(file['positions'], file['supercell_positions'], file['supercell_cell'])
    atoms = make_atoms(file['numbers'], file['supercell_positions'], file['supercell_cell'])
    forces, residual, energy, passes = response(calculator, atoms, displacements, progress)
    energies = energy - np.einsum('fni,ni->f', displacements, residual + 0.0)
    energies -= 0.5 * np.einsum('fni,fni->f', displacements, forces)
    return {'forces': forces, 'energies': energies, 'residual_forces': residual}, {'n_backward_passes': passes}


def run_finite_differences(
    calculator: Any, file: dict[str, Any], batch_size: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays and the facts for the summary by evaluating every structure."""
    import numpy as np

    frames = [make_atoms(file['numbers'], *frame) for frame in zip(file['positions'], file['cells'], strict=True)]
    arrays: dict[str, Any] = {}
    if 'supercell_positions' in file:
        pristine = make_atoms(file['numbers'], file['supercell_positions'], file['supercell_cell'])
        ((_, residual, _),) = evaluate(calculator, [pristine], 1)
        arrays['residual_forces'] = residual[0]
    progress, partial = Progress('forces', len(frames)), Partial()
    done = sum(len(unit['energies']) for unit in partial.units)
    for energies, forces, stress in evaluate(calculator, frames[done:], batch_size):
        partial.add(energies=energies, forces=forces, stress=stress)
        done += len(energies)
        progress(done)
    for name in ('energies', 'forces', 'stress'):
        arrays[name] = np.concatenate([unit[name] for unit in partial.units])
    write_arrays(FORCES, **arrays)
    partial.remove()
    return arrays, {'batch_size': batch_size, 'n_units_before': partial.n_before}


def main() -> None:
    """Evaluate all structures."""
    job = Evaluation()
    import numpy as np

    # Both are refused before submission as well (``common.strategies``).
    if job.settings['method'] == 'hessian':
        if not hasattr(job.calculator, 'models') or not hasattr(job.calculator, 'z_table'):
            raise DriverFailure('hessian_unavailable', 'this family of potentials offers no analytic Hessian')
        arrays, facts = run_hessian(job.calculator, job.structures)
    else:
        arrays, facts = run_finite_differences(job.calculator, job.structures, job.settings['batch_size'])
    write_arrays(FORCES, **arrays)
    n_frames, n_atoms = arrays['forces'].shape[:2]
    residual = arrays.get('residual_forces')
    largest = None if residual is None else float(np.abs(residual).max())
    job.write_summary(
        {'n_frames': n_frames, 'n_atoms': n_atoms, 'residual_force_max_ev_per_angstrom': largest, **facts}
    )
    wrong = [str(index) for index, forces in enumerate(arrays['forces']) if not np.isfinite(forces).all()]
    if wrong:
        raise DriverFailure('forces_not_finite', f'the forces of frame(s) {", ".join(wrong[:10])} are not finite')


if __name__ == '__main__':
    run_driver(main)
