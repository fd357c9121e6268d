"""Check and measure everything that needs a GPU: first whether the engines are right, then how fast they are.

    python benchmarks/gpu.py --out benchmarks/results --minutes 25                     everything, one part after the other
    python benchmarks/gpu.py --parts check runs --images FOLDER --minutes 9            some of it, where a call has ten minutes
    python benchmarks/gpu.py --parts engine --minutes 9
    python benchmarks/gpu.py --parts precision kernels checks --images FOLDER --minutes 9
    python benchmarks/gpu.py --device cpu --minutes 4                                  a rehearsal in miniature, without a GPU

check       the engines against the fp32 oracle, captured against not, rerun, resumed, side by side; no waiting inside an epoch
runs        cells of the `quick` profile on real CIFAR-10, of whatever form is prepared under --data, for 160 epochs
engine      benchmarks/engine.py
precision   benchmarks/precision.py
kernels     benchmarks/kernels.py, behind a first check
checks      python benchmarks/kernel_checks.py, at full size: minutes of compiling

`--images` is a folder with CIFAR-10 as Parquet files, prepared first.  Every part is a process of its own, which is ended with all
that it started when its share of the time is over; tables are whole after every row.  The exit status is 1 if `check` found anything
wrong or did not come to its end.  Needs neither Snakemake nor a network; torch 2.11 or newer.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import math
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, ROOT, machine, markdown, run, write, write_csv

sys.path.insert(0, str(ROOT / "src"))

PARTS = ("check", "runs", "engine", "precision", "kernels", "checks")
#: Shares of the time that is left when a part begins; the last part takes all of it.
SHARES = {"check": 0.25, "runs": 0.35, "engine": 0.6, "precision": 0.5, "kernels": 0.6, "checks": 1.0}
CHECKED = ("ResNet-14", "ResNet-110", "VGG-16", "ImageNet-ResNet-18")
#: Cells of the `quick` profile, the most telling first.
RUNS = [("ResNet-14", "bn"), ("ResNet-14", "all"), ("ResNet-56", "bn"), ("ResNet-110", "bn"), ("ResNet-32", "bn")]
RUNS += [("ResNet-14", g) for g in ("rand2", "out", "bn_out")] + [(f"ResNet-{d}", "all") for d in (32, 56, 110)]
RUNS += [(f"ResNet-{d}", g) for d in (32, 56, 110) for g in ("rand2", "out", "bn_out")] + [("ResNet-866", "bn")]

Row = tuple[str, str, float, float]


def distance(a: dict[str, Any], b: dict[str, Any], part: str) -> float:
    """Return the largest distance of two states' tensors, of momentum or buffers, as a share of the tensor.

    Or of a thousandth of the largest one: a bias in front of a BatchNorm has a gradient of nothing but rounding errors.
    """
    from kernel_checks import largest

    norms = [(x.double() - y.double()).norm() for x, y in zip(a[part].values(), b[part].values(), strict=True)]
    sizes = [y.double().norm() for y in b[part].values()]
    least = 1e-3 * max(sizes, default=torch.zeros(())) + 1e-12
    return largest(float(n / max(s, least)) for n, s in zip(norms, sizes, strict=True))


def furthest(a: dict[str, Any], b: dict[str, Any]) -> float:
    """Return the largest distance of two states."""
    from kernel_checks import largest

    return largest(distance(a, b, part) for part in a)


def checks_of(network: str, regime: str, device: Any, small: bool) -> Iterator[Callable[[], Row]]:
    """Yield comparisons of a network under a regime; each trains what it compares."""
    from contenders import NETWORKS, Synthetic, cell_of, cifar

    from bnonly.engines.engine import make_engine
    from bnonly.engines.fast.engine import FastEngine, Replicates
    from bnonly.engines.reference import ReferenceEngine

    photographs = NETWORKS[network][0] == "imagenet-resnet"
    batch = (8 if photographs else 16) if small else (64 if photographs else 128)
    # Deep untrained networks multiply rounding errors from step to step: one step of those, at a rate that moves them little.
    steps, loose = (10, 1e-2) if network in ("ResNet-14", "VGG-16") and not small else (1, 5e-2)
    fp32 = cell_of(network, regime, batch, "fast", "fp32")
    fp32 = dataclasses.replace(fp32, recipe=dataclasses.replace(fp32.recipe, lr=1e-3, warmup_epochs=0.0))
    bf16 = dataclasses.replace(fp32, precision="bf16")
    name = f"{network} {regime}"
    # Neither the same images nor the same memory twice.
    source: Any = (
        Synthetic(NETWORKS[network][3], batch, 1000, device)
        if photographs
        else cifar(device, fp32.recipe, 2_000 if small else 50_000)
    )

    def trained(engine: Any, first: int, last: int) -> Any:
        engine.train(0, first, last, lambda: False)
        return engine.state()

    made: dict[str, Any] = {}

    def state(what: str) -> Any:
        """Return the state after some steps, trained once."""
        if what not in made:
            engine = {
                "oracle": lambda: ReferenceEngine(fp32, source, device),
                "fp32": lambda: FastEngine(fp32, source, device),
                "bf16": lambda: FastEngine(bf16, source, device),
            }[what]()
            made[what] = trained(engine, 0, steps)
        return made[what]

    for part in ("buffers", "momentum"):
        yield lambda part=part: (
            f"fp32 against the oracle, {steps} steps: {part}",
            name,
            distance(state("fp32"), state("oracle"), part),
            loose,
        )
    # In bf16 a gradient of an untrained network is half noise: the running statistics are not.
    yield lambda: (
        f"bf16 against the oracle, {steps} steps: buffers",
        name,
        distance(state("bf16"), state("oracle"), "buffers"),
        5e-2,
    )
    yield lambda: (
        "rerun, bf16",
        name,
        furthest(trained(FastEngine(bf16, source, device), 0, steps), state("bf16")),
        0.0,
    )

    def resumed() -> Row:
        first, second = FastEngine(bf16, source, device), FastEngine(bf16, source, device)
        second.load_state(trained(first, 0, 1))
        whole = trained(FastEngine(bf16, source, device), 0, 3)
        return "resumed, bf16", name, furthest(trained(second, 1, 3), whole), 0.0

    yield resumed

    def uncaptured() -> Row:
        engine = FastEngine(bf16, source, device)
        if engine._graphs is not None:
            engine._graphs._ready[("train", batch)] = None  # as after a capture that failed
        return "captured against not, bf16", name, furthest(trained(engine, 0, steps), state("bf16")), 0.0

    yield uncaptured

    def beside() -> Row:
        three = [FastEngine(dataclasses.replace(bf16, seed=s), source, device) for s in range(3)]
        Replicates(three).train(0, 0, steps, lambda: False)
        return "side by side against alone, bf16", name, furthest(three[0].state(), state("bf16")), 0.0

    yield beside

    def never_waits(cell: Any) -> Row:
        engine: Any = make_engine(cell, source, device)
        trained(engine, 0, 1)  # what is captured waits
        torch.cuda.set_sync_debug_mode("error")
        try:
            engine.train(0, 1, 4, lambda: False)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        # Without a graph the comparisons of what is captured would say nothing.
        found = 0.0 if engine.facts()["cuda_graphs"] else 1.0
        return f"{cell.engine}: a step is one CUDA graph, and the host waits for nothing", name, found, 0.0

    if device.type != "cuda":
        return
    for engine in ("fast", "triton"):
        yield lambda engine=engine: never_waits(dataclasses.replace(bf16, engine=engine))
    for cell, part, allowed in ((fp32, "buffers", loose), (fp32, "momentum", loose), (bf16, "buffers", 5e-2)):
        yield lambda cell=cell, part=part, allowed=allowed: (
            f"kernels in {cell.precision} against the oracle, {steps} steps: {part}",
            name,
            distance(
                trained(make_engine(dataclasses.replace(cell, engine="triton"), source, device), 0, steps),
                state("oracle"),
                part,
            ),
            allowed,
        )

    def joint() -> Row:
        cells = [dataclasses.replace(bf16, engine="triton", seed=s) for s in range(3)]
        # The one in the middle: its parameters begin behind another's, wherever in memory that is.
        alone = trained(make_engine(cells[1], source, device), 0, steps)
        three: list[Any] = [make_engine(c, source, device) for c in cells]
        Replicates(three).train(0, 0, steps, lambda: False)
        return "kernels: in the same launches against alone, bf16", name, furthest(three[1].state(), alone), 0.0

    yield joint


def check(options: argparse.Namespace) -> int:
    """Compare, and write the table after every comparison; return 1 if something is wrong."""
    from bnonly.engines.devices import be_reproducible, choose_device

    device = choose_device(options.device)
    be_reproducible("fp32")
    small, about, rows = device.type == "cpu", machine(options.device), []
    end, wrong = time.monotonic() + 60 * options.minutes, 0
    regimes = ("bn", "all") if small else ("bn", "all", "rand2", "out")
    networks = CHECKED[:1] if small else CHECKED
    for regime in regimes:
        for network in networks:
            for compare in checks_of(network, regime, device, small):
                if time.monotonic() > end:
                    print("no time left for the rest of the checks", flush=True)
                    return int(wrong > 0)
                try:
                    what, cell, found, allowed = compare()
                    ok = found <= allowed  # not a number is not
                    rows.append((what, cell, found, allowed, "" if ok else "WRONG"))
                except Exception as problem:  # the other comparisons are still wanted
                    reason = (str(problem).strip() or repr(problem)).splitlines()[0][:200]
                    ok = False
                    rows.append(("?", f"{network} {regime}", math.nan, math.nan, f"{type(problem).__name__}: {reason}"))
                    traceback.print_exc()
                wrong += not ok
                print(*rows[-1], flush=True)
                heads = ("what", "cell", "distance", "allowed", "")
                lines = [f"{wrong} of {len(rows)} wrong.", "", *markdown(heads, rows)]
                write(options.out / f"check-{options.device}.md", "Checks of the engines", command(), about, lines)
                if not ok and device.type == "cuda" and not usable():
                    print("the GPU is lost to this process: no more checks", flush=True)
                    return 1
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
    return int(wrong > 0)


def usable() -> bool:
    """Whether the GPU still does what it is asked: after an illegal access, say, it does not until the process ends."""
    try:
        torch.cuda.synchronize()
        return bool(torch.ones((), device="cuda") == 1)
    except Exception:
        return False


def runs(options: argparse.Namespace) -> int:
    """Train whole cells on real images, the first with both engines and the rest with the faster one."""
    from contenders import cell_of

    from bnonly import paths
    from bnonly.errors import UserError
    from bnonly.results import parquet
    from bnonly.train.options import Options
    from bnonly.train.run import train_cell

    small = options.device == "cpu"
    sets = ("cifar10", "cifar10-jpeg")
    dataset = next((n for n in sets if (options.data / n / "manifest.json").exists()), "digits" if small else None)
    if dataset is None:
        print(
            f"error: {options.data}: neither of {', '.join(sets)} is prepared there; --images FOLDER does it",
            file=sys.stderr,
        )
        return 2
    end, about, rows = time.monotonic() + 60 * options.minutes, machine(options.device), []
    epochs = 1 if small else 160
    speed: dict[str, float] = {}
    engines = ("fast",) if small else ("fast", "triton")
    wanted = [(*RUNS[0], e) for e in engines] + [(*cell, "") for cell in (RUNS[1:2] if small else RUNS[1:])]
    a_layer = 0.0
    for network, regime, engine in wanted:
        engine = engine or max(speed, key=lambda e: speed[e], default="fast")
        cell = cell_of(network, regime, 128, engine, "bf16")
        recipe = dataclasses.replace(cell.recipe, dataset=dataset, epochs=float(epochs))
        if dataset == "digits":
            recipe = dataclasses.replace(recipe, augmentation=dataclasses.replace(recipe.augmentation, flip=False))
        cell = dataclasses.replace(cell, recipe=recipe)
        if time.monotonic() + a_layer * cell.architecture.depth > end:
            print(f"{cell}: would take longer than is left", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            try:
                train_cell(cell, Path(folder), Options(options.data, options.device, 2 if small else 8, quiet=True))
            except UserError as problem:
                print(problem, flush=True)
                continue
            except Exception:  # the other cells are still wanted
                print(f"{cell}, engine {engine}:", flush=True)
                traceback.print_exc()
                continue
            seconds = time.monotonic() - start
            table, label = parquet.read(paths.metrics(Path(folder)), "metrics")
        last = table.slice(table.num_rows - 1).to_pylist()[0]
        speed.setdefault(engine, last["images_per_second"])
        a_layer = max(
            a_layer if engine == max(speed, key=lambda e: speed[e]) else 0.0, seconds / cell.architecture.depth
        )
        rows.append(
            {
                "network": network,
                "regime": regime,
                "engine": engine,
                "graphs": label["sessions"][-1].get("cuda_graphs"),
                "seconds": seconds,
                "images_per_second": last["images_per_second"],
                "top1": 100 * last["test_top1"],
            }
        )
        print(rows[-1], flush=True)
        heads = (
            "network",
            "regime",
            "engine",
            "one CUDA graph",
            "seconds in all",
            "images/s, last epoch",
            "accuracy, %",
        )
        title = f"Whole runs of {epochs} epochs on {dataset}"
        write(
            options.out / f"runs-{options.device}.md",
            title,
            command(),
            about,
            markdown(heads, [r.values() for r in rows]),
        )
        write_csv(options.out / f"runs-{options.device}.csv", rows)
    return 0


def command() -> str:
    """Return how this was called."""
    return f"python benchmarks/gpu.py {' '.join(sys.argv[1:])}"


def program(part: str, options: argparse.Namespace, minutes: float) -> list[Any]:
    """Return the arguments of Python that measure a part in so many minutes."""
    here, small = Path(__file__).parent, options.device == "cpu"
    out: list[Any] = ["--out", options.out]
    if part in ("check", "runs"):
        every = ["--device", options.device, "--data", options.data, "--minutes", minutes]
        return [__file__, "--here", "--parts", part, *every, *out]
    budget = ["--budget", 60 * minutes]
    if part == "engine":
        tiny = (
            ["--networks", "ResNet-14", "--regimes", "bn", "--rounds", 1, "--batch", 16] if small else ["--rounds", 2]
        )
        return [here / "engine.py", "--device", options.device, "--seconds", 0.1 if small else 2, *tiny, *budget, *out]
    if part == "precision":
        real = next((n for n in ("cifar10", "cifar10-jpeg") if (options.data / n / "manifest.json").exists()), "digits")
        if real == "digits" and not small:
            print("no CIFAR-10 is prepared, so precisions are compared on digits; --images FOLDER does it", flush=True)
        how = ["--dataset", real, "--data", options.data, "--device", options.device]
        how += ["--epochs", 1, "--seeds", 2] if small else ["--epochs", 10, "--precisions", "bf16", "tf32"]
        return [here / "precision.py", *how, *budget, *out]
    if part == "kernels":
        return (
            [here / "kernels.py", "--compile", 90, "--only", "SGD"] if small else [here / "kernels.py", "--first", *out]
        )
    return [here / "kernel_checks.py"]


@contextmanager
def building(capability: tuple[int, int]) -> Iterator[None]:
    """Have kernels of `check` built meanwhile, on several cores: it needs them later than it begins, and builds on one."""
    started = []
    for dtype in ("bf16", "fp32"):
        for only in ("^ResNet-14, BN", "^ResNet-14, all", "^(?!ResNet)"):
            how = ["--compile", 10 * capability[0] + capability[1], "--dtype", dtype, "--only", only]
            command = map(str, [sys.executable, Path(__file__).parent / "kernels.py", *how])
            started.append(subprocess.Popen([*command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def main() -> int:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: a rehearsal in miniature")
    parser.add_argument("--images", type=Path, help="CIFAR-10 as Parquet files, to be prepared first")
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="folder of prepared data")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--minutes", type=float, default=25.0, help="of all parts")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("error: this machine has no usable GPU; --device cpu rehearses without", file=sys.stderr)
        return 2
    if options.here:
        return {"check": check, "runs": runs}[options.parts[0]](options)
    end, status = time.monotonic() + 60 * options.minutes, 0
    options.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as builds:
        if "check" in options.parts and options.device == "cuda":
            builds.enter_context(building(torch.cuda.get_device_capability()))
        if options.images:
            prepare = ["-m", "bnonly", "prepare", "cifar10-jpeg", "--from", options.images, "--data", options.data]
            if run(prepare, end - time.monotonic(), capture=False)[0]:
                return 2  # it has said why
        for part in options.parts:
            if part == "checks" and options.device == "cpu":
                print("checks: need a GPU; in Triton's interpreter they are among the tests", flush=True)
                continue
            left = end - time.monotonic()
            if left < 5:
                print(f"{part}: no time left", flush=True)
                continue
            share = left if part == options.parts[-1] else left * SHARES[part]
            print(f"== {part}, {share:.0f} s", flush=True)
            # A little less than its share, so that it ends by itself.
            found, _, errors = run(program(part, options, 0.95 * share / 60), share, capture=False)
            print(f"{part}: {'done' if not found else errors or f'exit status {found}'}", flush=True)
            status = status or int(part == "check" and found != 0)
            if part == "check":
                builds.close()  # nothing beside what is timed
    return status


if __name__ == "__main__":
    sys.exit(main())
