"""The fast engine: the reference engine's batches, random draws and schedule, with fused layers.

    bnonly --profile demo train ResNet-8 bn       # 3 s on one CPU core; test accuracy 58.33%, as with engine: reference
    python benchmarks/engine.py                   # a CPU: 45 minutes; 1.05 to 1.45 times eager PyTorch in fp32

On a GPU a whole step, from images on the device to the optimiser, is one CUDA graph.  So is a test batch.  Within
an epoch the host only launches graphs.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from bnonly.data import Batches
from bnonly.data.arrays import ArraySource
from bnonly.engines import memory
from bnonly.engines.evaluate import Scores, Tally, evaluate
from bnonly.engines.fast.choice import choose_backend
from bnonly.engines.fast.feed import make_feed
from bnonly.engines.fast.fused import Statistics
from bnonly.engines.fast.graph import Captured
from bnonly.engines.fast.malloc import keep_memory
from bnonly.engines.fast.network import DTYPES, Network, Replicas
from bnonly.engines.fast.parameters import Parameters
from bnonly.engines.team import ALONE, Team
from bnonly.grid.cell import Cell
from bnonly.grid.schedule import Schedule
from bnonly.networks import regimes

#: Batch size for testing small images on a GPU.
TEST_BATCH = 1000


class FastEngine:
    """See `bnonly.engines.engine.Engine`.

    Parameters
    ----------
    cell : Cell
        Training, with its precision.
    source : Batches
        Its data.
    device : torch.device
        Where to compute.
    team : Team
        The processes that share every batch.
    """

    def __init__(self, cell: Cell, source: Batches, device: torch.device, team: Team = ALONE) -> None:
        self._cell, self._source, self._device, self._team = cell, source, device, team
        self._share = self._team.rank, self._team.size
        if device.type == "cpu":
            keep_memory()
        self.schedule = Schedule(cell.recipe, source.train_images)
        self.model = regimes.make(cell, source.classes).to(device)
        self._backend = choose_backend(cell, device)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._images = 0
        self._captured, self._together = False, 1
        self._settle(Parameters(self.model, DTYPES[cell.precision], self._backend))

    def _settle(self, parameters: Parameters, replicate: int = 0) -> None:
        """Use these parameters from now on: the model's, or those of several replicates side by side."""
        cell, device = self._cell, self._device
        self._parameters, self._replicate = parameters, replicate
        self._network = Network(
            self.model,
            parameters.of,
            DTYPES[cell.precision],
            Statistics(
                self._backend,
                self._team.add_up if cell.recipe.batchnorm == "synchronised" else None,
                cell.recipe.batchnorm_groups,
            ),
            "tf32" if cell.precision == "tf32" else "ieee",
            memory.crowded(cell, device),
        )
        # Processes exchange tensors, which a graph cannot.  Only large networks, which need no graph, run on several processes.
        self._graphs = _Graphs([self]) if device.type == "cuda" and self._team.size == 1 else None

    def set_totals(self, loss: float, correct: int, images: int) -> None:
        """See `Engine.set_totals`."""
        # `totals` sums over processes, so only one of them may hold the earlier sums.
        self._loss.fill_(loss if self._team.rank == 0 else 0.0)
        self._correct.fill_(correct if self._team.rank == 0 else 0)
        self._images = images

    def train(self, epoch: int, first: int, last: int, pause: Callable[[], bool]) -> int:
        """See `Engine.train`."""
        if self._parameters.replicates > 1:  # the other replicates have finished
            _lay_side_by_side([self])
        return _train([self], self._graphs, epoch, first, last, pause)

    def _steps(self, epoch: int, first: int) -> Callable[[int], int]:
        """Return a function that takes the number of the next batch, trains on it and returns its number of images."""
        size = self._cell.recipe.batch_size
        batches = self._source.train_batches(self._cell.seed, epoch, size, first, self._share)

        def step(number: int) -> int:
            x, y = next(batches)
            images = min(size, self._source.train_images - number * size)
            self.step(x, y, self.schedule.lr(epoch * self.schedule.per_epoch + number), images)
            return images

        return step

    def step(self, x: torch.Tensor, y: torch.Tensor, lr: float | torch.Tensor, images: int) -> None:
        """Train on a batch.

        Parameters
        ----------
        x : float tensor (n, 3, height, width)
            Normalised images, this process's share.
        y : int64 tensor (n,)
            Labels.
        lr : float or float32 tensor (1,)
            Learning rate.
        images : int
            Number of images of the whole batch.
        """
        _take_step([self], [self._network.train(x)], [y], lr, images)

    def totals(self) -> tuple[float, int, int]:
        """See `Engine.totals`."""
        loss, correct = self._team.add_up(self._loss.clone()), self._team.add_up(self._correct.clone())
        return loss.item(), int(correct.item()), self._images

    def evaluate(self) -> Scores:
        """See `Engine.evaluate`."""
        if self._graphs and self._graphs.resident:
            return self._graphs.evaluate()
        batches = self._source.test_batches(self._cell.recipe.batch_size, self._share)
        if self._team.size == 1:
            return evaluate(self._network.test, batches, self._device)
        # The running statistics are those of the first process, as in torch's data-parallel training.
        for buffer in regimes.buffers(self.model).values():
            self._team.take_first(buffer)
        tally = Tally(self._device)
        for x, y in batches:
            tally.add(self._network.test(x), y)
        for total in tally.sums:
            self._team.add_up(total)
        return tally.scores(self._source.test_images)

    def changing(self) -> list[torch.Tensor]:
        """Return every tensor that a step changes and the next step reads."""
        kept = [self._parameters.values, self._parameters.momentum, *self._parameters.copies, self._loss, self._correct]
        return [*kept, *regimes.buffers(self.model).values()]

    def state(self) -> dict[str, Any]:
        """See `Engine.state`."""
        parameters = self._parameters
        values, momentum = (v.detach().to("cpu", copy=True) for v in (parameters.values, parameters.momentum))

        def own(vector: torch.Tensor) -> dict[str, torch.Tensor]:
            named = parameters.named(vector, self._replicate)
            # torch saves a view with its whole base, which would include the parameters of the other replicates.
            return {n: v.clone() if parameters.replicates > 1 else v for n, v in named}

        return {
            "trainable": own(values),
            "buffers": {n: b.to("cpu", copy=True) for n, b in regimes.buffers(self.model).items()},
            "momentum": own(momentum),
        }

    @torch.no_grad()
    def load_state(self, state: dict[str, Any]) -> None:
        """See `Engine.load_state`."""
        for vector, key in ((self._parameters.values, "trainable"), (self._parameters.momentum, "momentum")):
            for name, part in self._parameters.named(vector, self._replicate):
                part.copy_(state[key][name])
        for name, buffer in regimes.buffers(self.model).items():
            buffer.copy_(state["buffers"][name])
        self._parameters.refresh()

    def facts(self) -> dict[str, Any]:
        """See `Engine.facts`."""
        return {
            "cuda_graphs": self._captured,
            "kernels": self._backend,
            "gpus": self._team.size,
            "together": self._together,
        }


