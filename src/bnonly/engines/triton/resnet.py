"""A CIFAR ResNet's blocks, forward and backward, with the fused convolutions: two launches per convolution.

One autograd function spans all blocks.  It keeps every convolution's result (the input of a BatchNorm) and the ReLU's mask bits after an
addition; if convolutions train, also the inputs of blocks.  A BatchNorm has its own launch where a shortcut is a convolution
(twice in a network) and at the end.  Replicates of one architecture can share the launches, along the first axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from bnonly.engines.triton import batchnorm, convolution
from bnonly.engines.triton.convolution import Norm
from bnonly.networks.cifar_resnet import CifarBlock, CifarResNet


@dataclass(frozen=True)
class Layer:
    """A convolution and the BatchNorm after it, of every replicate.

    Attributes
    ----------
    convs : list of torch.nn.Conv2d
    norms : list of torch.nn.BatchNorm2d
    stride, size : int
    frozen : tensor, optional
        Packed weights, if they do not train.
    """

    convs: list[nn.Conv2d]
    norms: list[nn.BatchNorm2d]
    stride: int
    size: int
    frozen: torch.Tensor | None


@dataclass(frozen=True)
class Block:
    """Two layers and, if there is one, the shortcut's layer."""

    first: Layer
    second: Layer
    shortcut: Layer | None

    @property
    def layers(self) -> list[Layer]:
        """All layers of the block."""
        return [self.first, self.second, *([self.shortcut] if self.shortcut else [])]


def supported(model: nn.Module) -> bool:
    """Whether these kernels can run a network's blocks: a CIFAR ResNet with 16, 32, ... channels."""
    return isinstance(model, CifarResNet) and all(
        convolution.supported(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0])
        for m in model.blocks.modules()
        if isinstance(m, nn.Conv2d)
    )


class FusedBlocks:
    """CIFAR ResNets from the first BatchNorm to the last block, in training mode.

    The constructor casts and packs frozen weights, so they must have their final values.  With several
    networks it also moves their BatchNorm parameters and statistics side by side, so that no step has to gather them.
    `bnonly.engines.fast.parameters` has already moved the trainable ones.

    Parameters
    ----------
    models : sequence of CifarResNet
        One network, or replicates of one architecture with the same trainable parameters.
    weights : function
        Maps a convolution to its weight in the computation, in any precision.
    dtype : torch.dtype
        Type of activations and packed weights.
    precision : str
        Of fp32 products: ieee or tf32.

    Raises
    ------
    ValueError
        If no kernels exist for the architecture.
    """

    def __init__(
        self,
        models: Sequence[CifarResNet],
        weights: Callable[[nn.Conv2d], torch.Tensor],
        dtype: torch.dtype,
        precision: str = "ieee",
    ) -> None:
        if not all(map(supported, models)):
            raise ValueError("the kernels are for CIFAR ResNets whose channels are powers of two from 16")
        self.dtype, self.precision, self._weights = dtype, precision, weights
        self.stem = [m.bn1 for m in models]
        _lay_together(self.stem)
        self.blocks = []
        for same in zip(*(m.blocks for m in models), strict=True):
            blocks = [b for b in same if isinstance(b, CifarBlock)]
            pairs = [b.downsample for b in blocks if isinstance(b.downsample, nn.Sequential)]
            shortcut = self._layer([p[0] for p in pairs], [p[1] for p in pairs]) if pairs else None
            self.blocks.append(
                Block(
                    self._layer([b.conv1 for b in blocks], [b.bn1 for b in blocks]),
                    self._layer([b.conv2 for b in blocks], [b.bn2 for b in blocks]),
                    shortcut,
                )
            )

    def _layer(self, convs: list[Any], norms: list[Any]) -> Layer:
        _lay_together(norms)
        weight = _stack([self._weights(c) for c in convs])
        frozen = None if weight.requires_grad else convolution.pack_weight(weight, self.dtype)
        return Layer(convs, norms, convs[0].stride[0], convs[0].kernel_size[0], frozen)

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """Run the blocks.

        Parameters
        ----------
        z : tensor (replicates, n, channels, height, width) or, of one network, (n, channels, height, width)
            Results of the first convolutions, of the type `dtype`.

        Returns
        -------
        tensor (replicates, n, 4 channels, height / 4, width / 4) or without the first axis
            Activations after the last block's ReLU.
        """
        tensors = _affine(self.stem)
        for block in self.blocks:
            for layer in block.layers:
                tensors += _affine(layer.norms)
                tensors += [None if layer.frozen is not None else self._weights(c) for c in layer.convs]
        many = z if z.dim() == 5 else z.unsqueeze(0)
        y = _Blocks.apply(self, many.movedim(-3, -1).contiguous(), *tensors).movedim(-1, -3)
        return y if z.dim() == 5 else y.squeeze(0)


