"""`equitrain.instability`: the energy along imaginary modes, and the phases that they lead to."""

from .workchain import InstabilityWorkChain

__all__ = ['InstabilityWorkChain']
