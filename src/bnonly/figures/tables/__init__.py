"""The paper's tables, and one of results that it states without a figure: one module each, `NEEDS` and `build`."""
