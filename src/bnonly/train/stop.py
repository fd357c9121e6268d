"""Stop a training at a signal, after its checkpoint is written."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):
    """A signal stopped the training; the checkpoint is on the disk."""

    def __init__(self, number: int, where: str) -> None:
        super().__init__(where)
        self.number = number


def stopping() -> list[signal.Signals]:
    """Return the signals that stop a training: SIGTERM, SIGINT, SIGUSR1 (SLURM's warning), SIGHUP (a closed terminal)."""
    found = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup: the training outlives its terminal
        found.append(signal.SIGHUP)
    return found


class Signals:
    """Remembers the signals of `stopping` instead of ending the process.

    Attributes
    ----------
    received : int
        Number of the last signal; 0 if there was none.
    """

    def __init__(self) -> None:
        self.received = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Remember signals inside the block."""

        def remember(number: int, frame: FrameType | None) -> None:
            self.received = number

        old = {s: signal.signal(s, remember) for s in stopping()}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
