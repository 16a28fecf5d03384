"""The command aiida-equitrain."""
