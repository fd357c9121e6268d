"""Analyses of trained networks, from their weights files (Section 5)."""
