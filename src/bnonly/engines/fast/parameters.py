"""All trainable parameters as one float32 vector: one momentum, one optimiser step, one gradient to exchange."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrize

from bnonly.networks import regimes
from bnonly.networks.pooling import known_order

_T = TypeVar("_T")


class Parameters:
    """The trainable parameters of a network, and the weights of its convolutions in the precision of the computation.

    The network's parameters become views of `values`, so the network is up to date after every step.  With several replicates
    of a network, equal parameters lie side by side: a parameter of the first, the same one of the second, ...

    Parameters
    ----------
    models : torch.nn.Module or sequence of torch.nn.Module
        From `bnonly.networks.regimes.make`, on their device; several are replicates of one cell.
    dtype : torch.dtype
        Precision of the convolutions.
    backend : str
        "triton": a step is one launch of `bnonly.engines.triton.optimiser.sgd_step`.

    Attributes
    ----------
    replicates : int
        Number of networks.
    values, momentum : float32 tensor (trainable,)
        Laid out as: whole convolutions, channels last; BatchNorm and output layer; random weights.
    leaves : list of tensor
        Tensors to differentiate: parameters, copies of convolutions in `dtype`, or, for random weights, whole
        convolutions with a few trainable entries.
    """

    def __init__(self, models: nn.Module | Sequence[nn.Module], dtype: torch.dtype, backend: str = "torch") -> None:
        self._dtype, self._backend = dtype, backend
        models = [models] if isinstance(models, nn.Module) else list(models)
        convs = _in_turn([m for m in model.modules() if isinstance(m, nn.Conv2d)] for model in models)
        trainable = [regimes.trainable(model) for model in models]
        scattered = [c for c in convs if parametrize.is_parametrized(c, "weight")]
        dense = [p for c in convs if c not in scattered for p in c.parameters() if p.requires_grad]
        values = [_chosen(c)[0] for c in scattered]
        inside = {id(p) for p in [*dense, *values]}
        direct = [p for p in _in_turn(list(t.values()) for t in trainable) if id(p) not in inside]
        device = next(models[0].parameters()).device
        ordered = [*dense, *direct, *values]  # convolutions first: on GPUs they must start at multiples of 16 bytes
        self.values = torch.empty(sum(p.numel() for p in ordered), device=device)
        self.momentum = torch.zeros_like(self.values)
        where = {}
        place = 0
        for parameter in ordered:
            view = _view(self.values, place, parameter)
            view.copy_(parameter.detach())
            parameter.data = view
            where[id(parameter)] = place
            place += parameter.numel()
        self.replicates = len(models)
        self._places = [{n: (where[id(p)], p) for n, p in named.items()} for named in trainable]
        whole = sum(p.numel() for p in dense)
        self._dense = self.values[:whole]
        self._random = self.values[whole + sum(p.numel() for p in direct) :]
        self._copies: dict[int, torch.Tensor] = {}
        self.leaves: list[torch.Tensor] = []
        self._copy_dense(dense)
        self._leaves_dense = len(self.leaves)
        self.leaves += direct
        self._spread(scattered)
        self.refresh()
        for conv in convs:
            for parameter in conv.parameters():
                if id(parameter) not in self._copies and id(parameter) not in inside:
                    layout = torch.channels_last if parameter.dim() == 4 else torch.contiguous_format
                    self._copies[id(parameter)] = parameter.detach().to(dtype).contiguous(memory_format=layout)

    def _copy_dense(self, dense: list[nn.Parameter]) -> None:
        self._low: torch.Tensor | None = None
        if self._dtype == torch.float32:
            self._copies.update((id(p), p) for p in dense)
            self.leaves += dense
            return
        self._low = torch.empty_like(self._dense, dtype=self._dtype)
        place = 0
        for parameter in dense:
            leaf = _view(self._low, place, parameter).requires_grad_()
            self._copies[id(parameter)] = leaf
            self.leaves.append(leaf)
            place += parameter.numel()

    def _spread(self, scattered: list[nn.Conv2d]) -> None:
        """Concatenate the frozen weights that have trainable entries, with one index for all entries."""
        self._whole = torch.empty(
            sum(_chosen(c)[1].frozen.numel() for c in scattered),
            dtype=self._dtype,
            device=self.values.device,
        )
        indices, place = [], 0
        for conv in scattered:
            values, how = _chosen(conv)
            frozen, index = how.frozen, how.index
            leaf = _view(self._whole, place, frozen)
            leaf.copy_(frozen)
            # Position of each entry of the weight in channels-last order.
            positions = _view(torch.arange(frozen.numel(), device=frozen.device), 0, frozen)
            indices.append(place + positions.flatten()[index])
            self._copies[id(values)] = leaf.requires_grad_()
            self.leaves.append(leaf)
            place += frozen.numel()
        self._index = torch.cat(indices) if indices else None
        self._leaves_spread = len(scattered)

    @property
    def copies(self) -> list[torch.Tensor]:
        """The tensors that `refresh` writes."""
        return [t for t in (self._low, self._whole) if t is not None]

    def of(self, conv: nn.Conv2d) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the weight and bias that a convolution uses."""
        scattered = parametrize.is_parametrized(conv, "weight")
        weight = _chosen(conv)[0] if scattered else conv.weight
        return self._copies[id(weight)], None if conv.bias is None else self._copies[id(conv.bias)]

    @torch.no_grad()
    def refresh(self) -> None:
        """Update the copies in `dtype` from the values, after a step or after loading a checkpoint."""
        if self._low is not None and self._low.numel():
            self._low.copy_(self._dense)
        self._scatter()

    def _scatter(self) -> None:
        """Write the trainable random weights into the weights that convolutions use."""
        if self._index is not None:
            # Positions are unique, so the order does not matter; deterministic torch would sort them at every call.
            with known_order():
                self._whole.index_copy_(0, self._index, self._random.to(self._dtype))

    @torch.no_grad()
    def gather(self, gradients: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Return the gradient of `values` from those of `leaves`."""
        flat = [_flat(g) for g in gradients]
        dense, spread = self._leaves_dense, len(flat) - self._leaves_spread
        # Concatenate tensors of one type first, so that one cast serves all.
        parts = [torch.cat(flat[:dense]).float()] if dense else []
        parts += flat[dense:spread]
        if self._index is not None:
            parts.append(torch.cat(flat[spread:])[self._index].float())
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    @torch.no_grad()
    def step(self, gradient: torch.Tensor, lr: float | torch.Tensor, momentum: float, weight_decay: float) -> None:
        """Take one step of SGD, in the order of operations of `torch.optim.SGD`; `gradient` is overwritten.

        Parameters
        ----------
        gradient : float32 tensor (trainable,)
            Gradient of `values`.
        lr : float or float32 tensor (1,)
            The device reads a tensor, so it can change between replays of a CUDA graph.
        momentum, weight_decay : float
            No Nesterov, no dampening.
        """
        if self._backend == "triton" and not isinstance(lr, float):
            from bnonly.engines.triton.optimiser import sgd_step

            low = self._low if self._low is not None and self._low.numel() else None
            sgd_step(self.values, gradient, self.momentum, lr, momentum, weight_decay, low)
            self._scatter()
            return
        if weight_decay:
            gradient.add_(self.values, alpha=weight_decay)
        self.momentum.mul_(momentum).add_(gradient)
        if isinstance(lr, float):
            self.values.add_(self.momentum, alpha=-lr)
        else:
            self.values.addcmul_(self.momentum, lr, value=-1)
        self.refresh()

    def named(self, vector: torch.Tensor, replicate: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the name and view of each parameter of a replicate, in a vector with the layout of `values`."""
        for name, (place, parameter) in self._places[replicate].items():
            yield name, _view(vector, place, parameter)


def _in_turn(lists: Iterable[list[_T]]) -> list[_T]:
    """Interleave lists of equal length: the first of each, the second of each, ..."""
    return list(itertools.chain.from_iterable(zip(*lists, strict=True)))


def _chosen(conv: nn.Conv2d) -> tuple[nn.Parameter, regimes.ScatteredWeight]:
    """Return the trainable random weights of a convolution, and their positions in it."""
    weight: Any = conv.parametrizations.weight  # type: ignore[union-attr]
    return weight.original, weight[0]


def _view(flat: torch.Tensor, place: int, like: torch.Tensor) -> torch.Tensor:
    """Return a part of a vector in a tensor's shape, channels last if it has four dimensions."""
    part = flat[place : place + like.numel()]
    if like.dim() != 4:
        return part.view(like.shape)
    outputs, inputs, height, width = like.shape
    return part.view(outputs, height, width, inputs).permute(0, 3, 1, 2)


def _flat(gradient: torch.Tensor) -> torch.Tensor:
    return (gradient.permute(0, 2, 3, 1) if gradient.dim() == 4 else gradient).reshape(-1)
