"""The training loop: start, step, evaluate, checkpoint, finish."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from bnonly import paths
from bnonly.console import Progress
from bnonly.data import Batches, open_source
from bnonly.engines import memory
from bnonly.engines.devices import be_reproducible
from bnonly.engines.engine import Engine, make_engine
from bnonly.engines.team import Team
from bnonly.errors import UserError
from bnonly.grid.cell import Cell
from bnonly.grid.schedule import Schedule
from bnonly.networks import regimes, weights
from bnonly.results import atomic, parquet
from bnonly.train import checkpoint, provenance
from bnonly.train.stop import Signals, Stopped

#: A checkpoint is written after this time, and at an epoch's end already after a sixth of it.
CHECKPOINT_SECONDS = 180.0
#: Added to a signal's number, to tell it from a checkpoint that is due.
SIGNAL = 1000


def train_share(
    cell: Cell,
    folder: Path,
    made: Path,
    data_root: Path,
    device: torch.device,
    team: Team,
    threads: int,
    quiet: bool,
    checkpoint_seconds: float,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Train a cell's share of every batch: all of it, or that of one process among several.

    Parameters
    ----------
    cell, folder, data_root, threads, quiet, checkpoint_seconds
        As in `train_cell`, which holds the folder.
    made : Path
        Where the finished files go.
    device : torch.device
        Where.
    team : Team
        The processes; the first one writes all files.
    check : function
        Called before files are written; raises if the folder is no longer ours.
    """
    torch.set_num_threads(threads)
    be_reproducible(cell.precision)
    source = open_source(cell.recipe, data_root, device)
    try:
        Run(cell, folder, made, source, device, team, quiet or team.rank > 0, checkpoint_seconds, check).execute()
    except (MemoryError, RuntimeError) as problem:
        if not memory.lacked(problem):
            raise
        # The estimate thought it would fit; another program may have part of the memory.
        raise memory.too_little(cell, memory.left(device)) from None


