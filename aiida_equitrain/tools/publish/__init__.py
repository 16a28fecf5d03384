"""Publish a graph, and check one that somebody has published."""