class Replicates:
    """Replicates of one cell that train together: on a GPU one launch trains a batch of each.

    If `bnonly.engines.triton` has kernels for the whole network, each launch serves all replicates.  Otherwise one
    graph holds the steps of all.  Each replicate computes the same bits as in a separate training.

    Parameters
    ----------
    engines : sequence of FastEngine
        Engines of cells that differ only in their seeds, on one device and at the same iteration.
    """

    def __init__(self, engines: Sequence[FastEngine]) -> None:
        self._engines = list(engines)
        if engines[0]._network.fuses:
            _lay_side_by_side(self._engines)
        self._graphs = _Graphs(self._engines) if engines[0]._device.type == "cuda" else None
        for engine in engines:
            engine._together = max(engine._together, len(engines))

    def train(self, epoch: int, first: int, last: int, pause: Callable[[], bool]) -> int:
        """See `Engine.train`."""
        return _train(self._engines, self._graphs, epoch, first, last, pause)


def _lay_side_by_side(engines: list[FastEngine]) -> None:
    """Move the trainable parameters of replicates into one vector, each in its current state."""
    cell = engines[0]._cell
    joint = Parameters([e.model for e in engines], DTYPES[cell.precision], engines[0]._backend)
    for i, engine in enumerate(engines):
        before = dict(engine._parameters.named(engine._parameters.momentum, engine._replicate))
        for name, part in joint.named(joint.momentum, i):
            part.copy_(before[name])
        engine._settle(joint, i)


def _take_step(
    engines: list[FastEngine],
    logits: list[torch.Tensor],
    labels: list[torch.Tensor],
    lr: float | torch.Tensor,
    images: int,
) -> None:
    """Take one step of all engines, which share their parameters; see `FastEngine.step`."""
    first = engines[0]
    parameters, recipe = first._parameters, first._cell.recipe
    if first._team.size == 1:
        losses = [functional.cross_entropy(z, y) for z, y in zip(logits, labels, strict=True)]
    else:  # this share of the batch's mean, so that gradients add up to those of the batch
        losses = [functional.cross_entropy(z, y, reduction="sum") / images for z, y in zip(logits, labels, strict=True)]
    gradient = parameters.gather(torch.autograd.grad(losses, parameters.leaves))
    first._team.add_up(gradient)
    parameters.step(gradient, lr, recipe.momentum, recipe.weight_decay)
    for engine, loss, z, y in zip(engines, losses, logits, labels, strict=True):
        engine._loss.add_(loss.detach().double(), alpha=images)
        engine._correct += (z.detach().argmax(1) == y).sum()


def _train(
    engines: list[FastEngine],
    graphs: _Graphs | None,
    epoch: int,
    first: int,
    last: int,
    pause: Callable[[], bool],
) -> int:
    """Train batches of an epoch with one engine or several; see `Engine.train`."""
    steps = [graphs.steps(epoch, first)] if graphs else [e._steps(epoch, first) for e in engines]
    number = first
    for number in range(first, last):
        images = [step(number) for step in steps][0]
        for engine in engines:
            engine._images += images
        if pause():
            break
    return number + 1


