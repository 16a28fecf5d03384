"""Pure functions on numpy, ase, phonopy and spglib; never imports aiida."""
