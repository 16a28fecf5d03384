"""Scripts that run on the compute machine; they import neither aiida nor aiida_equitrain."""
