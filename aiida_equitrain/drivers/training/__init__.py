"""Training: its job (`job.py`), the engines Equitrain and MACE, and what both need."""
