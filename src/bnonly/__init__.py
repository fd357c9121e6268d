"""Reproduction of "Training BatchNorm and Only BatchNorm" (Frankle, Schwab, Morcos, ICLR 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnonly.python import load, network

__all__ = ["load", "network"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what Python users call when they first use it: ``import bnonly`` itself stays light."""
    if name not in __all__:
        raise AttributeError(f"module 'bnonly' has no attribute '{name}'")
    from bnonly import python

    return getattr(python, name)
