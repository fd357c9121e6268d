"""What a person sees while a cell trains: a live line on a terminal, one plain line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Any

from bnonly.grid.cell import Cell


class Progress:
    """Progress of one cell on standard error.

    Parameters
    ----------
    cell : Cell
        Named in every line.
    epochs : int
        How many there will be.
    quiet : bool
        Say nothing.
    """

    def __init__(self, cell: Cell, epochs: int, quiet: bool = False) -> None:
        self._cell, self.epochs, self._quiet = cell, epochs, quiet
        #: Seconds to the end, as the epochs of this process were; None before it has finished one.
        self.seconds_left: float | None = None
        self._live = sys.stderr.isatty()
        self._began = time.monotonic()
        self._first: int | None = None
        self._from: float | None = None
        self._shown = 0.0

    def line(self, text: str) -> None:
        """Say something that stays."""
        if not self._quiet:
            self._print(text)

    def epoch(self, row: dict[str, Any]) -> None:
        """Report an epoch: a row of the metrics."""
        done = row["epoch"]
        if self._first is None:
            self._first = done
        text = f"epoch {done}/{self.epochs}"
        if done:
            text += f", loss {row['train_loss']:.4f}, lr {row['lr']:.4g}, {row['images_per_second']:.0f} images/s"
        text += f", test {100 * row['test_top1']:.2f}%"
        if done > self._first and done < self.epochs:
            self.seconds_left = (time.monotonic() - self._began) / (done - self._first) * (self.epochs - done)
            text += f", {duration(self.seconds_left)} left"
        if self._live and not self._quiet:
            self._print(text, end="")
        else:
            self.line(text)

    def within(self, epoch: int, share: float) -> None:
        """Report on a terminal, at most once a second, how far an epoch (counted from 0) has come."""
        now = time.monotonic()
        if self._quiet or not self._live or now - self._shown < 1:
            return
        self._shown = now
        done = epoch + share
        text = f"epoch {done:.2f}/{self.epochs}"
        if self._from is None:
            self._from = done
        elif done > self._from:
            left = (now - self._began) / (done - self._from) * (self.epochs - done)
            text += f", {duration(max(0.0, left))} left"
        self._print(text, end="")

    def done(self, row: dict[str, Any], reason: str | None) -> None:
        """Report the end; `reason` says why it diverged, if it did."""
        end = f"diverged ({reason})" if reason else "finished"
        self.line(f"{end}, test accuracy {100 * row['test_top1']:.2f}% (top-5 {100 * row['test_top5']:.2f}%)")

    def _print(self, text: str, end: str = "\n") -> None:
        clear = "\r\x1b[K" if self._live else ""
        with suppress(OSError):  # no training ends because its log is on a full disk
            print(f"{clear}{self._cell}: {text}", end=end, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Return a time as people write it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
