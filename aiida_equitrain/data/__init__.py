"""Nodes: the potential and the dataset."""
