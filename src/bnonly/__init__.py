"""Reproduction of "Training BatchNorm and Only BatchNorm" (Frankle, Schwab, Morcos, ICLR 2021)."""

__version__ = "0.1.0"
