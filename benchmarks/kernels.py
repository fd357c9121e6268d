"""Check the Triton kernels, and measure them beside eager PyTorch and torch.compile.

    python benchmarks/kernels.py               on a CUDA GPU; writes benchmarks/results/kernels.md and kernels.csv (minutes)
    python benchmarks/kernels.py --interpret   no GPU: tiny checks in Triton's interpreter, every case below run once
    python benchmarks/kernels.py --compile 90  no GPU: build for such a GPU; registers, spills, shared memory of each kernel

Every kernel is compared with torch in float64 first (kernel_checks.py: minutes of compiling; with --first only one is);
nothing is timed if one fails.  Each case is
captured in a CUDA graph over several sets of inputs, together several times the cache, and the graph is replayed; the
time is the median over replays and the spread their quartiles.  Bytes are what the kernels must move; the share is of the copy
bandwidth measured in the same run.  Needs no Snakemake; torch 2.11 or newer with its Triton.
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import CALLS, RESULTS, ROOT, write, write_csv
from torch.nn import functional

sys.path.insert(0, str(ROOT / "src"))
BATCH = 128
#: Bytes of inputs that the sets of a case have together: several times the 60 MB cache of an H200.
ROTATED = 400e6
COLUMNS = ("case", "shape", "side", "microseconds", "low", "high", "megabytes", "share_of_copy", "kernels")
Call = Callable[[], Any]


@dataclass
class Case:
    """Something to time.

    Attributes
    ----------
    name, shape : str
    bytes : float
        That must be moved, of all sides; 0 if unknown.
    size : float
        Bytes of one set of inputs.
    make : function
        Returns a new set of inputs as calls, by side.
    """

    name: str
    shape: str
    bytes: float
    size: float
    make: Callable[[], dict[str, Call]]


@dataclass
class Setting:
    """Where and how large.

    Attributes
    ----------
    device, dtype
        Of activations.
    tiny : bool
        Shapes that the interpreter can do.
    empty : bool
        Leave inputs as memory is, for building only.
    compiled : bool
        Whether to have torch.compile as a side.
    """

    device: torch.device
    dtype: torch.dtype
    tiny: bool = False
    empty: bool = False
    compiled: bool = True

    def draw(self, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Return random values."""
        make = torch.empty if self.empty else torch.randn
        return make(*shape, device=self.device, dtype=dtype or self.dtype)

    def images(self, *shape: int) -> torch.Tensor:
        """Return random images (n, c, h, w) in channels-last order."""
        n, c, h, w = shape
        return self.draw(n, h, w, c).permute(0, 3, 1, 2)


