"""The training loop: start, then step, evaluate, checkpoint, and finish."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

from bnonly import paths
from bnonly.console import Progress
from bnonly.data import Batches, open_source
from bnonly.engines import memory
from bnonly.engines.devices import be_reproducible, check_device
from bnonly.engines.engine import make_engine
from bnonly.engines.team import ALONE, Team
from bnonly.errors import UserError
from bnonly.networks import regimes, weights
from bnonly.results import atomic, parquet
from bnonly.train import checkpoint, provenance, record
from bnonly.train.options import Options
from bnonly.train.reservation import Reservation
from bnonly.train.stop import Signals, Stopped

#: Added to a signal's number, to tell it from a checkpoint that is due.
SIGNAL = 1000


def train_share(reservation: Reservation, options: Options, device: torch.device, team: Team = ALONE) -> None:
    """Train a cell's share of every batch: the whole batch, or one process's part of it.

    Parameters
    ----------
    reservation : Reservation
        The cell and its folder.
    options : Options
        Options of the train command.
    device : torch.device
        Where this process computes.
    team : Team
        The processes that share every batch; the first one writes all files.
    """
    torch.set_num_threads(options.threads)
    be_reproducible(reservation.cell.precision)
    check_device(device)
    source = open_source(reservation.cell.recipe, options.data, device)
    try:
        Run(reservation, source, device, options, team).train()
    except (MemoryError, RuntimeError) as problem:
        if not memory.lacked(problem):
            raise
        # The estimate said it would fit; another program may use part of the memory.
        raise memory.too_little(reservation.cell, memory.left(device)) from None


class Run:
    """A training in progress.

    Parameters
    ----------
    reservation : Reservation
        The cell and its folder.
    source : Batches
        Its data.
    device : torch.device
        Where this process computes.
    options : Options
        Options of the train command.
    team : Team
        The processes that share every batch.
    """

    def __init__(
        self, reservation: Reservation, source: Batches, device: torch.device, options: Options, team: Team = ALONE
    ) -> None:
        self.cell, self.reservation = reservation.cell, reservation
        self.source, self.device, self.team = source, device, team
        began = time.monotonic()
        self.engine = make_engine(self.cell, source, device, team)
        self.seconds_to_build = time.monotonic() - began
        self.schedule = self.engine.schedule
        self.at_start = record.norms(self.engine.model)
        self.checkpoint_path = paths.checkpoint(reservation.folder, self.cell.digest())
        self.every = options.checkpoint_seconds
        self.iteration = 0
        self.sums: list[Any] = [0.0, 0, 0, 0.0]  # of the current epoch: loss, correct images, images, seconds
        self.rows: list[dict[str, Any]] = []
        self.history: dict[str, Any] = {"started": record.now(), "resumed": 0, "wall_seconds": 0.0, "sessions": []}
        self.diverged: str | None = None  # why
        self.requested = 0  # a pause: 1 for a checkpoint, SIGNAL + a signal's number
        epochs = math.ceil(self.schedule.total / self.schedule.per_epoch)
        self.progress = Progress(self.cell, epochs, options.quiet or team.rank > 0)

    def train(self) -> None:
        """Train to the end, or until a signal stops the run."""
        self.start()
        signals = Signals()
        with signals.watched():
            while not self.ended:
                self.step(signals)
                self.evaluate()
                self.checkpoint()
        self.finish()

    @property
    def ended(self) -> bool:
        """Whether nothing is left to train."""
        return self.iteration == self.schedule.total or self.diverged is not None

    # --- start ---

    def start(self) -> None:
        """Continue from the checkpoint, or score the network as it was drawn (epoch 0)."""
        here = {
            **record.session(self.device),
            **self.engine.facts(),
            "seconds_to_build": round(self.seconds_to_build, 3),
        }
        content = checkpoint.load(self.checkpoint_path, self.cell)
        if content is not None:
            self._resume(content, here)
        self.progress.line(provenance.summary(here, self.cell))
        if content is None:
            self._add_row(0.0, [math.nan, math.nan, 0, 0.0])
        else:
            epoch = self.iteration / self.schedule.per_epoch
            self.progress.line(f"continues at epoch {epoch:.2f} from {self.checkpoint_path.name}")
        # A run may continue on another machine or with other code: the record names all of them.
        self.history["sessions"].append(here)
        self.clock = self.saved = time.monotonic()

    def _resume(self, content: dict[str, Any], here: dict[str, Any]) -> None:
        where = paths.shown(self.checkpoint_path)
        if content["data_sha256"] != self.source.checksum:
            raise UserError(f"{where}: was made with other {self.cell.recipe.dataset} data; restore them, or delete it")
        then, now = (provenance.backend(session) for session in (content["history"]["sessions"][-1], here))
        if then != now:
            raise UserError(
                f"{where}: was computed on {then}, and this process computes on {now}, which rounds "
                f"differently; continue it on {then}, or delete it to train the cell from the start"
            )
        self.engine.load_state(content["state"])
        self.iteration, self.sums = content["iteration"], content["partial"]
        self.rows, self.history = content["rows"], content["history"]
        self.history["resumed"] += 1

    # --- step ---

    def step(self, signals: Signals) -> None:
        """Train to the end of the epoch, the next checkpoint or a signal, whichever comes first."""
        epoch, first, last = self.place()
        self.begin_step()
        reached = self.engine.train(epoch, first, last, self.pause(epoch, first, signals))
        totals = self.engine.totals()  # waits for the device
        self.end_step(epoch, reached, totals, time.monotonic())

    def place(self) -> tuple[int, int, int]:
        """Return the current epoch, its next batch, and its number of batches."""
        epoch, first = divmod(self.iteration, self.schedule.per_epoch)
        return epoch, first, min(self.schedule.per_epoch, self.schedule.total - epoch * self.schedule.per_epoch)

    def begin_step(self) -> None:
        """Start the clock, and add to the sums so far."""
        self.step_began = time.monotonic()
        self.engine.set_totals(*self.sums[:3])

    def pause(self, epoch: int, first: int, signals: Signals) -> Callable[[], bool]:
        """Return the engine's callback after every batch: whether to pause for a checkpoint or a signal."""
        done = first

        def pause() -> bool:
            nonlocal done
            done += 1
            self.progress.within(epoch, done / self.schedule.per_epoch)
            due = time.monotonic() - self.saved >= self.every
            # All processes of a team pause at the same batch, whichever of them received the signal.
            self.requested = self.team.largest(SIGNAL + signals.received if signals.received else int(due))
            return bool(self.requested)

        return pause

    def end_step(self, epoch: int, reached: int, totals: tuple[float, int, int], now: float) -> None:
        """Note how far the epoch has come and its sums so far."""
        self.iteration = epoch * self.schedule.per_epoch + reached
        self.sums = [*totals, self.sums[3] + now - self.step_began]
        self.step_ended = now

    @property
    def epoch_ended(self) -> bool:
        """Whether the last step reached the end of an epoch."""
        return self.iteration % self.schedule.per_epoch == 0 or self.iteration == self.schedule.total

    # --- evaluate ---

    def evaluate(self) -> None:
        """At the end of an epoch: score the test set, and find out whether the run has diverged.

        Only at the end, so that the times of checkpoints do not change the results.
        """
        if not self.epoch_ended:
            return
        loss, _, images, _ = self.sums
        self._add_row(self.schedule.lr(self.iteration - 1), self.sums)
        if not math.isfinite(loss):
            self.diverged = f"training loss is {loss / images} in epoch {self.rows[-1]['epoch']}"
        elif self.iteration == self.schedule.total:
            self.diverged = self._diverged_at_the_end()
        self.sums = [0.0, 0, 0, 0.0]

    def _add_row(self, lr: float, sums: list[Any]) -> None:
        epoch = math.ceil(self.iteration / self.schedule.per_epoch)
        row = record.row(epoch, self.iteration, lr, sums, self.engine.evaluate())
        self.rows.append(row)
        self.progress.epoch(row)
        report = {"epoch": epoch, "epochs": self.progress.epochs, "seconds_left": self.progress.seconds_left}
        if self.team.rank == 0:
            with suppress(UserError):  # only `bnonly status` reads it; the next checkpoint reports a full disk
                atomic.replace(paths.progress(self.reservation.folder), json.dumps(report).encode())

    def _diverged_at_the_end(self) -> str | None:
        """Return how the last steps diverged, since no later training loss would show it; None if they did not."""
        loss = self.rows[-1]["test_loss"]
        if not math.isfinite(loss):
            return f"test loss is {loss} after the last iteration"
        for name, values in regimes.trainable(self.engine.model).items():
            if not values.isfinite().all():
                return f"{name} is not finite after the last iteration"
        return None

    # --- checkpoint ---

    def checkpoint(self) -> None:
        """Write a checkpoint if one is due, and stop if a signal asked for it."""
        if self.diverged:  # the results follow at once
            return
        stop = max(self.requested - SIGNAL, 0)
        if stop or self.step_ended - self.saved >= (self.every / 6 if self.epoch_ended else self.every):
            self._save()
        self.team.largest(0)  # all wait until the first has written, because the launcher ends them when one leaves
        if stop and not self.ended:
            raise Stopped(stop, f"{self.cell} at epoch {self.iteration / self.schedule.per_epoch:.2f}")

    def _save(self) -> None:
        if self.team.rank == 0:
            self.reservation.check()
            self._update_history()
            content = {
                "state": self.engine.state(),
                "rows": self.rows,
                "iteration": self.iteration,
                "partial": self.sums,
                "history": self.history,
                "data_sha256": self.source.checksum,
            }
            checkpoint.save(self.checkpoint_path, self.cell, content)
        self.saved = time.monotonic()

    def _update_history(self) -> None:
        now = time.monotonic()
        self.history["sessions"][-1].update(self.engine.facts())
        self.history["wall_seconds"] += now - self.clock
        self.clock = now

    # --- finish ---

    def finish(self) -> None:
        """Write the results and remove the checkpoint."""
        if self.team.rank:
            return
        self.reservation.check()
        self._update_history()
        model, results = self.engine.model, self.reservation.results
        record.write_batchnorm(paths.batchnorm(results), self.cell, self.at_start, record.norms(model))
        weights.save(paths.weights(results), self.cell, self.source.inputs, self.source.checksum, model)
        label = {
            "status": "diverged" if self.diverged else "finished",
            "reason": self.diverged,
            "epochs_done": self.iteration / self.schedule.per_epoch,
            **record.label(model, self.source, self.cell.recipe.dataset, self.history),
            **provenance.peak_memory(self.device),
        }
        columns = {name: [row[name] for row in self.rows] for name in self.rows[0]}
        # Last, because its presence means that the cell is done.
        parquet.write(paths.metrics(results), "metrics", columns, self.cell, label)
        self.checkpoint_path.unlink(missing_ok=True)
        paths.progress(self.reservation.folder).unlink(missing_ok=True)
        self.progress.done(self.rows[-1], self.diverged)