def _side_by_side(tensors: list[torch.Tensor]) -> bool:
    """Whether tensors follow each other in memory."""
    first, size = tensors[0], tensors[0].numel()
    return all(
        (t.is_contiguous() or t.is_contiguous(memory_format=torch.channels_last))
        and t.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        and t.storage_offset() == first.storage_offset() + i * size
        for i, t in enumerate(tensors)
    )


def _stack(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Stack tensors along a new first axis; a view if they lie side by side."""
    first = tensors[0]
    if len(tensors) == 1:
        return first.unsqueeze(0)
    if _side_by_side(tensors):
        return first.as_strided((len(tensors), *first.shape), (first.numel(), *first.stride()))
    return torch.stack(tensors)


def _lay_together(norms: list[nn.BatchNorm2d]) -> None:
    """Move the parameters and statistics of a layer's replicates side by side, unless they already are."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        tensors = [getattr(n, name) for n in norms]
        if tensors[0] is not None and not _side_by_side(tensors):
            for tensor, row in zip(tensors, torch.stack([t.detach() for t in tensors]), strict=True):
                tensor.data = row


def _affine(norms: list[nn.BatchNorm2d]) -> list[torch.Tensor | None]:
    return [*(n.weight for n in norms), *(n.bias for n in norms)]


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, net: FusedBlocks, z: torch.Tensor, *tensors: torch.Tensor | None) -> torch.Tensor:
        count = z.shape[0]
        given = iter(tensors)

        def take() -> torch.Tensor | None:
            found = [t.detach() for t in itertools.islice(given, count) if t is not None]
            return _stack(found) if found else None

        def norm_of(modules: list[nn.BatchNorm2d]) -> Norm:
            first = modules[0]
            if first.momentum is None:
                raise ValueError("BatchNorm's momentum must be a number")
            weight, bias = take(), take()
            mean, var = (_stack([getattr(n, b) for n in modules]) for b in ("running_mean", "running_var"))
            return Norm(weight, bias, mean, var, first.momentum, first.eps)

        def layer_of(layer: Layer) -> tuple[Norm, torch.Tensor]:
            norm, weight = norm_of(layer.norms), take()
            packed = layer.frozen if weight is None else convolution.pack_weight(weight, net.dtype)
            assert packed is not None
            return norm, packed

        def apply(norm: Norm, x: torch.Tensor, other: torch.Tensor | None, relu: bool) -> tuple[torch.Tensor, Any]:
            assert norm.mean is not None and norm.rstd is not None
            flat = x.view(count, -1, x.shape[-1])
            other = None if other is None else other.view_as(flat)
            keep = relu and other is not None
            y, bits = batchnorm.apply(flat, norm.mean, norm.rstd, norm.weight, norm.bias, other, relu, keep)
            return y.view_as(x), None if bits is None else bits.view(*x.shape[:-1], -1)

        norm = norm_of(net.stem)
        flat = z.view(count, -1, z.shape[-1])
        norm.mean, norm.rstd = batchnorm.statistics(flat, norm.running_mean, norm.running_var, norm.momentum, norm.eps)
        tape: list[dict[str, Any]] = [{"norm": norm, "z": z}]
        residual: torch.Tensor | None = None
        how: dict[str, Any] = {"precision": net.precision}
        for block in net.blocks:
            (n1, w1), (n2, w2) = layer_of(block.first), layer_of(block.second)
            entry: dict[str, Any] = {"block": block, "n1": n1, "n2": n2, "w1": w1, "w2": w2}
            if block.shortcut is None:
                z1, h, bits = convolution.forward(z, w1, 1, norm, n1, residual, keep=True, **how)
                residual = h
            else:
                ns, ws = layer_of(block.shortcut)
                h, bits = apply(norm, z, residual, relu=True)
                z1, _, _ = convolution.forward(h, w1, block.first.stride, None, n1, **how)
                zs, _, _ = convolution.forward(h, ws, block.shortcut.stride, None, ns, **how)
                residual, _ = apply(ns, zs, None, relu=False)
                entry |= {"ns": ns, "ws": ws, "zs": zs}
            z, _, _ = convolution.forward(z1, w2, 1, n1, n2, **how)
            norm = n2
            # A convolution's input is kept only for the weight gradient.
            trains = any(layer.frozen is None for layer in block.layers)
            tape.append(entry | {"bits": bits, "z1": z1, "z": z, "h": h if trains else None, "norm": n2})
        y, bits = apply(norm, z, residual, relu=True)
        _save(ctx, tape, bits)
        ctx.net = net
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        net: FusedBlocks = ctx.net
        tape, bits = _load(ctx)
        count = grads[0].shape[0]
        how: dict[str, Any] = {"precision": net.precision}

        def flat(x: torch.Tensor) -> torch.Tensor:
            return x.reshape(count, -1, x.shape[-1])

        def layer(norm: Any, dy: torch.Tensor, x: torch.Tensor) -> Any:
            return [flat(dy), flat(x), norm.mean, norm.rstd, norm.weight, norm.bias]

        def reduce(norm: Norm, dy: torch.Tensor, x: torch.Tensor, relu: bool, signs: Any) -> None:
            norm.dbeta, norm.dgamma = batchnorm.reduce(*(*layer(norm, dy, x), relu, signs))

        def through(
            norm: Any, dy: torch.Tensor, x: torch.Tensor, relu: bool, signs: Any, want_dx: bool
        ) -> torch.Tensor:
            given = (*layer(norm, dy, x), norm.dbeta, norm.dgamma, relu, signs, want_dx, not want_dx)
            both = batchnorm.backward(*given)
            out = both[0] if want_dx else both[1]
            assert out is not None
            return out.view_as(x)

        # Tensors that need gradients, layer by layer, so that the backward pass ends at the first of them;
        # the same for all replicates.
        wanted = iter(ctx.needs_input_grad[2::count])
        stem_wanted = [next(wanted), next(wanted)]
        block_wanted = [[[next(wanted) for _ in range(3)] for _ in block.layers] for block in net.blocks]
        before = ctx.needs_input_grad[1] or any(stem_wanted)
        goes_on = []  # whether any tensor before a block needs a gradient
        for layers in block_wanted:
            goes_on.append(before)
            before = before or any(any(w) for w in layers)

        found: list[list[torch.Tensor | None]] = []
        last = tape[-1]
        dy = grads[0].contiguous()
        reduce(last["norm"], dy, last["z"], True, bits)
        g = through(last["norm"], dy, last["z"], True, bits, want_dx=False)
        dz = None
        for number in range(len(net.blocks) - 1, -1, -1):
            entry, previous = tape[number + 1], tape[number]
            block: Block = entry["block"]
            want = block_wanted[number]
            n1, n2, z1, z2 = entry["n1"], entry["n2"], entry["z1"], entry["z"]
            size = z1.shape[2:4]
            g1 = convolution.backward(g, z2, entry["w2"], size, 1, n2, before=n1, x=z1, **how)
            weights: list[torch.Tensor | None] = [None] * 3
            if want[1][2]:
                weights[1] = convolution.weight_gradient(z1, n1, g, z2, n2, block.second.size, 1, **how)
            if want[0][2]:
                weights[0] = convolution.weight_gradient(
                    entry["h"], None, g1, z1, n1, block.first.size, block.first.stride, **how
                )
            added = g
            stride = block.first.stride
            shape = previous["z"].shape[2:4]
            if block.shortcut is not None:
                ns, zs = entry["ns"], entry["zs"]
                reduce(ns, g, zs, False, None)
                if want[2][2]:
                    weights[2] = convolution.weight_gradient(
                        entry["h"], None, g, zs, ns, block.shortcut.size, block.shortcut.stride, **how
                    )
                if goes_on[number]:
                    added = convolution.backward(g, zs, entry["ws"], shape, block.shortcut.stride, ns, **how)
            norms = [n1, n2, *([entry["ns"]] if block.shortcut is not None else [])]
            found.append(
                [
                    t
                    for norm, weight, w in zip(norms, weights, want, strict=False)
                    for t in (norm.dgamma if w[0] else None, norm.dbeta if w[1] else None, weight)
                ]
            )
            if not goes_on[number]:
                found += [[None] * (3 * len(b.layers)) for b in reversed(net.blocks[:number])]
                break
            g = convolution.backward(
                g1, z1, entry["w1"], shape, stride, n1, added, previous["norm"], previous["z"], entry["bits"], **how
            )
        stem = tape[0]["norm"]
        if ctx.needs_input_grad[1]:
            dz = through(stem, g, tape[0]["z"], False, None, want_dx=True)
        ends = [stem.dgamma if stem_wanted[0] else None, stem.dbeta if stem_wanted[1] else None]
        every = [*ends, *(t for entries in reversed(found) for t in entries)]
        return None, dz, *(g for t in every for g in ([None] * count if t is None else t.unbind()))