def compiled(setting: Setting, function: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return torch.compile's version of a function, where it is wanted."""
    if not setting.compiled:
        return None
    import torch._dynamo

    # The cases of a kind share a function's code: with 8 versions of it, as many as there may be unless it is said, the rest would
    # be run uncompiled and be timed as if they were not.
    torch._dynamo.config.recompile_limit = 64
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    return torch.compile(function, dynamic=False)


# Cases


def bn_cases(setting: Setting) -> Iterator[Case]:
    """BatchNorm + ReLU (+ add), forward and backward."""
    from bnonly.engines.triton import shapes
    from bnonly.engines.triton.batchnorm import bn_relu

    all_shapes = [(BATCH, 16, 32, 32), (BATCH, 32, 16, 16), (BATCH, 64, 8, 8), (BATCH, 128, 32, 32), (256, 256, 56, 56)]
    for shape in [(2, 16, 4, 4)] if setting.tiny else all_shapes:
        for residual in (False, True):

            def stock(
                x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, mean: torch.Tensor, var: torch.Tensor, other: Any
            ) -> torch.Tensor:
                y = functional.batch_norm(x, mean, var, w, b, True, 0.1, 1e-5)
                return functional.relu(y if other is None else y + other)

            def ours(
                x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, mean: torch.Tensor, var: torch.Tensor, other: Any
            ) -> torch.Tensor:
                return bn_relu(x, w, b, mean, var, 0.1, 1e-5, other, True)

            sides = {"ours": ours, "eager": stock, "compiled": compiled(setting, stock)}

            def make(shape: Any = shape, residual: bool = residual, sides: Any = sides) -> dict[str, Call]:
                x, dy = setting.images(*shape).requires_grad_(), setting.images(*shape)
                other = setting.images(*shape).requires_grad_() if residual else None
                weight, bias, mean, var = (setting.draw(shape[1], dtype=torch.float32).abs() + 0.5 for _ in range(4))
                leaves = [x, weight.requires_grad_(), bias.requires_grad_(), *([other] if residual else [])]

                def both(function: Any) -> Call:
                    return lambda: torch.autograd.grad(function(x, weight, bias, mean, var, other), leaves, dy)

                return {side: both(function) for side, function in sides.items() if function}

            elements, size = torch.Size(shape).numel(), setting.dtype.itemsize
            moved = shapes.bn_forward_bytes(elements, size, residual) + shapes.bn_backward_bytes(
                elements, size, residual
            )
            name = f"BatchNorm + {'add + ' if residual else ''}ReLU, forward and backward"
            yield Case(name, str(shape), moved, elements * size * 2, make)


def layer_cases(setting: Setting) -> Iterator[Case]:
    """A frozen convolution with BatchNorm + ReLU (+ add): the fused kernels, forward, and forward and backward."""
    from bnonly.engines.triton import batchnorm, convolution, shapes

    layers = [(16, 16, 32, 1), (32, 32, 16, 1), (64, 64, 8, 1), (16, 32, 32, 2), (128, 128, 32, 1)]
    images = 2 if setting.tiny else BATCH
    for inputs, outputs, side, stride in [(16, 16, 4, 1)] if setting.tiny else layers:
        for residual in (False, True)[: 2 if stride == 1 else 1]:

            def stock(
                x: torch.Tensor, weight: torch.Tensor, norm: Any, other: Any, stride: int = stride
            ) -> torch.Tensor:
                z = functional.conv2d(x, weight, None, stride, 1)
                y = functional.batch_norm(z, norm[2], norm[3], norm[0], norm[1], True, 0.1, 1e-5)
                return functional.relu(y if other is None else y + other)

            sides = {"eager": stock, "compiled": compiled(setting, stock)}

            def make(
                inputs: int = inputs, outputs: int = outputs, side: int = side, stride: int = stride,
                residual: bool = residual, sides: Any = sides, backward: bool = True,
            ) -> dict[str, Call]:  # fmt: skip
                x, added = setting.images(images, inputs, side, side), setting.images(images, inputs, side, side)
                out_side = (side - 1) // stride + 1
                dy = setting.images(images, outputs, out_side, out_side)
                weight = setting.draw(1, outputs, inputs, 3, 3) * 0.1
                vectors = [
                    [setting.draw(1, c, dtype=torch.float32).abs() + 0.5 for _ in range(4)] for c in (inputs, outputs)
                ]
                other = setting.images(images, outputs, out_side, out_side) if residual else None
                flat, g, plus = (t.permute(0, 2, 3, 1)[None] for t in (x, dy, added))
                packed = convolution.pack_weight(weight, setting.dtype)
                before, behind = (convolution.Norm(*v, 0.1, 1e-5) for v in vectors)
                before.mean, before.rstd = batchnorm.statistics(flat.view(1, -1, inputs), None, None, 0.1, 1e-5)
                behind.dbeta, behind.dgamma = (setting.draw(1, outputs, dtype=torch.float32) for _ in range(2))

                def ours() -> Any:
                    z, _, bits = convolution.forward(
                        flat, packed, stride, before, behind, plus if residual else None, residual
                    )
                    if not backward:
                        return z
                    identity = plus if residual else None
                    return convolution.backward(
                        g, z, packed, (side, side), stride, behind, identity, before, flat, bits
                    )  # fmt: skip

                norm = [v[0].clone() for v in vectors[1]]
                leaves = [x.requires_grad_(), *(n.requires_grad_() for n in norm[:2])]
                if other is not None:
                    leaves.append(other.requires_grad_())

                def usual(function: Any) -> Call:
                    if not backward:
                        return lambda: function(x.detach(), weight[0], [n.detach() for n in norm], other)
                    return lambda: torch.autograd.grad(function(x, weight[0], norm, other), leaves, dy)

                return {"ours": ours, **{side: usual(function) for side, function in sides.items() if function}}

            size = setting.dtype.itemsize
            read, written = (images * c * s * s for c, s in ((inputs, side), (outputs, side // stride)))
            forward = shapes.conv_forward_bytes(read, written, size, residual)
            backward_ = shapes.conv_backward_bytes(read, written, size, residual, residual)
            name = f"convolution + BatchNorm + {'add + ' if residual else ''}ReLU"
            shape = f"({images}, {inputs}, {side}, {side}) > {outputs}, stride {stride}"
            held = (read + written) * size * 2
            yield Case(f"{name}, forward", shape, forward, held, lambda make=make: make(backward=False))
            yield Case(f"{name}, forward and backward", shape, forward + backward_, held, make)


def network_cases(setting: Setting) -> Iterator[Case]:
    """All blocks of a CIFAR ResNet, forward and backward; beside them PyTorch under autocast."""
    from bnonly.engines.triton.resnet import FusedBlocks
    from bnonly.networks.cifar_resnet import CifarResNet

    images, side = (2, 8) if setting.tiny else (BATCH, 32)
    chosen = [(8, "BN", 2)] if setting.tiny else [(d, g, r) for d in (14, 110) for g in ("BN", "all") for r in (1, 5)]
    for depth, regime, replicates in chosen:

        def make(depth: int = depth, regime: str = regime, replicates: int = replicates) -> dict[str, Call]:
            models = [CifarResNet(depth, 16, 10) for _ in range(replicates)]
            for model in models:
                model.to(setting.device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
                for name, parameter in model.named_parameters():
                    parameter.requires_grad_(regime == "all" or "bn" in name or "downsample.1" in name)
                    parameter.requires_grad_(parameter.requires_grad and not name.startswith(("fc", "conv1")))
                for module in model.modules():
                    if isinstance(module, torch.nn.BatchNorm2d):
                        module.num_batches_tracked = None
            leaves = [p for m in models for p in m.parameters() if p.requires_grad]
            z = setting.draw(replicates, images, side, side, 16).permute(0, 1, 4, 2, 3)
            dy = setting.draw(replicates, images, side // 4, side // 4, 64).permute(0, 1, 4, 2, 3)
            blocks = FusedBlocks(models, lambda conv: conv.weight, setting.dtype)

            def ours() -> Any:
                y = blocks(z) if replicates > 1 else blocks(z[0])[None]
                return torch.autograd.grad(y, leaves, dy)

            def eager() -> Any:
                for model, x, d in zip(models, z, dy, strict=True):
                    with torch.autocast(setting.device.type, dtype=setting.dtype):
                        y = model.blocks(model.relu(model.bn1(x)))
                    torch.autograd.grad(y, [p for p in model.parameters() if p.requires_grad], d)

            return {"ours": ours, "eager": eager}

        # 15 elements of a convolution's output a block where BatchNorm trains, 21 where all weights do.
        blocks_each = (depth - 2) // 6
        elements = sum(images * 16 * 2**g * (side // 2**g) ** 2 for g in range(3)) * blocks_each
        moved = elements * (15 if regime == "BN" else 21) * setting.dtype.itemsize * replicates
        name = f"ResNet-{depth}, {regime}, {replicates} replicate{'s' if replicates > 1 else ''}, all blocks"
        yield Case(name, str((images, 16, side, side)), moved, ROTATED, make)


def other_cases(setting: Setting) -> Iterator[Case]:
    """The optimiser's step and the augmentation."""
    from bnonly.data.arrays import augment
    from bnonly.data.batches import Normaliser
    from bnonly.engines.triton import augmentation
    from bnonly.engines.triton.optimiser import sgd_step

    device = setting.device
    for count in (50,) if setting.tiny else (8_000, 1_730_000):

        def stock(p: torch.Tensor, g: torch.Tensor, m: torch.Tensor, rate: torch.Tensor) -> None:
            m.mul_(0.9).add_(g.add(p, alpha=1e-4))
            p.addcmul_(m, rate, value=-1)

        sides = {"eager": stock, "compiled": compiled(setting, stock)}

        def make(count: int = count, sides: Any = sides) -> dict[str, Call]:
            p, g, m = (setting.draw(count, dtype=torch.float32) for _ in range(3))
            rate = torch.full((1,), 1e-6, device=device)

            def ours() -> None:
                sgd_step(p, g, m, rate, 0.9, 1e-4)

            bound = {k: (lambda f=f: f(p, g, m, rate)) for k, f in sides.items() if f}
            return {"ours": ours, **bound}

        yield Case("SGD step", str((count,)), count * 20.0, count * 12.0, make)

    images, side, batch = (20, 8, 8) if setting.tiny else (50_000, 32, BATCH)

    def make_batch() -> dict[str, Call]:
        data = torch.randint(0, 256, (images, side, side, 3), dtype=torch.uint8, device=device)
        labels, order = torch.zeros(images, dtype=torch.int64, device=device), torch.randperm(images, device=device)
        flip = torch.rand(images, device=device) < 0.5
        down, right = (torch.randint(0, 9, (images,), device=device) for _ in range(2))
        mean, std = torch.tensor([0.49, 0.48, 0.45], device=device), torch.tensor([0.25, 0.24, 0.26], device=device)
        first = torch.zeros(1, dtype=torch.int64, device=device)
        out = setting.images(batch, 3, side, side)
        out_labels = torch.empty(batch, dtype=torch.int64, device=device)
        normalise = Normaliser(mean.cpu().numpy(), std.cpu().numpy(), side, device)
        place = torch.arange(batch, device=device)

        def eager() -> Any:
            chosen = order[place]
            drawn = augment(data.index_select(0, chosen), flip[place], 4, down[place], right[place])
            return normalise(drawn).to(setting.dtype), labels[chosen]

        return {
            "ours": lambda: augmentation.augment(
                data, labels, order, flip, down, right, 4, mean, std, first, out, out_labels
            ),
            "eager": eager,
        }

    pixels = batch * side * side * 3
    yield Case(
        "augmentation", str((batch, 3, side, side)), pixels * (1.0 + setting.dtype.itemsize), ROTATED, make_batch
    )


def cases(setting: Setting, only: str = "") -> Iterator[Case]:
    """Those whose name has what a regular expression asks for."""
    # What matters most first: torch.compile takes minutes for the layers and BatchNorms.
    every = (*other_cases(setting), *network_cases(setting), *layer_cases(setting), *bn_cases(setting))
    return (case for case in every if re.search(only, case.name))


# Timing


def copy_bandwidth() -> float:
    """Return bytes read and written per second by a copy of 4 GB on the device."""
    source = torch.randn(1 << 30, device="cuda")
    target = torch.empty_like(source)
    seconds = []
    for _ in range(12):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        target.copy_(source)
        end.record()
        torch.cuda.synchronize()
        seconds.append(start.elapsed_time(end) / 1e3)
    return 2 * source.numel() * 4 / statistics.median(seconds[2:])


def timed(calls: list[Call], replays: int) -> tuple[list[float], int]:
    """Return microseconds a call of each replay of a graph of all calls, and how many kernels a call launches."""
    from bnonly.engines.fast.graph import recover

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for call in [*calls, *calls]:
            call()
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            calls[0]()
            torch.cuda.synchronize()
        device = torch.autograd.DeviceType.CUDA
        launched = sum(e.device_type == device and not CALLS.match(e.name) for e in profile.events())
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        try:
            with torch.cuda.graph(graph, pool=pool, stream=stream):
                for call in calls:
                    call()
        except Exception:
            recover(pool)  # the other sides and cases are still wanted
            raise
        found = []
        for number in range(replays + 3):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            graph.replay()
            end.record()
            torch.cuda.synchronize()
            if number >= 3:
                found.append(start.elapsed_time(end) * 1e3 / len(calls))
    return found, launched


def measure(case: Case, replays: int, bandwidth: float) -> Iterator[dict[str, Any]]:
    """Time each side of a case, one after the other on the same sets of inputs."""
    try:
        sets = [case.make() for _ in range(max(1, min(64, round(ROTATED / case.size))))]
    except Exception as problem:  # the other cases are still wanted
        print(f"{case.name} {case.shape}: {(str(problem) or repr(problem)).splitlines()[0]}", file=sys.stderr)
        return
    for side in sets[0]:
        row: dict[str, Any] = {"case": case.name, "shape": case.shape, "side": side}
        try:
            found, launched = timed([s[side] for s in sets], replays)
        except Exception as problem:  # out of some resource, say: the other sides are still wanted
            print(
                f"{case.name} {case.shape} {side}: {(str(problem) or repr(problem)).splitlines()[0]}", file=sys.stderr
            )
            continue
        low, middle, high = statistics.quantiles(found, n=4)
        share = case.bytes / (middle * 1e-6) / bandwidth
        numbers = (middle, low, high, case.bytes / 1e6, share, launched)
        yield row | dict(zip(COLUMNS[3:], numbers, strict=True))


def table(rows: list[dict[str, Any]]) -> str:
    """Return the measurements as Markdown, a case a line."""
    lines = [
        "| case | shape | MB | ours, us | share of copy | launches | eager, us | eager / ours | compiled, us | compiled / ours |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    by_case: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        by_case.setdefault((row["case"], row["shape"]), {})[row["side"]] = row

    def time(row: dict[str, Any] | None) -> str:
        return "" if row is None else f"{row['microseconds']:.1f} ({row['low']:.1f}-{row['high']:.1f})"

    for (name, shape), sides in by_case.items():
        ours = sides.get("ours")
        if ours is None:
            continue
        cells = [
            name,
            shape,
            f"{ours['megabytes']:.1f}",
            time(ours),
            f"{ours['share_of_copy']:.0%}",
            str(ours["kernels"]),
        ]
        for side in ("eager", "compiled"):
            other = sides.get(side)
            cells += [time(other), f"{other['microseconds'] / ours['microseconds']:.2f}" if other else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


# Building for a GPU that is not there


@contextmanager
def building(capability: int, report: Callable[[str], None]) -> Iterator[None]:
    """Have launches only build their kernel, for such a GPU, and report what the assembler says of it."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    class Absent:
        """As much of a driver as building asks for."""

        def get_current_target(self) -> Any:
            return GPUTarget("cuda", capability, 32)

        def get_current_device(self) -> int:
            return 0

        def get_current_stream(self, device: int = 0) -> int:
            return 0

    folder = Path(triton.__file__).parent / "backends/nvidia/bin"
    seen = set()

    def launch(self: Any, grid: Any) -> Callable[..., None]:
        def build(*arguments: Any, **options: Any) -> None:
            kernel = self.warmup(*arguments, grid=grid, **options)
            if kernel.hash in seen:
                return
            seen.add(kernel.hash)
            with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
                file.write(kernel.asm["cubin"])
                file.flush()
                said = subprocess.run(
                    [folder / "cuobjdump", "--dump-resource-usage", file.name],
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            used = re.search(r"REG:(\d+) STACK:(\d+)", said)
            matrix = "wgmma" if "wgmma" in kernel.asm["ptx"] else "mma" if "mma.sync" in kernel.asm["ptx"] else ""
            report(
                f"| {self.__name__} | {grid} | {used[1] if used else '?'} | {used[2] if used else '?'} "
                f"| {kernel.metadata.shared} | {kernel.metadata.num_warps} | {matrix} |"
            )

        return build

    before = JITFunction.__getitem__
    driver.set_active(Absent())  # for good: this process builds and ends
    JITFunction.__getitem__ = launch
    try:
        yield
    finally:
        JITFunction.__getitem__ = before


def build_all(capability: int, dtype: torch.dtype, only: str) -> None:
    """Build the kernels of every case and print what they use."""
    print(f"For compute capability {capability / 10}:\n")
    print("| kernel | grid | registers | bytes of stack | shared memory | warps | matrix unit |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with building(capability, lambda line: print(line, flush=True)):
        for case in cases(Setting(torch.device("cpu"), dtype, empty=True, compiled=False), only):
            if "ResNet-110" not in case.name:  # the same kernels as ResNet-14
                case.make()["ours"]()


# The command


def interpret() -> int:
    """Run the checks and every case once in Triton's interpreter."""
    import kernel_checks

    failed = kernel_checks.main(["--interpret"])
    setting = Setting(torch.device("cpu"), torch.float32, tiny=True, compiled=False)
    for case in cases(setting):
        for side, call in case.make().items():
            call()
            print("ran   ", case.name, case.shape, side)
    return failed


def main() -> int:
    """Check, measure, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--interpret", action="store_true", help="no GPU: tiny checks in Triton's interpreter")
    parser.add_argument("--compile", type=int, metavar="CAPABILITY", help="no GPU: build for one, such as 90 or 80")
    parser.add_argument("--dtype", choices=("bf16", "fp16", "fp32"), default="bf16", help="activations")
    parser.add_argument("--only", default="", metavar="EXPRESSION", help="cases whose name has this")
    parser.add_argument("--replays", type=int, default=30, help="number of replays; results are their medians")
    parser.add_argument(
        "--no-compiled", action="store_true", help="leave torch.compile out, which takes a minute to build"
    )
    parser.add_argument(
        "--first", action="store_true", help="check one kernel only; kernel_checks.py has been run before"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.interpret:
        return interpret()
    import kernel_checks

    from bnonly.engines.triton import trial

    if options.compile is not None:
        build_all(options.compile, trial.DTYPES[options.dtype], options.only)
        return 0
    if not torch.cuda.is_available():
        print(
            "error: timing needs a CUDA GPU and this machine has none; --interpret checks the kernels without, "
            "--compile 90 builds them",
            file=sys.stderr,
        )
        return 2
    import triton

    device = torch.device("cuda")
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    results = list(trial.first(device) if options.first else kernel_checks.full(device))
    wrong = [r for r in results if not r.ok]
    for result in wrong:
        print("FAILED", result, file=sys.stderr)
    print(f"{len(results)} checks, {len(wrong)} failed", flush=True)
    if wrong:
        return 1
    torch.backends.cudnn.benchmark = True  # what eager's usual user sets
    bandwidth = copy_bandwidth()
    setting = Setting(device, trial.DTYPES[options.dtype], compiled=not options.no_compiled)
    rows = []
    about = (
        f"{torch.cuda.get_device_name()}, copy bandwidth {bandwidth / 1e12:.2f} TB/s (read and written, measured here); "
        f"Python {platform.python_version()}, torch {torch.__version__}, triton {triton.__version__}"
    )
    command = f"python {' '.join(['benchmarks/kernels.py', *sys.argv[1:]])}"
    about += (
        f". {len(results)} comparisons with torch in float64, all passed. Activations {options.dtype}; each case in a CUDA graph over "
        f"sets of inputs of about {ROTATED / 1e6:.0f} MB together; medians (quartiles) of {options.replays} replays. MB are what the "
        "fused kernels must move, 15 or 21 outputs of a convolution a block for a network."
    )
    for case in cases(setting, options.only):
        for row in measure(case, options.replays, bandwidth):
            rows.append(row)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
            write_csv(options.out / "kernels.csv", rows)
            title = "Triton kernels beside eager PyTorch and torch.compile"
            write(options.out / "kernels.md", title, command, about, table(rows).splitlines())
        torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
