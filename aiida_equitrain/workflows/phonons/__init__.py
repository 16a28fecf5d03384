"""`equitrain.phonons`: phonons of a crystal from a potential or from DFT."""

from .workchain import PhononsWorkChain

__all__ = ['PhononsWorkChain']
