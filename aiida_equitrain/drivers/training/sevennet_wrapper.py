"""SevenNet as Equitrain trains it.

Equitrain's wrapper (1.0) takes the cutoff of a model for a tensor, which it is not in sevenn 0.13, and hands on
SevenNet's stress as it comes: with the other sign than the labels, and with the shear components in another order. Both
are mended here; nothing else differs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from equitrain.backends.torch_wrappers import SevennetWrapper

from ..sevennet_family import write_checkpoint

#: Where xx, yy, zz, yz, xz, xy stand in SevenNet's stress: xx, yy, zz, xy, yz, zx.
VOIGT = [0, 1, 2, 4, 5, 3]


class SevenNetWrapper(SevennetWrapper):  # type: ignore[misc,unused-ignore]
    """Equitrain's wrapper of SevenNet, mended.

    :param model: what ``sevennet_family.read_model`` returned.
    """

    def __init__(self, args: Any, model: Any) -> None:
        super().__init__(args, model)
        model.set_is_batch_data(True)
        #: Constants that SevenNet holds as parameters and does not train, such as shift and scale of the energies.
        self.fixed = {name for name, item in self.named_parameters() if not item.requires_grad}

    @classmethod
    def batch_voigt_to_tensor(cls, voigts: Any) -> Any:
        """Return the stress (B, 3, 3), positive under tension, of SevenNet's six components."""
        return SevennetWrapper.batch_voigt_to_tensor(-voigts[:, VOIGT])

    @property
    def r_max(self) -> float:
        """Cutoff, Å."""
        return float(self.model.cutoff)

    def export(self, path: str | Path) -> None:
        """Write a checkpoint; Equitrain's modules of the strategies call this with the trained weights in place."""
        write_checkpoint(self.model, path)


def hold_fixed(module: Any) -> Any:
    """Return a module of Equitrain's in which SevenNet's constants stay as they are; it makes changes of them too."""
    for name, _, delta in getattr(module, '_delta_entries', ()):
        if name in module.base_wrapper.fixed:
            delta.requires_grad_(False)
    return module
