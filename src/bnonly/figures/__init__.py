"""Figures 1-25: one module each, `NEEDS` and `draw`, discovered by name."""
