"""The names that ports, YAML files, job files and reports share."""

from __future__ import annotations

from enum import Enum

#: How the process types of our WorkChains and of our jobs begin.
WORKCHAINS, CALCJOBS = 'aiida.workflows:equitrain.', 'aiida.calculations:equitrain.'
#: The process type of pw.x, and what it writes to.
PW, PW_OUTPUT = 'aiida.calculations:quantumespresso.pw', 'aiida.out'


class Role(str, Enum):
    """What a labelled frame is used for."""

    TRAIN = 'train'
    VALID = 'valid'
    TEST = 'test'


class Recipe(str, Enum):
    """How frames to label are made."""

    #: Rattled, strained, scaled in volume, and relaxed by the foundation (Grandel, Benner, George 2026).
    PAPER = 'paper'
    #: The unstrained supercell of the phonons with small displacements of all atoms.
    HARMONIC = 'harmonic'


class Strategy(str, Enum):
    """How the weights of the foundation are changed (Grandel, Benner, George 2026)."""

    L2_TSP = 'l2-tsp'
    L2_SP = 'l2-sp'
    LORA = 'lora'
    TRANSFER = 'transfer'
    FREEZE = 'freeze'
    MULTIHEAD = 'multihead'
    SCRATCH = 'scratch'


class Engine(str, Enum):
    """What trains the weights."""

    EQUITRAIN = 'equitrain'
    MACE = 'mace'


class ForceMethod(str, Enum):
    """How a potential's response to displacements is obtained."""

    FINITE_DIFFERENCES = 'finite-differences'
    HESSIAN = 'hessian'


class Family(str, Enum):
    """Architecture families of potentials that can be loaded."""

    MACE = 'mace'
    SEVENNET = 'sevennet'
    NEQUIX = 'nequix'


#: Name of the parent among the phases behind its imaginary modes.
ROOT_PHASE = 'root'

#: Name of the package under which modules of ours are staged in a job's folder (see ``calculations.staging``).
JOB_PACKAGE = 'equitrain_job'

#: Strategies whose result is stored as an adapter to the foundation: the changed entries and nothing else. The others
#: change every weight, or the architecture, and their result is stored as a full model.
ADAPTER_STRATEGIES = ('l2-tsp', 'l2-sp', 'lora', 'freeze')