class _Graphs:
    """CUDA graphs of the steps of all engines and of the first engine's tests, one per batch size, captured on first use.

    If a capture fails, one warning follows, and the work runs without a graph: slower, with the same numbers.
    """

    def __init__(self, engines: list[FastEngine]) -> None:
        first = engines[0]
        # Proxies: a reference cycle would keep GPU memory until the garbage collector runs.
        self._engines: list[FastEngine] = [weakref.proxy(e) for e in engines]
        self._source, self._device = first._source, first._device
        self._batch = first._cell.recipe.batch_size
        # A data set on the device is read inside the graph.
        self._arrays = first._source if isinstance(first._source, ArraySource) else None
        self._feeds = [
            make_feed(e._cell, e._source, self._device, DTYPES[e._cell.precision], e._backend) for e in engines
        ]
        self._ready: dict[tuple[str, int], Captured | None] = {}
        rates = [first.schedule.lr(i) for i in range(first.schedule.total)]
        self._rates = torch.tensor(rates, dtype=torch.float32, device=self._device)
        self._place = torch.zeros((), dtype=torch.int64, device=self._device)
        self._iteration = torch.zeros(1, dtype=torch.int64, device=self._device)
        self._count = torch.arange(TEST_BATCH, device=self._device)
        self._tally = Tally(self._device)
        joint = len(engines) == first._parameters.replicates > 1
        self._replicas = Replicas([e._network for e in engines]) if joint else None
        # Triton's kernels use one counter for all streams, so separate launches must take turns.
        parallel = len(engines) > 1 and self._device.type == "cuda" and first._backend != "triton"
        self._streams = [torch.cuda.Stream(self._device) for _ in engines] if parallel else []

    @property
    def resident(self) -> bool:
        """Whether the data set is on the device."""
        return self._arrays is not None

    def steps(self, epoch: int, first: int) -> Callable[[int], int]:
        """See `FastEngine._steps`."""
        self._iteration.fill_(epoch * self._engines[0].schedule.per_epoch + first)
        self._place.fill_(first * self._batch)
        for feed in self._feeds:
            feed.begin(epoch, first)

        def step(number: int) -> int:
            images = min(self._batch, self._source.train_images - number * self._batch)
            for feed in self._feeds:
                feed.receive()
            self._run("train", images, self._train)
            return images

        return step

    def _run(self, what: str, images: int, body: Callable[[int], None]) -> None:
        """Replay the graph of a body for a number of images; capture it first if necessary."""
        key = what, images
        if key not in self._ready:
            changing = [tensor for engine in self._engines for tensor in engine.changing()]
            state = [*changing, self._place, self._iteration, *self._tally.sums]
            pool = next((g.pool for g in self._ready.values() if g is not None), None)
            try:
                self._ready[key] = Captured(lambda: body(images), state, pool)
                for engine in self._engines:
                    engine._captured = engine._captured or what == "train"
            except torch.OutOfMemoryError:
                raise
            except Exception as problem:  # if the body itself is the cause, it raises again below
                first_line = (str(problem).strip() or repr(problem)).splitlines()[0]
                warnings.warn(
                    f"a {what} step of {images} images could not be captured as a CUDA graph ({first_line}); "
                    "it runs without one, several times slower",
                    stacklevel=2,
                )
                self._ready[key] = None
        graph = self._ready[key]
        if graph is None:
            body(images)
        else:
            graph()

    def _train(self, images: int) -> None:
        """Train every engine on its batch, in shared launches or on one stream each."""
        rate = self._rates.index_select(0, self._iteration)

        def one(i: int) -> None:
            x, y = self._feeds[i].batch(self._place, images)
            self._engines[i].step(x, y, rate, images)

        if self._replicas is not None:
            x, y = zip(*(feed.batch(self._place, images) for feed in self._feeds), strict=True)
            _take_step(self._engines, self._replicas.train(x), list(y), rate, images)
        elif not self._streams:
            for i in range(len(self._engines)):
                one(i)
        else:
            here = torch.cuda.current_stream(self._device)
            for i, side in enumerate(self._streams):
                side.wait_stream(here)
                with torch.cuda.stream(side):
                    one(i)
            for side in self._streams:
                here.wait_stream(side)
        self._iteration += 1
        self._place += images

    def evaluate(self) -> Scores:
        """See `Engine.evaluate`."""
        self._place.zero_()
        self._tally.clear()
        total = self._source.test_images
        for start in range(0, total, TEST_BATCH):
            self._run("test", min(TEST_BATCH, total - start), self._test)
        return self._tally.scores(total)

    @torch.no_grad()
    def _test(self, images: int) -> None:
        assert self._arrays is not None
        x, y = self._arrays.test_batch(self._place + self._count[:images])
        self._tally.add(self._engines[0]._network.test(x), y)
        self._place += images