def _save(ctx: Any, tape: list[dict[str, Any]], bits: torch.Tensor | None) -> None:
    """Hand the tensors of a tape to autograd, which counts and frees them like any saved tensor."""
    tensors: list[torch.Tensor | None] = [bits]
    kept = []
    norms: dict[int, int] = {}
    plain: list[tuple[Norm, slice]] = []
    for entry in tape:
        places: dict[str, Any] = {}
        for key, value in entry.items():
            if isinstance(value, Norm):
                if id(value) not in norms:
                    norms[id(value)] = len(plain)
                    empty = replace(
                        value, weight=None, bias=None, running_mean=None, running_var=None, mean=None, rstd=None
                    )
                    plain.append((empty, slice(len(tensors), len(tensors) + 4)))
                    tensors += [value.weight, value.bias, value.mean, value.rstd]
                places[key] = ("norm", norms[id(value)])
            elif isinstance(value, torch.Tensor):
                places[key] = ("tensor", len(tensors))
                tensors.append(value)
            else:
                places[key] = ("value", value)
        kept.append(places)
    ctx.save_for_backward(*tensors)
    ctx.places, ctx.norms = kept, plain


def _load(ctx: Any) -> tuple[list[dict[str, Any]], torch.Tensor | None]:
    tensors = ctx.saved_tensors
    norms = []
    for empty, where in ctx.norms:
        weight, bias, mean, rstd = tensors[where]
        norms.append(replace(empty, weight=weight, bias=bias, mean=mean, rstd=rstd))
    kinds = {"norm": norms.__getitem__, "tensor": tensors.__getitem__, "value": lambda v: v}
    return [{key: kinds[kind](value) for key, (kind, value) in entry.items()} for entry in ctx.places], tensors[0]
