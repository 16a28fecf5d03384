"""Nequix as Equitrain trains it: Equitrain 1.0 has no wrapper for it.

Equitrain makes low-rank changes of parameters that are matrices and are called ``weight``. Nequix has none: each of its
linear maps is a flat tensor, one matrix after another, and those of its radial networks have another name. So for
``lora`` they are shown to Equitrain as the matrices that they are, all of them (:class:`NequixMatrices`).
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import torch
from equitrain.backends.torch_wrappers import AbstractWrapper
from equitrain.data.atomic import AtomicNumberTable

from ...science import nequix_file
from ..nequix_family import write_checkpoint


class NequixWrapper(AbstractWrapper):  # type: ignore[misc,unused-ignore]
    """Nequix's PyTorch model behind Equitrain's interface.

    :param model: what ``nequix_family.read_model`` returned.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        #: Whoever needs energies only switches both off.
        self.compute_force, self.compute_stress = True, True

    def forward(self, data: Any) -> dict[str, Any]:
        """Return energies (B), eV, forces (N, 3), eV/Å, and stress (B, 3, 3), eV/Å³, of one batch of Equitrain's."""
        return self.evaluate(data, self.compute_force or self.compute_stress)

    def evaluate(self, data: Any, derivatives: bool) -> dict[str, Any]:
        """Return the same with the weights of the model; without derivatives, forces and stress are ``None``."""
        result: dict[str, Any] = _Evaluation(self.model)(data, derivatives)
        return result

    def export(self, path: str | Path) -> None:
        """Write a file of Nequix; Equitrain's modules of the strategies call this with the trained weights in place."""
        write_checkpoint(self.model, path)

    @property
    def atomic_numbers(self) -> Any:
        """Table of the elements, in the order of the model."""
        return AtomicNumberTable(self.model.header['atomic_numbers'])

    @property
    def atomic_energies(self) -> list[float]:
        """Energies of the atoms by element, eV."""
        return [float(value) for value in self.model.atom_energies]

    @property
    def r_max(self) -> float:
        """Cutoff, Å."""
        return float(self.model.cutoff)


class NequixMatrices(NequixWrapper):
    """The same, with the linear maps as matrices that are called ``weight``: what is trained are these.

    :param model: as above; its own weights are replaced in :meth:`export` only.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        #: The matrices by the name of the tensor that they are parts of, in its order.
        self.parts: dict[str, list[str]] = {}
        self.matrices = torch.nn.ModuleDict()
        weights, ends = dict(model.named_parameters()), dict.fromkeys(dict(model.named_parameters()), 0)
        for piece in nequix_file.layout(model.header):
            if len(piece.shape) < 2:  # energies of the atoms, norms of the layers
                continue
            flat, begin = weights[piece.name].detach().flatten(), ends[piece.name]
            ends[piece.name] = begin + prod(piece.shape)
            place = f'{len(self.matrices):03d}'
            self.matrices[place] = _Matrix(flat[begin : ends[piece.name]].reshape(piece.shape))
            self.parts.setdefault(piece.name, []).append(place)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the tensors of the model that the matrices make, by name."""
        shapes = {name: item.shape for name, item in self.model.named_parameters()}
        return {
            name: torch.cat([self.matrices[place]() for place in places]).reshape(shapes[name])
            for name, places in self.parts.items()
        }

    def evaluate(self, data: Any, derivatives: bool) -> dict[str, Any]:
        """Return what the model gives with the weights that the matrices make."""
        weights = {f'model.{name}': item for name, item in self.weights().items()}
        result: dict[str, Any] = torch.func.functional_call(_Evaluation(self.model), weights, (data, derivatives))
        return result

    def export(self, path: str | Path) -> None:
        """Write a file of Nequix with the weights that the matrices make."""
        with torch.no_grad():
            for name, item in self.weights().items():
                self.model.get_parameter(name).copy_(item)
        super().export(path)


class _Matrix(torch.nn.Module):
    """One matrix, under the name by which Equitrain finds it."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(values.clone())

    def forward(self) -> torch.Tensor:
        """Return the entries, row by row."""
        return self.weight.flatten()


class _Evaluation(torch.nn.Module):
    """A model of Nequix that takes a batch of Equitrain's."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, data: Any, derivatives: bool) -> dict[str, Any]:
        """Return what :meth:`NequixWrapper.forward` does; without derivatives, forces and stress are ``None``."""
        # Equitrain's table of elements is in the order of the model. Its edges begin at the atom whose neighbours they
        # lead to: at the receiver of the message, as Nequix calls it.
        species, cell = data['node_attrs'].argmax(dim=1), data.cell.reshape(-1, 3, 3)
        receivers, senders = data.edge_index
        forces = stress = None
        if derivatives:
            edges = torch.stack([senders, receivers])
            # The model does not look at the numbers of atoms and edges.
            sizes = (None, None)
            of_atoms, forces, stress = self.model(
                species, data.positions.detach(), data.unit_shifts, edges, cell, *sizes, data.batch
            )
        else:
            along = data.positions[senders] - data.positions[receivers] + data.shifts
            of_atoms = self.model.node_energies(along, species, senders, receivers)[:, 0]
        energy = of_atoms.new_zeros(len(cell)).index_add(0, data.batch, of_atoms)
        return {'energy': energy, 'forces': forces, 'stress': stress}
