"""`equitrain.phonons`: phonons of a crystal from a potential or from DFT."""
