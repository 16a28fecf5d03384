"""Nequix: its files and a calculator. A helper of ``potential_loader.py``.

The PyTorch model of Nequix (0.4) gets its weights straight from the ``.nqx`` file. Nequix's own loader takes the way
over JAX, and leaves a converted file beside the original under the name of another model. The model runs in the
precision of its weights; Nequix's calculator has single precision only, and is given one structure at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from matscipy.neighbours import neighbour_list
from nequix.torch_impl.model import NequixTorch

from ..science import nequix_file
from .nequix_messages import with_matrix_products

#: Settings of a file that the PyTorch model is built of, under the same names.
ARCHITECTURE = (
    'hidden_irreps', 'lmax', 'cutoff', 'n_layers', 'radial_basis_size', 'radial_mlp_size', 'radial_mlp_layers',
    'radial_polynomial_p', 'mlp_init_scale', 'index_weights', 'layer_norm', 'shift', 'scale', 'avg_n_neighbors',
)  # fmt: skip
#: Parts of the names of tensors that e3nn computes itself.
CONSTANTS = ('output_mask', '.tp.', 'scalars_gates_vectors_elemwise', '_w3j_', '.bias')


def read_model(path: str | Path, device: str = 'cpu', head: str | None = None) -> Any:
    """Return the model of a file in torch's default precision; nothing of the file is run.

    Its ``header`` is what the file says in its first line.

    :param head: there is none to choose; accepted for the sake of the other families.
    :raises ValueError: with a sentence, if the file is no model of Nequix.
    """
    header, tensors = nequix_file.read(Path(path).read_bytes())
    model = NequixTorch(n_species=len(header['atomic_numbers']), **{name: header[name] for name in ARCHITECTURE})
    found = model.load_state_dict(
        {name: torch.from_numpy(np.array(item)).to(torch.get_default_dtype()) for name, item in tensors.items()},
        strict=False,
    )
    odd = [name for name in found.missing_keys if not any(part in name for part in CONSTANTS)]
    if odd or found.unexpected_keys:
        raise ValueError(f'the Nequix in this Python has other tensors than the file: {[*odd, *found.unexpected_keys]}')
    for module in model.modules():
        if type(module).__name__ == 'normalize2mom':
            module.x = None  # a million numbers that Nequix needs once
    model.header = header
    return with_matrix_products(model).eval().to(device)


def write_checkpoint(model: Any, file: Any) -> None:
    """Write a model as a file that Nequix, and :func:`read_model`, load.

    :param file: path, or stream of bytes.
    """
    tensors = {name: item.detach().cpu().numpy() for name, item in model.state_dict().items()}
    if isinstance(file, str | Path):
        with Path(file).open('wb') as stream:
            nequix_file.write(model.header, tensors, stream)
    else:
        nequix_file.write(model.header, tensors, file)


def make_calculator(model: Any, device: str, dtype: str) -> Any:
    """Return an ASE calculator."""
    return NequixCalculator(model, device, dtype)


class NequixCalculator(Calculator):  # type: ignore[misc,unused-ignore]
    """Nequix's PyTorch model as an ASE calculator, in single or double precision, for one structure or several."""

    implemented_properties = ['energy', 'free_energy', 'forces', 'stress']

    def __init__(self, model: Any, device: str, dtype: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self.model, self.device, self.dtype = model.eval(), device, getattr(torch, dtype)
        numbers = model.header['atomic_numbers']
        #: Which place of the model an atomic number has; -1 for none.
        self.places = np.full(max(numbers) + 1, -1)
        self.places[numbers] = range(len(numbers))

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Compute energy, forces and stress."""
        Calculator.calculate(self, atoms, properties, system_changes)
        energies, forces, stress = self.evaluate([atoms])
        voigt = full_3x3_to_voigt_6_stress(stress[0])
        self.results = {'energy': energies[0], 'free_energy': energies[0], 'forces': forces, 'stress': voigt}

    def evaluate(self, frames: list[Any]) -> tuple[Any, Any, Any]:
        """Return the energies (B,), the forces of all atoms (sum of N, 3) and the stresses (B, 3, 3) of structures.

        :raises ValueError: if a structure has an element that the model does not know.
        """
        with _default_dtype(self.dtype):
            graph = self.graph(frames)
            of_atoms, forces, stress = self.model(*graph)
        energies = torch.zeros(len(frames), dtype=torch.float64)
        energies.index_add_(0, graph[-1].cpu(), of_atoms.detach().cpu().double())
        return energies.numpy(), *(item.detach().cpu().double().numpy() for item in (forces, stress))

    def graph(self, frames: list[Any]) -> tuple[Any, ...]:
        """Return the arguments of the model for structures; distances and cells in the model's precision."""
        pairs: list[Any] = []
        begin = 0
        for atoms in frames:
            if (wrong := self._unknown(atoms)) is not None:
                raise ValueError(f'the potential does not know the element with the atomic number {wrong}')
            receivers, senders, shifts = neighbour_list(
                'ijS', positions=atoms.positions, cell=atoms.cell[:], pbc=atoms.pbc, cutoff=self.model.cutoff
            )
            pairs.append((senders + begin, receivers + begin, shifts))
            begin += len(atoms)
        senders, receivers, shifts = (np.concatenate(items) for items in zip(*pairs, strict=True))
        sizes = [len(atoms) for atoms in frames]
        whole = (
            self.places[np.concatenate([atoms.numbers for atoms in frames])],
            np.concatenate([atoms.positions for atoms in frames]),
            shifts,
            np.stack([senders, receivers]),
            np.stack([atoms.cell[:] for atoms in frames]),
            np.array(sizes),
            np.array([len(item[0]) for item in pairs]),
            np.repeat(np.arange(len(frames)), sizes),
        )
        types = (torch.int64, self.dtype, self.dtype, torch.int64, self.dtype, *[torch.int64] * 3)
        return tuple(
            torch.as_tensor(item, dtype=kind, device=self.device) for item, kind in zip(whole, types, strict=True)
        )

    def _unknown(self, atoms: Any) -> int | None:
        """Return an atomic number that the model does not know, or ``None``."""
        numbers = set(atoms.numbers.tolist())
        return next((n for n in sorted(numbers) if n >= len(self.places) or self.places[n] < 0), None)


@contextmanager
def _default_dtype(dtype: Any) -> Iterator[None]:
    """Let torch make tensors of a precision: Nequix's radial functions make some of torch's default one."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