class Run:
    """One training under way: what it has done so far, and how it goes on."""

    def __init__(
        self,
        cell: Cell,
        folder: Path,
        made: Path,
        source: Batches,
        device: torch.device,
        team: Team,
        quiet: bool,
        checkpoint_seconds: float,
        check: Callable[[], None],
    ) -> None:
        self.cell, self.folder, self.device, self.every, self.check = cell, folder, device, checkpoint_seconds, check
        self.made, self.team, self.asked = made, team, 0
        self.source = source
        self.schedule = Schedule(cell.recipe, self.source.train_images)
        self.engine: Engine = make_engine(cell, self.source, device, team)
        self.start = {n: _norm_values(m) for n, m in regimes.find_batchnorms(self.engine.model)}
        self.checkpoint = paths.checkpoint(folder, cell.digest())
        self.rows: list[dict[str, Any]] = []
        self.iteration = 0
        self.partial: list[Any] = [0.0, 0, 0, 0.0]  # of the epoch under way: loss sum, correct, images, seconds
        self.history: dict[str, Any] = {"started": _now(), "resumed": 0, "wall_seconds": 0.0, "sessions": []}
        self.progress = Progress(cell, math.ceil(self.schedule.total / self.schedule.per_epoch), quiet)

    def execute(self) -> None:
        """Train to the end, or until a signal stops it."""
        self.begin()
        signals = Signals()
        reason = None
        with signals.watched():
            while self.iteration < self.schedule.total and not reason:
                reason = self._part(signals)
        if self.team.rank == 0:
            self.finish(reason)

    def begin(self) -> None:
        """Go on from the checkpoint, if there is one."""
        self._resume()
        # Every process that took part: a run may go on elsewhere, with other code.
        self.history["sessions"].append(
            {
                "began": _now(),
                **provenance.code(),
                **provenance.describe_device(self.device),
                "versions": provenance.versions(),
            }
        )
        self.clock = self.saved = time.monotonic()

    def _resume(self) -> None:
        content = checkpoint.load(self.checkpoint, self.cell)
        if content is None:
            self._record(0, self.engine.evaluate(), 0.0, [math.nan, math.nan, 0, 0.0])
            return
        if content["data_sha256"] != self.source.checksum:
            raise UserError(
                f"{self.checkpoint}: was made with other {self.cell.recipe.dataset} data; restore them, or delete it"
            )
        self.engine.load_state(content["state"])
        self.rows, self.iteration = content["rows"], content["iteration"]
        self.partial, self.history = content["partial"], content["history"]
        self.history["resumed"] += 1
        self.progress.line(
            f"continues at epoch {self.iteration / self.schedule.per_epoch:.2f} from {self.checkpoint.name}"
        )

    def _part(self, signals: Signals) -> str | None:
        """Train to the end of the epoch, the next checkpoint or a signal; return why the run diverged, if it did."""
        epoch, first, last = self.place()
        self.open_part()
        reached = self.engine.train(epoch, first, last, self.pauses(epoch, first, signals))
        totals = self.engine.totals()  # which waits for the device
        return self.close_part(epoch, reached, totals, time.monotonic())

    def place(self) -> tuple[int, int, int]:
        """Return the epoch under way, the batch of it that is next, and the number of its batches."""
        epoch, first = divmod(self.iteration, self.schedule.per_epoch)
        return epoch, first, min(self.schedule.per_epoch, self.schedule.total - epoch * self.schedule.per_epoch)

    def pauses(self, epoch: int, first: int, signals: Signals) -> Callable[[], bool]:
        """Return what an engine asks after each batch: whether to pause, for a checkpoint or at a signal's wish."""
        done = first

        def pause() -> bool:
            nonlocal done
            done += 1
            self.progress.within(epoch, done / self.schedule.per_epoch)
            due = time.monotonic() - self.saved >= self.every
            # All processes of a team pause together, whichever of them was asked.
            self.asked = self.team.largest(SIGNAL + signals.received if signals.received else int(due))
            return bool(self.asked)

        return pause

    def open_part(self) -> None:
        """Start the clock and the sums of the part that is next."""
        self.part_began = time.monotonic()
        self.engine.set_totals(*self.partial[:3])

    def close_part(self, epoch: int, reached: int, totals: tuple[float, int, int], now: float) -> str | None:
        """Take note of what was trained until now, up to a batch of the epoch; return why the run diverged, if it did."""
        per_epoch = self.schedule.per_epoch
        last = min(per_epoch, self.schedule.total - epoch * per_epoch)
        self.iteration = epoch * per_epoch + reached
        self.partial = [*totals, self.partial[3] + now - self.part_began]
        reason = None
        if reached == last:
            # Only here, so that the result does not depend on when checkpoints happen to be written.
            if not math.isfinite(self.partial[0]):
                reason = f"training loss is {self.partial[0] / self.partial[2]} in epoch {epoch + 1}"
            rate = self.schedule.lr(self.iteration - 1)
            self._record(epoch + 1, self.engine.evaluate(), rate, self.partial)
            if not reason and self.iteration == self.schedule.total:
                reason = self._broken_at_the_end()
            self.partial = [0.0, 0, 0, 0.0]
        if not reason:  # a run that has diverged goes straight to its results
            self._save_if_due(reached == last, now - self.saved)
        return reason

    def _broken_at_the_end(self) -> str | None:
        """Return what shows that the last steps went astray: no training loss of a later one does."""
        loss = self.rows[-1]["test_loss"]
        if not math.isfinite(loss):
            return f"test loss is {loss} after the last iteration"
        for name, values in regimes.trainable(self.engine.model).items():
            if not values.isfinite().all():
                return f"{name} is not finite after the last iteration"
        return None

    def _save_if_due(self, epoch_ended: bool, age: float) -> None:
        stop = max(self.asked - SIGNAL, 0)
        if stop or age >= (self.every / 6 if epoch_ended else self.every):
            self._save()
        self.team.largest(0)  # nobody leaves before the first process has written: the launcher ends the rest then
        if stop and self.iteration < self.schedule.total:
            raise Stopped(stop, f"{self.cell} at epoch {self.iteration / self.schedule.per_epoch:.2f}")

    def _save(self) -> None:
        if self.team.rank:
            self.saved = time.monotonic()
            return
        self.check()
        self.history["sessions"][-1].update(self.engine.facts())
        now = time.monotonic()
        self.history["wall_seconds"] += now - self.clock
        self.clock = self.saved = now
        checkpoint.save(
            self.checkpoint,
            self.cell,
            {
                "state": self.engine.state(),
                "rows": self.rows,
                "iteration": self.iteration,
                "partial": self.partial,
                "history": self.history,
                "data_sha256": self.source.checksum,
            },
        )

    def _record(self, epoch: int, scores: Any, rate: float, totals: list[Any]) -> None:
        loss, correct, images, seconds = totals
        speed = images / seconds if seconds else 0.0
        row = {
            "epoch": epoch,
            "iteration": self.iteration,
            "lr": rate,
            "train_loss": loss / images if images else math.nan,
            "train_top1": correct / images if images else math.nan,
            "test_loss": scores.loss,
            "test_top1": scores.top1,
            "test_top5": scores.top5,
            "images_per_second": speed,
            "seconds": seconds,
        }
        self.rows.append(row)
        self.progress.epoch(row)
        report = {"epoch": epoch, "epochs": self.progress.epochs, "seconds_left": self.progress.seconds_left}
        if self.team.rank == 0:
            with suppress(UserError):  # only `bnonly status` reads it; a checkpoint will say that the disk is full
                atomic.replace(paths.progress(self.folder), json.dumps(report).encode())

    def finish(self, reason: str | None) -> None:
        """Write the results and remove the checkpoint."""
        self.check()
        self.history["sessions"][-1].update(self.engine.facts())
        self.history["wall_seconds"] += time.monotonic() - self.clock
        model = self.engine.model
        _write_batchnorm(paths.batchnorm(self.made), self.cell, self.start, model)
        weights.save(paths.weights(self.made), self.cell, self.source.classes, self.source.checksum, model)
        label = {
            "status": "diverged" if reason else "finished",
            "reason": reason,
            "epochs_done": self.iteration / self.schedule.per_epoch,
            "parameters": regimes.count(model),
            "data": {
                "dataset": self.cell.recipe.dataset,
                "sha256": self.source.checksum,
                "train_images": self.source.train_images,
                "test_images": self.source.test_images,
                "classes": self.source.classes,
                "mean": list(map(float, self.source.mean)),
                "std": list(map(float, self.source.std)),
            },
            "ended": _now(),
            # The last session's code, versions and device at the top, all of them under "sessions".
            **{k: v for k, v in self.history["sessions"][-1].items() if k != "began"},
            **self.history,
            **provenance.peak_memory(self.device),
        }
        columns = {name: [row[name] for row in self.rows] for name in self.rows[0]}
        # Last, because its presence means that the cell is done.
        parquet.write(paths.metrics(self.made), "metrics", columns, self.cell, label)
        self.checkpoint.unlink(missing_ok=True)
        paths.progress(self.folder).unlink(missing_ok=True)
        self.progress.done(self.rows[-1], reason)


def _norm_values(norm: torch.nn.BatchNorm2d) -> dict[str, Any]:
    values = {"gamma": norm.weight, "beta": norm.bias, "mean": norm.running_mean, "variance": norm.running_var}
    return {n: v.detach().cpu().numpy().copy() for n, v in values.items() if v is not None}


def _write_batchnorm(path: Path, cell: Cell, start: dict[str, Any], model: torch.nn.Module) -> None:
    columns: dict[str, list[Any]] = {name: [] for name in parquet.SCHEMAS["batchnorm"].names}
    for index, (name, norm) in enumerate(regimes.find_batchnorms(model)):
        size = norm.num_features
        columns["layer"] += [name] * size
        columns["layer_index"] += [index] * size
        columns["channel"] += range(size)
        for when, values in (("start", start[name]), ("end", _norm_values(norm))):
            for what, value in values.items():
                columns[f"{what}_{when}"] += value.tolist()
    parquet.write(path, "batchnorm", columns, cell)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
