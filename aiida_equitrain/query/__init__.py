"""Ask the database: tables of potentials, datasets, phonons and studies, and where a result came from."""

from .flags import red_flags
from .jobs import cost
from .lineage import best_potential, describe, lineage
from .studies import studies, study_table
from .tables import datasets, instabilities, phonons, potentials
from .work import jobs

__all__ = [
    'best_potential',
    'cost',
    'datasets',
    'describe',
    'instabilities',
    'jobs',
    'lineage',
    'phonons',
    'potentials',
    'red_flags',
    'studies',
    'study_table',
]
