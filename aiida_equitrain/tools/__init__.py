"""Read the graph and set up the profile."""
