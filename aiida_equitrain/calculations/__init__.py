"""CalcJobs, and thin calcfunctions over science."""
