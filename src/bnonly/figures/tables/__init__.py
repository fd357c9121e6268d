"""The paper's tables, and tables of its claims without a figure: one module each, with `NEEDS` and `build`."""
