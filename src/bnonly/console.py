"""Text for terminals and logs: progress, durations, sizes, lists."""

from __future__ import annotations

import sys
import time
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from typing import Any, Self
from unicodedata import category


class Meter:
    """Progress on standard error; a context manager.

    Parameters
    ----------
    what : str
        Named in every line.
    total : int
        The amount of work.
    unit : str
        Unit of the amount.
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
        """Clear the live line, so that a result or an error does not follow it on the same line."""
        if self._live and not self._quiet:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def add(self, amount: int) -> None:
        """Count an amount as done."""
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


class Progress:
    """Progress of one cell on standard error.

    Parameters
    ----------
    cell : object
        Named in every line: a `Cell`.
    epochs : int
        Total number of epochs.
    quiet : bool
        Say nothing.
    """

    def __init__(self, cell: object, epochs: int, quiet: bool = False) -> None:
        self._cell, self.epochs, self._quiet = cell, epochs, quiet
        #: Seconds to the end, estimated from the epochs of this process; None before the first ends.
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
        with suppress(OSError):  # a full disk under the log must not end the training
            print(f"{clear}{self._cell}: {text}", end=end, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Return a duration in the unit that a person would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:,.1f} days"


def two_digits(value: float) -> str:
    """Return a number with the two digits that an estimate can claim."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def size(count: float) -> str:
    """Return bytes in a decimal unit."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count / 1000:.0f} kB"


#: Unicode categories of invisible characters that can change the display of a terminal or a page.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def plain(text: str) -> str:
    """Return untrusted text with control characters escaped, so that neither a terminal nor a page obeys them."""
    return "".join(f"\\x{ord(c):02x}" if category(c) in _UNSEEN else c for c in text)


def slug(text: str) -> str:
    """Return a word for ids and classes."""
    return text.replace(" ", "-").replace("/", "-")


def columns(rows: Sequence[Sequence[str]], left: Container[int] = (0,)) -> list[str]:
    """Return rows of text as aligned lines: each column as wide as its widest entry, to the right except for those in `left`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{text:<{width}}" if n in left else f"{text:>{width}}"
            for n, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def listed(words: Iterable[str]) -> str:
    """Return "a, b and c"."""
    found = list(words)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}" if found else ""
