"""The trainable parameters of a regime, and the initialisation of the network.

The type of its module, never its name, puts a parameter into a group.  Random-k weights are a
separate parameter, scattered into the frozen weight, so that momentum and weight decay never touch frozen weights.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from bnonly import seeds
from bnonly.grid.cell import Cell, Regime
from bnonly.networks import build


@dataclass(frozen=True)
class Groups:
    """The parameters of a network by kind: lists of (module name, module)."""

    batchnorms: list[tuple[str, nn.BatchNorm2d]]
    convs: list[tuple[str, nn.Conv2d]]
    shortcuts: list[tuple[str, nn.Conv2d]]
    outputs: list[tuple[str, nn.Linear]]


def find_groups(model: nn.Module) -> Groups:
    """Sort the modules of a network by type.

    A shortcut is a convolution inside a residual block's `downsample`; every other convolution is in `convs`.

    Raises
    ------
    TypeError
        If a module with parameters has an unknown type.
    """
    shortcuts = [getattr(block, "downsample", None) for block in model.modules()]
    inside = {m for shortcut in shortcuts if isinstance(shortcut, nn.Module) for m in shortcut.modules()}
    groups = Groups([], [], [], [])
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            groups.batchnorms.append((name, module))
        elif isinstance(module, nn.Conv2d):
            (groups.shortcuts if module in inside else groups.convs).append((name, module))
        elif isinstance(module, nn.Linear):
            groups.outputs.append((name, module))
        elif isinstance(module, parametrize.ParametrizationList):
            continue  # the random-k values of the previous convolution
        elif next(module.parameters(recurse=False), None) is not None:
            raise TypeError(f"{name} is a {type(module).__name__}, which belongs to no parameter group")
    return groups


class ScatteredWeight(nn.Module):
    """A frozen weight whose trainable entries are a separate parameter (a parametrisation of `weight`).

    Parameters
    ----------
    frozen : tensor
        The weight at its initialisation; a buffer.
    index : int64 tensor
        Positions of the trainable entries in the flattened weight.
    """

    frozen: torch.Tensor
    index: torch.Tensor

    def __init__(self, frozen: torch.Tensor, index: torch.Tensor) -> None:
        super().__init__()
        # Both follow from the seed, so the state dict omits them.
        self.register_buffer("frozen", frozen, persistent=False)
        self.register_buffer("index", index, persistent=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return the weight with `values` at their positions."""
        return self.frozen.flatten().scatter(0, self.index, values).view_as(self.frozen)

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the trainable entries of a weight."""
        return weight.detach().flatten()[self.index].clone()


def make(cell: Cell, classes: int) -> nn.Module:
    """Build and initialise a cell's network on the CPU, with the regime's parameters trainable.

    Parameters
    ----------
    cell : Cell
        Architecture, regime and seed.
    classes : int
        Outputs.

    Returns
    -------
    torch.nn.Module
        fp32, in training mode.
    """
    with torch.random.fork_rng(devices=[]):  # torch's initialisation is replaced below
        model = build(cell.architecture, classes)
    groups = find_groups(model)
    _initialise(groups, cell.regime, cell.seed)
    freeze(model, groups, cell.regime, cell.seed)
    return model.train()


def _initialise(groups: Groups, regime: Regime, seed: int) -> None:
    with torch.no_grad():
        layers: list[tuple[str, nn.Conv2d | nn.Linear]] = [*groups.convs, *groups.shortcuts, *groups.outputs]
        for name, layer in layers:
            layer.weight.copy_(_weights(regime.weight_init, seed, f"{name}.weight", tuple(layer.weight.shape)))
            if layer.bias is not None:
                bound = 1 / math.sqrt(layer.weight[0].numel())
                layer.bias.copy_(_uniform(seed, f"{name}.bias", layer.bias.numel(), -bound, bound))
        for name, norm in groups.batchnorms:
            size = norm.num_features
            norm.weight.copy_(_uniform(seed, f"{name}.weight", size, *regime.gamma_init))
            norm.bias.copy_(_uniform(seed, f"{name}.bias", size, *regime.beta_init))
            norm.reset_running_stats()
            norm.num_batches_tracked = None  # an unused counter: the momentum is fixed


def _uniform(seed: int, name: str, size: int, low: float, high: float) -> torch.Tensor:
    draw = seeds.generator(seed, "weights", name).random(size)
    return torch.from_numpy((low + (high - low) * draw).astype(np.float32))


def _weights(kind: str, seed: int, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Draw a convolution's or linear layer's weights; `he_*` with fan-in and gain sqrt(2) (He et al. 2015b)."""
    rng = seeds.generator(seed, "weights", name)
    fan_in = math.prod(shape[1:])
    std = math.sqrt(2 / fan_in)
    if kind == "he_uniform":
        values = rng.uniform(-math.sqrt(3) * std, math.sqrt(3) * std, shape)
    else:
        values = rng.standard_normal(shape)
        if kind == "he_normal":
            values *= std
        elif kind == "binary":
            values = np.where(values < 0, -std, std)
        else:  # orthogonal: the nearest matrix with orthonormal rows or columns (Appendix E.1: "using SVD")
            u, _, v = np.linalg.svd(values.reshape(shape[0], -1), full_matrices=False)
            values = (u @ v).reshape(shape)
    return torch.from_numpy(values.astype(np.float32))


