"""Check every Triton kernel against torch in float64, on fresh random data.

    python benchmarks/kernel_checks.py --interpret   tiny shapes on the CPU, in Triton's interpreter: 50 s of one core
    python benchmarks/kernel_checks.py               on a CUDA GPU, at the paper's shapes: minutes of compiling

Every check prints a line, and the last line is "all passed".  Errors and limits are those of bnonly.engines.triton.trial.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from bnonly.engines.triton.trial import (
    DTYPES,
    LIMITS,
    Result,
    Variant,
    channels_last,
    check_batchnorm,
    cut,
    error,
    name_of,
)
from bnonly.errors import UserError
from bnonly.networks.cifar_resnet import CifarResNet

# BatchNorm


def check_not_a_number(device: torch.device) -> Iterator[Result]:
    """A network that diverges must be seen to: not-a-number goes through the ReLU, as torch's."""
    from bnonly.engines.triton.batchnorm import bn_relu

    x = channels_last(torch.randn(2, 16, 4, 4, device=device))
    x[0, 3, 1, 1] = float("nan")
    y = bn_relu(x, None, None, None, None, 0.1, 1e-5, None, True)
    seen = y[:, 3].isnan().all() and not y[:, :3].isnan().any()
    yield Result("bn_relu not a number", 0.0 if seen else 1.0, 0)


