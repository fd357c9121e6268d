"""One training step of a network: FLOPs, bytes moved, launches, and memory kept for the backward pass (standard library only).

FLOPs are those of convolutions and the linear layer, two per multiply-add.  A backward pass counts only what the
regime needs: activation gradients down to the first trainable tensor, and weight gradients where weights train.  If
some random weights of a filter train, the gradients of all its weights count.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from bnonly.grid.cell import Architecture, Cell, Regime
from bnonly.grid.families import network
from bnonly.grid.plan import Op

#: Bytes of an activation.
ITEMSIZE = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True)
class Traffic:
    """The number of times an engine reads and writes each operation's tensors, of E output elements unless stated
    otherwise.

    A forward convolution reads its input and writes its output once, in every engine.
    """

    name: str
    bn: tuple[int, int]  # forward, backward
    relu: tuple[int, int]
    add: tuple[int, int]
    dgrad: tuple[int, int]  # of the input's elements, of the output's
    wgrad: tuple[int, int]
    accumulate: int  # sum of two gradients of one tensor
    bn_kernels: int
    pointwise_kernels: int  # of a ReLU or an addition; 0 if fused with BatchNorm


TRAFFIC = {
    # One kernel per operation: 40 E per basic block when BatchNorm trains, 44 E when everything does.
    "reference": Traffic("reference", (3, 5), (2, 3), (3, 0), (1, 1), (1, 1), 3, 1, 1),
    # BatchNorm with ReLU and addition as one kernel of two passes: 30 E, 34 E.
    "fast": Traffic("fast", (3, 5), (0, 0), (1, 2), (1, 1), (1, 1), 3, 2, 0),
    # The Triton kernels have not been measured here; assume no gain.
    "triton": Traffic("triton", (3, 5), (0, 0), (1, 2), (1, 1), (1, 1), 3, 2, 0),
    # Minimum with BatchNorm, ReLU and addition inside the convolutions: 15 E, 21 E.  No engine reaches it.
    "limit": Traffic("limit", (0, 0), (0, 0), (2, 0), (2, 2), (1, 2), 1, 0, 0),
}


@dataclass(frozen=True)
class Pass:
    """One kernel, or several equal ones, of a training step.

    Attributes
    ----------
    kind : str
        "forward", "dgrad", "wgrad" (convolutions and linear) or "pointwise".
    elements : int
        Elements of activations read and written, per image.
    weights : int
        Elements of weights read and written, per step.
    flops : int
        Per image.
    width : int
        Smaller side of the matrix product, min(output channels, fan-in): narrow products leave matrix units idle.
    kernels : int
        Launches.
    """

    kind: str
    elements: int
    weights: int
    flops: int
    width: int
    kernels: int


@dataclass(frozen=True)
class Step:
    """Costs of a training step of a network under a regime, per image and per step.

    Attributes
    ----------
    forward, backward : tuple of (Pass, int)
        Passes and their counts.
    forward_flops, dgrad_flops, wgrad_flops : int
        Per image.
    saved_elements : int
        Elements of activations kept for the backward pass, per image.
    saved_bytes, saved_masks : int
        Further bytes kept per image in any precision (indices of max-pools, masks), and masks kept in two-byte
        precisions only.
    saved_fixed : int
        Bytes kept per step: BatchNorm's batch statistics, weights with random entries scattered into them.
    largest : int
        Elements of the largest activation, per image.
    parameters, trainable, features, tensors : int
        All parameters, trainable parameters, BatchNorm's channels, trainable tensors.
    kernels : int
        Launches of one training step, augmentation and optimiser included.
    """

    forward: tuple[tuple[Pass, int], ...]
    backward: tuple[tuple[Pass, int], ...]
    forward_flops: int
    dgrad_flops: int
    wgrad_flops: int
    saved_elements: int
    saved_bytes: int
    saved_masks: int
    saved_fixed: int
    largest: int
    parameters: int
    trainable: int
    features: int
    tensors: int
    kernels: int

    def saved(self, batch: int, itemsize: int) -> int:
        """Return the bytes kept for the backward pass of a batch, with `itemsize` bytes per activation element."""
        masks = self.saved_masks if itemsize < 4 else 0
        return batch * (self.saved_elements * itemsize + self.saved_bytes + masks) + self.saved_fixed


#: Launches of a step outside the network: augmentation and normalisation, loss, accuracy sums.
STEP_KERNELS = 30
#: Tensors per launch of a multi-tensor optimiser, and its launches for SGD with momentum and decay.
OPTIMISER_TENSORS, OPTIMISER_KERNELS = 100, 4


class _Counting:
    """Collects the passes of a network in one traversal."""

    def __init__(self, ops: tuple[Op, ...], regime: Regime, traffic: Traffic) -> None:
        self.ops, self.train, self.k, self.traffic = ops, set(regime.train), regime.random_k, traffic
        self.requires: list[bool] = []
        self.saved: set[int] = set()
        self.saved_bytes = self.saved_masks = self.saved_fixed = 0
        self.parameters = self.trainable = self.features = self.tensors = 0
        # Outputs that a step of the fast engine keeps anyway, so that the ReLU before it needs no mask.
        convs = {"conv", "random"} & self.train
        self.kept = {
            op.inputs[0] for op in ops if op.kind == "pool" or (op.kind == "conv" and not op.shortcut and convs)
        }
        self.forward: Counter[Pass] = Counter()
        self.backward: Counter[Pass] = Counter()
        self.readers: Counter[int] = Counter()

    def count(self) -> Step:
        for op in self.ops:
            own = self._trains(op)
            before = any(self.requires[i] for i in op.inputs)
            self.requires.append(bool(own) or before)
            getattr(self, f"_{op.kind}")(op, len(self.requires) - 1, own, before)
            if self.requires[-1]:
                self.readers.update(i for i in op.inputs if self.requires[i])
        for number, count in self.readers.items():
            for _ in range(count - 1):  # the first convolution and the shortcut both read a block's input
                self._pointwise(self.backward, self.traffic.accumulate * self.ops[number].elements)
        passes = [*self.forward.items(), *self.backward.items()]
        flops = {kind: sum(p.flops * n for p, n in passes if p.kind == kind) for kind in ("forward", "dgrad", "wgrad")}
        kernels = sum(p.kernels * n for p, n in passes) + STEP_KERNELS
        kernels += OPTIMISER_KERNELS * -(-self.tensors // OPTIMISER_TENSORS)
        return Step(
            forward=tuple(self.forward.items()),
            backward=tuple(self.backward.items()),
            forward_flops=flops["forward"],
            dgrad_flops=flops["dgrad"],
            wgrad_flops=flops["wgrad"],
            saved_elements=sum(self.ops[i].elements for i in self.saved),
            saved_bytes=self.saved_bytes,
            saved_masks=self.saved_masks,
            saved_fixed=self.saved_fixed,
            largest=max(op.elements for op in self.ops),
            parameters=self.parameters,
            trainable=self.trainable,
            features=self.features,
            tensors=self.tensors,
            kernels=kernels,
        )

    def _trains(self, op: Op) -> int:
        """Count the trainable and all parameters of an operation."""
        if op.kind == "bn":
            self.parameters += 2 * op.channels
            self.features += op.channels
            own = [op.channels for group in ("gamma", "beta") if group in self.train]
        elif op.kind in ("conv", "linear"):
            weights = op.channels * self._fan_in(op)
            bias = op.channels if op.bias else 0
            self.parameters += weights + bias
            group = "output" if op.kind == "linear" else "shortcut" if op.shortcut else "conv"
            own = [n for n in (weights, bias) if n] if group in self.train else []
            if op.kind == "conv" and "random" in self.train:
                own = [self.k * op.channels]
                # Every step scatters the random entries into a new weight, and keeps it.
                self.saved_fixed += 4 * weights * (self.traffic.name == "reference")
        else:
            return 0
        self.tensors += len(own)
        self.trainable += sum(own)
        return sum(own)

    def _fan_in(self, op: Op) -> int:
        return self.ops[op.inputs[0]].channels * op.kernel * op.kernel

    def _pointwise(self, where: Counter[Pass], elements: int, kernels: int = 1) -> None:
        if elements:
            where[Pass("pointwise", elements, 0, 0, 0, kernels)] += 1

    def _image(self, op: Op, number: int, own: int, before: bool) -> None:
        pass

    def _product(self, op: Op, own: int, before: bool) -> None:
        fan_in = self._fan_in(op)
        inside, out, weights = self.ops[op.inputs[0]].elements, op.elements, op.channels * fan_in
        flops, width = 2 * out * fan_in, min(op.channels, fan_in)
        scattered = op.kind == "conv" and "random" in self.train
        self.forward[
            Pass("forward", inside + out, weights * (4 if scattered else 1), flops, width, 1 + op.bias + 2 * scattered)
        ] += 1
        if before:
            a, b = self.traffic.dgrad
            self.backward[Pass("dgrad", a * inside + b * out, weights, flops, width, 1)] += 1
        if own:
            a, b = self.traffic.wgrad
            kernels = 1 + (op.bias and not scattered) + scattered
            self.backward[Pass("wgrad", a * inside + b * out, weights, flops, width, kernels)] += 1

    def _conv(self, op: Op, number: int, own: int, before: bool) -> None:
        self._product(op, own, before)
        # Unlike the fast engine, stock autograd keeps a convolution's input even if the weight is frozen.
        if self.requires[number] and (own or self.traffic.name == "reference"):
            self.saved.add(op.inputs[0])

    def _linear(self, op: Op, number: int, own: int, before: bool) -> None:
        self._product(op, own, before)
        if own and self.traffic.name == "reference":
            self.saved.add(op.inputs[0])
        elif own:
            self.saved_bytes += 4 * self.ops[op.inputs[0]].elements  # fp32 in every precision

    def _bn(self, op: Op, number: int, own: int, before: bool) -> None:
        self._pointwise(self.forward, self.traffic.bn[0] * op.elements, self.traffic.bn_kernels)
        if self.requires[number]:
            self._pointwise(self.backward, self.traffic.bn[1] * op.elements, self.traffic.bn_kernels)
            self.saved.add(op.inputs[0])
            self.saved_fixed += 2 * 4 * op.channels

    def _relu(self, op: Op, number: int, own: int, before: bool) -> None:
        self._pointwise(self.forward, self.traffic.relu[0] * op.elements, self.traffic.pointwise_kernels)
        if before:
            self._pointwise(self.backward, self.traffic.relu[1] * op.elements, self.traffic.pointwise_kernels)
            if self.traffic.name == "reference":
                self.saved.add(number)
            elif number not in self.kept:
                # One byte per element.  Without a shortcut, an fp32 mask follows from the tensors that BatchNorm keeps.
                if self.ops[op.inputs[0]].kind == "add":
                    self.saved_bytes += op.elements
                else:
                    self.saved_masks += op.elements

    def _add(self, op: Op, number: int, own: int, before: bool) -> None:
        self._pointwise(self.forward, self.traffic.add[0] * op.elements, self.traffic.pointwise_kernels)
        if before:
            self._pointwise(self.backward, self.traffic.add[1] * op.elements, self.traffic.pointwise_kernels)
            if self.traffic.name != "reference":  # fused with the BatchNorm, whose input is kept for either gradient
                self.saved.add(self.ops[op.inputs[0]].inputs[0])

    def _pool(self, op: Op, number: int, own: int, before: bool) -> None:
        inside = self.ops[op.inputs[0]].elements
        self._pointwise(self.forward, inside + op.elements)
        if before:
            self._pointwise(self.backward, inside + op.elements)
            self.saved.add(op.inputs[0])
            self.saved_bytes += 8 * op.elements

    def _mean(self, op: Op, number: int, own: int, before: bool) -> None:
        inside = self.ops[op.inputs[0]].elements
        self._pointwise(self.forward, inside + op.elements)
        if before:
            self._pointwise(self.backward, inside + op.elements)


@lru_cache(maxsize=1024)
def count_step(architecture: Architecture, regime: Regime, classes: int, image: int, engine: str) -> Step:
    """Count one training step of a network.

    Parameters
    ----------
    architecture : Architecture
        The network.
    regime : Regime
        The trainable parts.
    classes, image : int
        Number of outputs; side of the input in pixels.
    engine : str
        A key of `TRAFFIC`.
    """
    return _Counting(network(architecture, classes, image), regime, TRAFFIC[engine]).count()


def step_of(cell: Cell, engine: str | None = None) -> Step:
    """Return the step of a cell, in its engine or another."""
    recipe = cell.recipe
    return count_step(cell.architecture, cell.regime, recipe.data.classes, recipe.input_size, engine or cell.engine)