def freeze(model: nn.Module, groups: Groups, regime: Regime, seed: int) -> None:
    """Make exactly a regime's groups trainable; random-k weights become separate parameters."""
    model.requires_grad_(False)
    for _, norm in groups.batchnorms:
        norm.weight.requires_grad_("gamma" in regime.train)
        norm.bias.requires_grad_("beta" in regime.train)
    for kind, layers in (("conv", groups.convs), ("shortcut", groups.shortcuts), ("output", groups.outputs)):
        for _, layer in layers:
            layer.requires_grad_(kind in regime.train)
    if "random" in regime.train:
        for name, conv in [*groups.convs, *groups.shortcuts]:
            index = choose(regime, seed, name, conv.weight.shape[0], conv.weight[0].numel())
            weight = conv.weight.detach().clone()
            conv.weight.requires_grad_(True)  # the parametrisation's parameter inherits this
            parametrize.register_parametrization(conv, "weight", ScatteredWeight(weight, index))


def choose(regime: Regime, seed: int, name: str, filters: int, fan_in: int) -> torch.Tensor:
    """Choose the trainable weights of a convolution.

    Returns
    -------
    int64 tensor
        Positions in the flattened weight, ascending and distinct.
    """
    k = regime.random_k  # at most the fan-in: the grid has checked it
    rows, among, take = (filters, fan_in, k) if regime.random_per == "channel" else (1, filters * fan_in, k * filters)
    # The positions of the `take` smallest random words, one per weight: distinct, uniform and independent of any library's
    # shuffle.
    raw = seeds.generator(seed, "mask", name).bit_generator.random_raw(rows * among).reshape(rows, among)
    picked = np.argpartition(raw, take - 1, axis=1)[:, :take]
    return torch.from_numpy(np.sort((picked + np.arange(rows)[:, None] * among).ravel()))


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable parameters, by name, in order."""
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


def buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return BatchNorm's running statistics, by name."""
    return {f"{n}.{b}": getattr(m, b) for n, m in find_batchnorms(model) for b in ("running_mean", "running_var")}


def find_batchnorms(model: nn.Module) -> list[tuple[str, nn.BatchNorm2d]]:
    """Return the BatchNorm layers in order."""
    return [(n, m) for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)]


def frozen_checksum(model: nn.Module) -> str:
    """Return a SHA-256 over everything that follows from the seed alone.

    It is stored with the trained values, so that a NumPy with other random streams is detected.
    """
    total = hashlib.sha256()
    for name, value in sorted([*model.named_parameters(), *model.named_buffers()]):
        if name.endswith((".frozen", ".index")) or not (getattr(value, "requires_grad", False) or "running_" in name):
            total.update(name.encode())
            total.update(value.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def count(model: nn.Module) -> dict[str, int]:
    """Count a network's parameters; also works on the meta device, and before or after `make`.

    Returns
    -------
    dict
        total, trainable, batchnorm, output, shortcut, conv_weights (stem and shortcuts included), conv_biases,
        features (channels that BatchNorm scales), min_fan_in.
    """
    groups = find_groups(model)
    convs = [c for _, c in [*groups.convs, *groups.shortcuts]]

    def size(tensor: torch.Tensor | None) -> int:
        return 0 if tensor is None else tensor.numel()

    batchnorm = sum(2 * n.num_features for _, n in groups.batchnorms)
    output = sum(size(m.weight) + size(m.bias) for _, m in groups.outputs)
    conv_weights = sum(c.weight.numel() for c in convs)
    conv_biases = sum(size(c.bias) for c in convs)
    return {
        "total": batchnorm + output + conv_weights + conv_biases,
        "trainable": sum(p.numel() for p in trainable(model).values()),
        "batchnorm": batchnorm,
        "output": output,
        "shortcut": sum(c.weight.numel() for _, c in groups.shortcuts),
        "conv_weights": conv_weights,
        "conv_biases": conv_biases,
        "features": batchnorm // 2,
        "min_fan_in": min(c.weight[0].numel() for c in convs),
    }
