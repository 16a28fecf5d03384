"""Parsers of the CalcJobs: one for all, and what relaxation and training need beside it."""
