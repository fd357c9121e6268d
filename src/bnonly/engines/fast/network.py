"""The networks of `bnonly.networks` as a list of fused layers, for training and testing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from bnonly.engines.fast import fused
from bnonly.errors import UserError
from bnonly.grid import families

#: Types of convolutions by a cell's precision; tf32 is fp32 with products that a GPU rounds.
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}

_Map = Callable[[torch.Tensor], torch.Tensor]


@dataclass
class Layer:
    """A convolution and the BatchNorm after it; `weight` and `bias` are in the precision of the computation."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    weight: torch.Tensor
    bias: torch.Tensor | None


@dataclass
class Block:
    """Layers with a shortcut around them."""

    layers: list[Layer]
    shortcut: Layer | None


class Network:
    """A network's forward pass, in any precision.

    Parameters
    ----------
    model : torch.nn.Module
        From `bnonly.networks`; its BatchNorm parameters, statistics and output layer are used as they are.
    weights : function
        Maps a convolution to its weight and bias in the precision of the computation.
    dtype : torch.dtype
        That precision; statistics, the mean over pixels, the output layer and the loss are in float32.
    statistics : fused.Statistics
        Images of BatchNorm's statistics, and backend.
    products : str
        How the backend multiplies float32: "ieee" or "tf32".
    recompute : bool
        Where weights train, recompute the outputs of ReLU inside a block for the gradients: a tenth less memory for
        one more pass over them.

    Raises
    ------
    UserError
        If `bnonly.networks.build` did not make the network.
    TypeError
        If a convolution is not followed by BatchNorm.
    """

    def __init__(
        self,
        model: nn.Module,
        weights: Callable[[nn.Conv2d], tuple[torch.Tensor, torch.Tensor | None]],
        dtype: torch.dtype,
        statistics: fused.Statistics = fused.PLAIN,
        products: str = "ieee",
        recompute: bool = False,
    ) -> None:
        self._recompute = recompute and statistics.together is None and statistics.groups == 1
        self._weights, self._dtype, self._statistics = weights, dtype, statistics
        self._steps = self._along_the_plan(model)
        self._model, self._products = model, products
        #: Whether `Replicas` can train this network together with others.
        self.fuses = False
        if statistics.backend == "triton":
            from bnonly.engines.triton.resnet import supported

            self.fuses = supported(model)
        (self._output,) = (m for m in model.modules() if isinstance(m, nn.Linear))

    @cached_property
    def _own_blocks(self) -> _Map:
        return _fused_blocks([self])

    def _layer(self, conv: nn.Module, norm: nn.Module | None) -> Layer:
        if not (isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
            raise TypeError(
                f"the fast engine needs BatchNorm after a {type(conv).__name__} (found {type(norm).__name__})"
            )
        return Layer(conv, norm, *self._weights(conv))

    def _along_the_plan(self, model: Any) -> list[Layer | Block | nn.Module]:
        """Return the network's steps: its modules are registered in the order of the plan's operations."""
        if not hasattr(model, "architecture"):
            raise UserError(
                f"the fast engine trains only networks from bnonly.networks.build (got {type(model).__name__}); "
                "set engine: reference"
            )
        architecture = model.architecture
        plan = families.network(architecture, 1, families.family_of(architecture).min_image)
        convs, norms, pools = (
            iter([m for m in model.modules() if isinstance(m, kind)])
            for kind in (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d)
        )
        steps: list[tuple[int, Any]] = []  # each with the number of its operation
        for number, op in enumerate(plan):
            if op.kind == "conv":
                steps.append((number, self._layer(next(convs), next(norms, None))))
            elif op.kind == "pool":
                steps.append((number, next(pools)))
            elif op.kind == "add":
                # A block has the layers after its shortcut's input; a convolution of the shortcut is the last of them.
                way = plan[op.inputs[1]]
                start = plan[way.inputs[0]].inputs[0] if way.kind == "bn" else op.inputs[1]
                inside = [step for n, step in steps if n > start]
                shortcut = inside.pop() if way.kind == "bn" else None
                steps = [(n, step) for n, step in steps if n <= start]
                steps.append((number, Block(inside, shortcut)))
        return [step for _, step in steps]

    def train(self, x: torch.Tensor) -> torch.Tensor:
        """Map images to logits (n, classes), float32, with the batch's statistics; update the running ones."""
        if self.fuses:
            return _through([self], self._own_blocks, [x])[0]
        x = x.to(self._dtype)
        around = x  # for the shortcut: the same activation
        for i, step in enumerate(self._steps):
            following = self._steps[i + 1] if i + 1 < len(self._steps) else None
            kept = _keeps_input(following)
            if isinstance(step, Layer):
                x, around = self._apply(step, x, None, True, kept)
            elif isinstance(step, Block):
                if step.shortcut is not None:
                    around, _ = self._apply(step.shortcut, around, None, False, False)
                made = None
                for here, after in zip(step.layers, step.layers[1:], strict=False):
                    if self._recompute and after.weight.requires_grad:
                        z = fused.conv(x, here.weight, here.bias, here.conv, made)
                        x, made = fused.norm_act_made(z, here.norm)
                    else:
                        x, _ = self._apply(here, x, None, True, after.weight.requires_grad)
                x, around = self._apply(step.layers[-1], x, around, True, kept, made)
            else:
                x = around = step(x)
        return self._finish(x)

    def _apply(
        self,
        layer: Layer,
        x: torch.Tensor,
        residual: torch.Tensor | None,
        relu: bool,
        kept: bool,
        made: fused.Made | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        z = fused.conv(x, layer.weight, layer.bias, layer.conv, made)
        return fused.norm_act(z, layer.norm, residual, relu, kept, self._statistics)

    @torch.no_grad()
    def test(self, x: torch.Tensor) -> torch.Tensor:
        """Map images to logits with the running statistics."""
        x = x.to(self._dtype)
        for step in self._steps:
            if isinstance(step, Layer):
                x = self._test(step, x)
            elif isinstance(step, Block):
                shortcut = x if step.shortcut is None else self._test(step.shortcut, x, relu=False)
                for layer in step.layers[:-1]:
                    x = self._test(layer, x)
                x = self._test(step.layers[-1], x, shortcut)
            else:
                x = step(x)
        return self._finish(x)

    def _test(
        self, layer: Layer, x: torch.Tensor, residual: torch.Tensor | None = None, relu: bool = True
    ) -> torch.Tensor:
        z = functional.conv2d(x, layer.weight, layer.bias, layer.conv.stride, layer.conv.padding)
        norm = layer.norm
        if self._statistics.backend == "numba":
            from bnonly.engines.fast.numba_batchnorm import apply_running

            return apply_running(z, norm, residual, relu)
        y = functional.batch_norm(z, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)
        y = y if residual is None else y.add_(residual)
        return y.relu_() if relu else y

    def _finish(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(dim=(2, 3), dtype=torch.float32)
        weight, bias = self._output.weight, self._output.bias
        if self.fuses:
            # With replicates side by side a bias may start at any address, and cuBLAS chooses its algorithm by alignment.
            return functional.linear(mean, weight) + bias
        return functional.linear(mean, weight, bias)


class Replicas:
    """Replicates of a network whose blocks share launches of `bnonly.engines.triton`, with the same bits as alone.

    Parameters
    ----------
    networks : sequence of Network
        With `fuses`, of one cell; their frozen weights are final.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks, self._blocks = list(networks), _fused_blocks(networks)

    def train(self, images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Map each network's images to its logits; see `Network.train`."""
        return _through(self._networks, self._blocks, images)


def _fused_blocks(networks: Sequence[Network]) -> _Map:
    from bnonly.engines.triton.resnet import FusedBlocks

    first = networks[0]
    weights = {c: n._weights(c)[0] for n in networks for c in n._model.modules() if isinstance(c, nn.Conv2d)}
    models: list[Any] = [n._model for n in networks]
    return FusedBlocks(models, weights.__getitem__, first._dtype, first._products)


def _through(networks: Sequence[Network], blocks: _Map, images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Map each network's images to its logits, with the blocks of all networks together."""
    stems = []
    for network, x in zip(networks, images, strict=True):
        stem = network._steps[0]
        assert isinstance(stem, Layer)
        stems.append(fused.conv(x.to(network._dtype), stem.weight, stem.bias, stem.conv).permute(0, 2, 3, 1))
    # Pixel by pixel, in memory order.
    z = torch.stack(stems) if len(stems) > 1 else stems[0].unsqueeze(0)
    return [n._finish(y) for n, y in zip(networks, blocks(z.permute(0, 1, 4, 2, 3)).unbind(), strict=True)]


def _keeps_input(step: Layer | Block | nn.Module | None) -> bool:
    """Whether a step keeps its input for its gradient: a convolution whose weight trains, and pooling."""
    if isinstance(step, Layer):
        return step.weight.requires_grad
    if isinstance(step, Block):
        return step.layers[0].weight.requires_grad
    return step is not None
