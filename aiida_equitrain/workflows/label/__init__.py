"""`equitrain.label`: frames with energies, forces and stress of DFT."""

from .workchain import LabelWorkChain

__all__ = ['LabelWorkChain']
