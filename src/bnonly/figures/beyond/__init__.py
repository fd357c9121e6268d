"""Figures beyond the paper, from the same files or from their own experiments (``snakemake figures/beyond``)."""
