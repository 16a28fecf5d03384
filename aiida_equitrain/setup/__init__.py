"""Set up a profile: codes, pseudopotentials, potentials, environments; find what was set up."""
