"""`equitrain.label`: frames with energies, forces and stress of DFT."""
