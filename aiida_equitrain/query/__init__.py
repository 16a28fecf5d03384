"""Ask the database: tables of potentials, datasets and phonons, and where a result came from."""

from .lineage import best_potential, describe, lineage
from .tables import datasets, instabilities, phonons, potentials

__all__ = ['best_potential', 'datasets', 'describe', 'instabilities', 'lineage', 'phonons', 'potentials']
