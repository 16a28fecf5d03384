"""Thin calcfunctions over science."""
