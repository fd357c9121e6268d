"""Figures beyond the paper, from the same files or from experiments of their own (``snakemake figures/beyond``)."""
