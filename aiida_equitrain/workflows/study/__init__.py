"""`equitrain.study`: many trainings of many materials, in one table."""

from .workchain import StudyWorkChain

__all__ = ['StudyWorkChain']
