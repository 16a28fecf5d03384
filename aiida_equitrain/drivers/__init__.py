"""Drivers: what jobs run on the compute machine. They import neither AiiDA nor, by its name, aiida_equitrain."""
