"""`equitrain.active_learning`: label the frames on which a committee of potentials disagrees, and train again."""

from .workchain import ActiveLearningWorkChain

__all__ = ['ActiveLearningWorkChain']
