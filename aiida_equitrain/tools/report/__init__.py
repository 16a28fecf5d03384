"""The report of a run: read the graph, draw the figures, write one page."""