def check_saved(device: torch.device) -> Iterator[Result]:
    """Bytes kept for backward: the input, a bit an element after an addition, and two values a channel."""
    from bnonly.engines.triton.batchnorm import bn_relu

    x = channels_last(torch.randn(4, 16, 8, 8, device=device).half()).requires_grad_()
    weight, bias = torch.ones(16, device=device), torch.zeros(16, device=device)
    for residual, allowed in ((None, 2.0), (torch.zeros_like(x), 2.125)):
        kept = 0

        def count(t: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += t.numel() * t.element_size() if t.numel() > 64 else 0
            return t

        with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
            bn_relu(x, weight, bias, None, None, 0.1, 1e-5, residual, True)
        yield Result(f"bn_relu saved bytes residual {residual is not None}", kept / x.numel() / allowed - 1, 0)


# Optimiser and augmentation


def check_sgd(device: torch.device, count: int) -> Iterator[Result]:
    """Four steps beside `torch.optim.SGD`, the rate read on the device."""
    from bnonly.engines.triton.optimiser import sgd_step

    values = torch.randn(count, device=device)
    right = values.double().requires_grad_()
    optimiser = torch.optim.SGD([right], lr=1.0, momentum=0.9, weight_decay=1e-2)
    momenta, copied = torch.zeros_like(values), torch.empty(count // 3, dtype=torch.float16, device=device)
    for _ in range(4):
        gradient, rate = torch.randn(count, device=device), torch.rand(1, device=device)
        right.grad = gradient.double()
        optimiser.param_groups[0]["lr"] = rate.item()
        optimiser.step()
        sgd_step(values, gradient, momenta, rate, 0.9, 1e-2, copied)
    yield Result(f"sgd {count}", error(values, right), 1e-6)
    yield Result(f"sgd {count} momentum", error(momenta, optimiser.state[right]["momentum_buffer"]), 1e-6)
    yield Result(f"sgd {count} copy", 0.0 if torch.equal(copied, values[: count // 3].half()) else 1.0, 0)


def check_augmentation(device: torch.device, images: int, size: int, batch: int) -> Iterator[Result]:
    """The batch of `data.arrays.augment` and `data.source.Normaliser` on the CPU; fp32 bit by bit."""
    from bnonly import seeds
    from bnonly.data.arrays import augment
    from bnonly.data.batches import Normaliser
    from bnonly.engines.triton import augmentation

    data = torch.randint(0, 256, (images, size, size, 3), dtype=torch.uint8)
    labels = torch.randint(0, 10, (images,))
    mean, std = torch.tensor([0.49, 0.48, 0.45]), torch.tensor([0.25, 0.24, 0.26])
    normalise = Normaliser(mean.numpy(), std.numpy(), size, torch.device("cpu"))
    order = seeds.order(3, 7, images, torch.device("cpu"))
    words = seeds.words(3, "augment", 7, order)
    put: dict[str, Any] = {"device": device}
    for flips in (True, False):
        for shift in (4, 0):
            flip = words[0] >> 31 == 1 if flips else None
            down, right = (seeds.below(w, 2 * shift + 1) for w in words[1:3])
            start = images - batch + batch // 2  # the short last batch
            part = slice(start, start + batch)
            drawn = augment(
                data[order[part]], None if flip is None else flip[part], shift, down[part], right[part]
            )  # fmt: skip
            wanted = normalise(drawn).permute(0, 3, 1, 2)
            for dtype in DTYPES.values():
                out = channels_last(torch.full((batch, 3, size, size), 7.0, dtype=dtype, **put))
                out_labels = torch.full((batch,), -1, **put)
                augmentation.augment(
                    data.to(**put), labels.to(**put), order.to(**put), None if flip is None else flip.to(**put),
                    down.to(**put), right.to(**put), shift, mean.to(**put), std.to(**put),
                    torch.tensor([start], **put), out, out_labels,
                )  # fmt: skip
                what = f"augmentation {'flip ' if flips else ''}shift {shift} {name_of(dtype)}"
                found = out[: len(wanted)].cpu()
                yield Result(what, error(found, wanted), 0 if dtype == torch.float32 else LIMITS[dtype])
                untouched = bool((out[len(wanted) :] == 7).all())
                same = torch.equal(out_labels[: len(wanted)].cpu(), labels[order[part]])
                yield Result(f"{what} labels and end", 0.0 if untouched and same else 1.0, 0)


# Convolutions


def check_convolution(
    device: torch.device,
    dtype: torch.dtype,
    replicates: int,
    images: int,
    size: tuple[int, int],
    inputs: int,
    outputs: int,
    taps: int = 3,
    stride: int = 1,
    residual: bool = False,
    before: bool = True,
    shared: bool = False,
    precision: str = "ieee",
) -> Iterator[Result]:
    """Check a fused convolution and its gradients: BatchNorm, ReLU (and addition) before it, BatchNorm behind it."""
    from bnonly.engines.triton import batchnorm, convolution

    put: dict[str, Any] = {"device": device}
    x, other = (torch.randn(replicates, images, *size, inputs, **put).to(dtype) for _ in range(2))
    x += 1
    weight = torch.randn(1 if shared else replicates, outputs, inputs, taps, taps, **put).to(dtype)
    weight *= (taps * taps * inputs) ** -0.5
    gammas, betas = (
        [f(replicates, c, **put) + o for c in (inputs, outputs)] for f, o in ((torch.rand, 0.5), (torch.randn, 0.0))
    )
    packed = convolution.pack_weight(weight, dtype)
    added = torch.randn(x.shape, **put).to(dtype)
    dy_shape = (replicates, images, *((s - 1) // stride + 1 for s in size), outputs)
    dy = torch.randn(dy_shape, **put).to(dtype)
    keep = before and stride == 1

    def ours() -> dict[str, torch.Tensor]:
        ends = [torch.zeros(replicates, outputs, **put), torch.ones(replicates, outputs, **put)]
        n1 = convolution.Norm(gammas[0], betas[0], None, None, 0.1, 1e-5) if before else None
        n2 = convolution.Norm(gammas[1], betas[1], ends[0], ends[1], 0.1, 1e-5)
        if n1:
            n1.mean, n1.rstd = batchnorm.statistics(x.view(replicates, -1, inputs), None, None, 0.1, 1e-5)
        z, a, bits = convolution.forward(x, packed, stride, n1, n2, other if residual else None, keep, precision)
        found = {"z": z, "mean": n2.mean, "rstd": n2.rstd, "running_var": ends[1]}
        if a is not None:
            found["a"] = a
        if bits is not None:
            found["bits"] = ((bits[..., None].int() >> torch.arange(8, **put)) & 1).flatten(-2)
        flat = (replicates, -1, outputs)
        assert n2.mean is not None and n2.rstd is not None
        n2.dbeta, n2.dgamma = batchnorm.reduce(
            dy.view(flat), z.view(flat), n2.mean, n2.rstd, n2.weight, n2.bias, False, None
        )
        found["g"] = convolution.backward(dy, z, packed, size, stride, n2, added, n1, x, bits, precision)
        if n1:
            found |= {"dgamma": n1.dgamma, "dbeta": n1.dbeta}
        if not shared and (a is not None or not before):
            made = x if a is None else a
            found["dweight"] = convolution.weight_gradient(made, None, dy, z, n2, taps, stride, precision)
        if not shared and before and not residual:
            found["dweight inside"] = convolution.weight_gradient(x, n1, dy, z, n2, taps, stride, precision)
        return {k: v for k, v in found.items() if v is not None}

    xs, others, weights, g1, b1, g2, b2 = (
        t.double().requires_grad_() for t in (x, other, weight, gammas[0], betas[0], gammas[1], betas[1])
    )
    activations, zs, ys = [], [], []
    for i in range(replicates):
        a = xs[i].movedim(-1, 1)
        if before:
            a = functional.batch_norm(a, None, None, g1[i], b1[i], True)
            a = functional.relu(a + others[i].movedim(-1, 1) if residual else a)
        activations.append(a)
        zs.append(functional.conv2d(a, weights[0 if shared else i], None, stride, taps // 2))
        ys.append(functional.batch_norm(zs[-1], None, None, g2[i], b2[i], True))
    loss = sum(
        (y * d.movedim(-1, 1)).sum() + (a * e.movedim(-1, 1)).sum()
        for y, d, a, e in zip(ys, dy.double(), activations, added.double(), strict=True)
    )
    grads = torch.autograd.grad(loss, [weights, *([g1, b1] if before else []), *activations])  # type: ignore[arg-type]
    a, z = (torch.stack(t).movedim(2, -1) for t in (activations, zs))
    da = torch.stack(grads[-replicates:]).movedim(2, -1)
    rights = {
        "z": z,
        "mean": z.mean((1, 2, 3)),
        "rstd": (z.var((1, 2, 3), unbiased=False) + 1e-5).rsqrt(),
        "running_var": 0.9 + 0.1 * z.var((1, 2, 3)),
        "a": a,
        "bits": (a > 0).double(),
        "g": da * (a > 0) if before else da,
        "dweight": grads[0],
        "dweight inside": grads[0],
    }
    if before:
        rights |= {"dgamma": grads[1], "dbeta": grads[2]}
    first, second = ours(), ours()
    what = f"convolution {taps}x{taps} stride {stride} {inputs}>{outputs}{' residual' if residual else ''}"
    what += f"{'' if before else ' plain'}{' shared' if shared else ''} {name_of(dtype)} {precision} "
    what += f"({replicates}, {images}, {size[0]}, {size[1]})"
    limit = 3e-3 if precision == "tf32" else LIMITS[dtype]
    for name, found in first.items():
        yield Result(f"{what} {name}", error(found, rights[name]), limit)
    yield Result(f"{what} again", 0.0 if all(torch.equal(first[n], second[n]) for n in first) else 1.0, 0)


REGIMES: dict[str, Callable[[str], bool]] = {
    "BN": lambda name: "bn" in name or "downsample.1" in name,
    "all": lambda name: True,
    "shortcut": lambda name: "downsample.0" in name or "fc" in name,
}


def check_network(
    device: torch.device,
    dtype: torch.dtype,
    regime: str,
    depth: int,
    images: int,
    size: int,
    replicates: int,
    limit: float,
) -> Iterator[Result]:
    """All of a ResNet's gradients and statistics beside torch's in float64."""
    from bnonly.engines.triton.resnet import FusedBlocks

    models = [CifarResNet(depth, 16, 10).to(device).train() for _ in range(replicates)]
    for model in models:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.3, 1)
                nn.init.normal_(module.bias, 0, 0.3)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(REGIMES[regime](name))
    rights = [copy.deepcopy(m).double() for m in models]
    blocks = FusedBlocks(models, lambda c: c.weight, dtype)
    x = torch.randn(replicates, images, 3, size, size, device=device)
    out_grad = torch.randn(replicates, images, 10, device=device)
    z = torch.stack([m.conv1(x[i]) for i, m in enumerate(models)]).to(dtype)
    y = blocks(z) if replicates > 1 else blocks(z[0])[None]
    logits = torch.stack([m.fc(y[i].float().mean((2, 3))) for i, m in enumerate(models)])
    (logits * out_grad).sum().backward()
    right = torch.stack([m(x[i].double()) for i, m in enumerate(rights)])
    (right * out_grad).sum().backward()
    what = f"network ResNet-{depth} {regime} {name_of(dtype)} ({replicates}, {images}, {size}, {size})"
    yield Result(f"{what} logits", error(logits, right), limit)
    found, extra = [], 0
    for model, other in zip(models, rights, strict=True):
        for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
            if ours.grad is None or theirs.grad is None:
                extra += (ours.grad is None) != (theirs.grad is None)
            else:
                found.append(error(ours.grad, theirs.grad))
    yield Result(f"{what} gradients", largest(found), limit * 3)
    yield Result(f"{what} which gradients", extra, 0)
    moved = [
        error(b, c)
        for model, other in zip(models, rights, strict=True)
        for (n, b), c in zip(model.named_buffers(), other.buffers(), strict=True)
        if "running" in n
    ]
    yield Result(f"{what} running statistics", largest(moved), limit)


def largest(errors: Iterable[float]) -> float:
    """Return the largest error; not a number, which `max` would pass over, if one is."""
    return max(errors, key=lambda e: (math.isnan(e), e), default=0.0)


# Sets of checks


def tiny(device: torch.device) -> Iterator[Result]:
    """Everything at sizes the interpreter can do: every variant, every branch, ragged ends."""
    # Tiny tensors in as many pieces as large ones, so that the loops over tiles and the merging run.
    with cut(PROGRAMS=3, TILE=64):
        for dtype in DTYPES.values():
            yield from check_batchnorm(device, dtype, (3, 16, 5, 5), Variant(residual=True))
        yield from check_batchnorm(device, torch.float32, (2, 3, 24, 4, 3))
        yield from check_batchnorm(device, torch.float32, (3, 4, 5, 5), Variant("absent", residual=True))
        yield from check_batchnorm(device, torch.float32, (4, 70, 3, 3), Variant("frozen", relu=False))
        yield from check_batchnorm(device, torch.float32, (4, 16, 3, 3), Variant("trains", relu=False, residual=True))
        yield from check_batchnorm(device, torch.float32, (2, 2, 3, 3), Variant("frozen"))
        yield from check_batchnorm(device, torch.float32, (9, 16, 5, 5), Variant(offset=300.0))
        yield from check_not_a_number(device)
        yield from check_saved(device)
        yield from check_sgd(device, 2500)
        yield from check_augmentation(device, 23, 12, 8)
        conv: Any = check_convolution
        yield from conv(device, torch.float32, 1, 3, (5, 4), 16, 16)
        yield from conv(device, torch.float32, 2, 2, (5, 4), 16, 32, residual=True)
        yield from conv(device, torch.float32, 2, 2, (6, 5), 16, 32, stride=2, before=False)
        yield from conv(device, torch.float32, 1, 2, (6, 4), 32, 16, stride=2)
        yield from conv(device, torch.float32, 2, 2, (5, 4), 32, 16, taps=1, stride=2, before=False)
        yield from conv(device, torch.float32, 2, 1, (3, 4), 128, 256, residual=True, shared=True)
        yield from conv(device, torch.bfloat16, 2, 2, (5, 4), 16, 32, residual=True)
        yield from conv(device, torch.float16, 1, 2, (6, 6), 16, 16, residual=True)
    with cut(FILLING=1, PROGRAMS=8):  # the fewer programs, the sooner the interpreter is done
        for regime in REGIMES:
            yield from check_network(device, torch.float32, regime, 8, 2, 8, 2 if regime == "all" else 1, 1e-5)


def full(device: torch.device) -> Iterator[Result]:
    """Everything at the shapes of the paper's networks and batches; then the rare variants, of which each is built for little."""
    for dtype in DTYPES.values():
        for shape in ((128, 16, 32, 32), (128, 64, 8, 8), (80, 32, 16, 16), (128, 512, 4, 4), (5, 128, 16, 32, 32)):
            for residual in (True, False):
                yield from check_batchnorm(device, dtype, shape, Variant(residual=residual))
        yield from check_batchnorm(device, dtype, (128, 32, 16, 16), Variant("absent"))
        yield from check_batchnorm(device, dtype, (128, 32, 16, 16), Variant("frozen", relu=False))
    yield from check_batchnorm(device, torch.bfloat16, (128, 256, 56, 56), Variant(residual=True))
    yield from check_batchnorm(device, torch.float32, (128, 16, 32, 32), Variant(offset=300.0))
    yield from check_sgd(device, 8_000)
    yield from check_sgd(device, 1_730_000)
    yield from check_augmentation(device, 2000, 32, 128)
    conv: Any = check_convolution
    for dtype, precision in (*((d, "ieee") for d in DTYPES.values()), (torch.float32, "tf32")):
        how = {"precision": precision}
        for channels, size in ((16, 32), (32, 16), (64, 8)):
            yield from conv(device, dtype, 1, 128, (size, size), channels, channels, residual=True, **how)
            yield from conv(device, dtype, 1, 80, (size, size), channels, channels, **how)
            yield from conv(device, dtype, 5, 128, (size, size), channels, channels, residual=True, **how)
        for channels, size in ((16, 32), (32, 16)):
            for taps in (3, 1):
                strided = {"taps": taps, "stride": 2, "before": False, **how}
                yield from conv(device, dtype, 1, 128, (size, size), channels, 2 * channels, **strided)
    yield from conv(device, torch.bfloat16, 1, 128, (32, 32), 128, 128, residual=True)
    yield from conv(device, torch.bfloat16, 1, 128, (8, 8), 512, 512, residual=True)
    for regime in REGIMES:
        yield from check_network(device, torch.float32, regime, 14, 128, 32, 1, 1e-4)
        yield from check_network(device, torch.bfloat16, regime, 14, 128, 32, 2, 5e-2)
    yield from tiny(device)


def interpret() -> None:
    """Have Triton interpret kernels from here on; nothing may have imported it yet."""
    if "triton" in sys.modules:
        raise UserError("Triton is imported already and can no longer be told to interpret")
    os.environ["TRITON_INTERPRET"] = "1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks; print each; return 1 if one failed, 2 if they cannot be run."""
    parser = argparse.ArgumentParser(prog="python benchmarks/kernel_checks.py", description=__doc__.splitlines()[0])
    parser.add_argument("--interpret", action="store_true", help="tiny shapes in Triton's interpreter, on the CPU")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    if options.interpret:
        interpret()
        results = tiny(torch.device("cpu"))
    elif not torch.cuda.is_available():
        message = "error: the kernels need a CUDA GPU and this machine has none; --interpret checks them on its CPU"
        print(message, file=sys.stderr)
        return 2
    else:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        results = full(torch.device("cuda"))
    failed = 0
    for result in results:
        failed += not result.ok
        print("ok    " if result.ok else "FAILED", result, flush=True)
    print(f"{failed} failed" if failed else "all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
