"""What a person sees while data are prepared: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Self


class Meter:
    """Progress on standard error, until the block ends in which it is used.

    Parameters
    ----------
    what : str
        Named in every line.
    total : int
        How much there is to do.
    unit : str
        Of what.
    quiet : bool
        Say nothing.
    """

    def __init__(self, what: str, total: int, unit: str = "images", quiet: bool = False) -> None:
        self._what, self._total, self._unit, self._quiet = what, total, unit, quiet
        self._live = sys.stderr.isatty()
        self._done = 0
        self._began = self._said = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        """Clear the live line, after which the result, or what went wrong, would stand otherwise."""
        if self._live and not self._quiet:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def add(self, amount: int) -> None:
        """Count what was done."""
        self._done += amount
        now = time.monotonic()
        if self._quiet or now - self._said < (0.2 if self._live else 15):
            return
        self._said = now
        left = (now - self._began) / self._done * max(0, self._total - self._done)
        text = f"{self._what}: {self._done:,} of {self._total:,} {self._unit}, {left:.0f} s left"
        print(f"\r\x1b[K{text}" if self._live else text, end="" if self._live else "\n", file=sys.stderr, flush=True)

    def line(self, text: str) -> None:
        """Say something that stays."""
        if not self._quiet:
            print(f"{chr(13) + chr(27) + '[K' if self._live else ''}{self._what}: {text}", file=sys.stderr, flush=True)
