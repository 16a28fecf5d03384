"""The sum over neighbours in a layer of Nequix, as products of matrices. A helper of ``nequix_family.py``.

Nequix's PyTorch model makes the message of every edge (feature of the neighbour times spherical harmonic times weight)
with e3nn, then adds up those of each atom. On a CPU that takes most of the time: e3nn cuts its arguments into many
slices, and the gradient of a slice is a tensor as large as the whole. Here the edges of each atom lie side by side, and
each kind of message is one product of matrices for each atom, in which the sum over its edges is done. It is the same
sum in another order: in single precision the last digits differ. Forces take a quarter of the time, and so does a step
of training, whose second derivatives make it dearer.
"""

from __future__ import annotations

from typing import Any

import torch
from nequix.torch_impl.model import NequixTorch, NequixTorchConvolution


def with_matrix_products(model: Any) -> Any:
    """Let a model of Nequix add up its messages as here, in place; its parameters and their names stay.

    :param model: a ``NequixTorch`` without the kernels for GPUs.
    """
    for layer in model.layers:
        product = layer.tp
        layer.blocks = [(mul, ir.dim) for mul, ir in product.irreps_in1]
        layer.paths = [
            (ins.i_in1, product.irreps_in1[ins.i_in1], product.irreps_out[ins.i_out].ir.dim)
            for ins in product.instructions
        ]
        layer.coupling = _coupling(product)
        del layer.tp
        layer.__class__ = Layer
    model.__class__ = Model
    return model


def _coupling(product: Any) -> torch.Tensor:
    """Return what couples spherical harmonics to features: (harmonics, entries of all paths), in double precision.

    :param product: e3nn's tensor product, whose paths (kind of the feature, harmonic, kind of the message) are in the
        order of the weights.
    """
    # Not above: the e3nn of MACE's Python cannot be imported before MACE.
    from e3nn.o3 import wigner_3j

    places, parts = product.irreps_in2.slices(), []
    for ins in product.instructions:
        first, second = product.irreps_in1[ins.i_in1].ir, product.irreps_in2[ins.i_in2].ir
        third = product.irreps_out[ins.i_out].ir
        part = torch.zeros(product.irreps_in2.dim, first.dim, third.dim, dtype=torch.float64)
        symbols = wigner_3j(first.l, second.l, third.l, dtype=torch.float64)
        part[places[ins.i_in2]] = ins.path_weight * symbols.transpose(0, 1)
        parts.append(part.flatten(1))
    return torch.cat(parts, dim=1)


class Model(NequixTorch):  # type: ignore[misc,unused-ignore]
    """Nequix's model, which gives its layers the same number of edges for every atom, one atom after another."""

    def node_energies(self, displacements: Any, species: Any, senders: Any, receivers: Any) -> Any:
        """Return the energies of the atoms (N, 1), eV.

        :param displacements: vectors along the edges (E, 3), Å.
        :param species: places of the elements (N).
        :param senders: neighbours (E), ``receivers`` the atoms whose neighbours they are.
        """
        order = torch.argsort(receivers, stable=True)
        counts = torch.bincount(receivers, minlength=len(species))
        column = torch.arange(int(counts.max()) if len(receivers) else 0, device=receivers.device)
        place = (counts.cumsum(0) - counts)[:, None] + column
        # Where an atom has fewer neighbours stands an edge beyond the cutoff: its weights and their gradients are 0.
        order = torch.cat([order, order.new_full((1,), len(order))])
        edges = order[torch.where(column < counts[:, None], place, len(receivers)).flatten()]
        beyond = displacements.new_full((1, 3), self.cutoff)
        return super().node_energies(
            torch.cat([displacements, beyond])[edges],
            species,
            torch.cat([senders, senders.new_zeros(1)])[edges],
            receivers,
        )


class Layer(NequixTorchConvolution):  # type: ignore[misc,unused-ignore]
    """A layer whose messages are added up by products of matrices; made by :func:`with_matrix_products`."""

    def forward(self, features: Any, species: Any, sh: Any, radial_basis: Any, senders: Any, receivers: Any) -> Any:
        """Return the features of the atoms after this layer.

        :param sh: spherical harmonics of the edges, the edges of each atom side by side; so are the others.
        """
        aggregated = self.aggregate(self.linear_1(features), sh, self.radial_mlp(radial_basis), senders)
        features = self.linear_2(aggregated / self.avg_n_neighbors**0.5) + self.skip(features)
        return self.gate(features if self.layer_norm is None else self.layer_norm(features))

    def aggregate(self, features: Any, sh: Any, weights: Any, senders: Any) -> Any:
        """Return the sums of the messages, (atoms, components of all messages in the order of the weights)."""
        atoms = len(features)
        neighbours = len(senders) // max(atoms, 1)
        blocks = features.split([channels * size for channels, size in self.blocks], dim=1)
        # Channels last: an edge's weights are those of its channels.
        of_neighbours = [
            block.reshape(atoms, channels, size).transpose(1, 2).reshape(atoms, size * channels)[senders]
            for block, (channels, size) in zip(blocks, self.blocks, strict=True)
        ]
        couplings = sh @ self.coupling.to(sh)
        sizes = [(channels, ir.dim, size) for _, (channels, ir), size in self.paths]
        sums = []
        for (source, *_), (channels, before, after), weight, coupling in zip(
            self.paths,
            sizes,
            weights.split([channels for channels, *_ in sizes], dim=1),
            couplings.split([before * after for _, before, after in sizes], dim=1),
            strict=True,
        ):
            weighted = of_neighbours[source].reshape(-1, before, channels) * weight[:, None, :]
            weighted = weighted.reshape(atoms, neighbours * before, channels)
            total = torch.bmm(weighted.transpose(1, 2), coupling.reshape(atoms, neighbours * before, after))
            sums.append(total.reshape(atoms, channels * after))
        return torch.cat(sums, dim=1)
