"""`equitrain.material`: from a crystal to a fine-tuned potential, its phonons and the comparison with DFT."""

from .workchain import MaterialWorkChain

__all__ = ['MaterialWorkChain']
