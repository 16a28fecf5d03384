"""Write what is stored as files that other programs open: phonopy, ASE, LAMMPS, spreadsheets."""
