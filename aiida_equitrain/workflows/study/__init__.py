"""`equitrain.study`: many trainings of many materials, in one table."""
