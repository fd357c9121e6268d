"""Figures 1-25: one module each, with `NEEDS` and `draw`, found by name."""
