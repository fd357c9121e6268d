"""Measure training steps: ours, eager PyTorch with the data on the device, and the usual loop fed by a loader.

    python benchmarks/engine.py                       (a CPU: 45 minutes; benchmarks/results/engine-cpu.md and .csv)
    python benchmarks/engine.py --device cuda         (a GPU: all networks; engine-cuda.md and .csv)
    python benchmarks/engine.py --networks ResNet-14 --regimes bn --rounds 1

Expect 1.05 to 1.45 times eager PyTorch's images per second on a CPU in fp32, and 1.1 to 3.2 times the usual loop's.

All sides train the same parameters of the same network, from the same initialisation, with the paper's batch size, augmentation
and optimiser.  Every measurement is a process of its own; the sides take turns within a round, so that what else the machine
does meets all of them.  A ratio is the median of the rounds' ratios, with the lowest and the highest.

ours           the fast engine: images on the device, fused layers, one flat optimiser step; on a GPU one CUDA graph
triton         the same with the kernels of bnonly.engines.triton (GPUs only)
together       five replicates of it side by side in one graph, their images added up (GPUs only, small images)
joint          five replicates in the same launches of bnonly.engines.triton, likewise
free           ours without deterministic algorithms (GPUs only)
eager          PyTorch the usual way: images on the device, augmented in batches, channels last, autocast, torch.optim.SGD
loader         the usual loop: torchvision's data set, per-image transforms, DataLoader, fp32 as PyTorch has it (on a GPU
               its convolutions are TF32)

The sides themselves are in contenders.py.  What does not fit the memory is tried with half the batch, and half of that.  The tables are
whole after every measurement: what comes first is BatchNorm alone, in all rounds, then other regimes, then other sides.  Needs torch,
torchvision and numpy; neither Snakemake nor data.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common import CALLS, RESULTS, machine, run, write, write_csv
from contenders import NETWORKS, Steps, cell_of, ours, usual

REGIMES = ("bn", "all", "rand2", "out")
ON_CPU = {"networks": ("ResNet-14", "ResNet-32", "VGG-16", "ImageNet-ResNet-18"), "batch": {"imagenet-resnet": 16}}
ON_CUDA = {"networks": tuple(n for n in NETWORKS if n != "ResNet-32"), "batch": {}}
Side = tuple[str, str]
#: Side and precision of each column: what is measured first of every network and regime, and what if time is left.
SIDES: dict[str, tuple[tuple[Side, ...], tuple[Side, ...]]] = {
    "cpu": ((("ours", "fp32"), ("ours", "bf16"), ("eager", "fp32"), ("eager", "bf16"), ("loader", "fp32")), ()),
    "cuda": (
        (("ours", "bf16"), ("triton", "bf16"), ("eager", "bf16")),
        (("joint", "bf16"), ("together", "bf16"), ("free", "bf16"), ("loader", "fp32"), ("ours", "fp32")),
    ),
}
ALL_SIDES = ("ours", "triton", "together", "joint", "free", "eager", "loader")
#: Sides that train several replicates, and those that compute with the kernels of `bnonly.engines.triton`.
SEVERAL, KERNELS = ("together", "joint"), ("triton", "joint")
#: Replicates of the paper that train side by side.
TOGETHER = 5
#: Seconds that a measurement may take in all, and halvings of a batch that does not fit.
LONGEST, HALVINGS = {"cpu": 300.0, "cuda": 120.0}, 3
#: Steps before the clock runs, the least number of them while it does, how many a GPU is given between two looks, and seconds of
#: work that these may be.
WARM_UP, LEAST_STEPS, LOOK, AHEAD = 3, 5, 50, 0.25


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Time one side in this process."""
    began = time.perf_counter()
    import torch

    from bnonly.engines.devices import be_reproducible, choose_device

    torch.set_num_threads(task["threads"])
    device = choose_device(task["device"])
    engine = "triton" if task["side"] in KERNELS else "fast"
    cell = cell_of(task["network"], task["regime"], task["batch"], engine, task["precision"])
    replicates = TOGETHER if task["side"] in SEVERAL else 1
    if task["side"] in ("ours", "free", *KERNELS, *SEVERAL):
        be_reproducible(task["precision"])
        if task["side"] == "free":
            torch.set_deterministic_debug_mode("default")
            torch.backends.cudnn.benchmark = True
        steps, facts = ours(cell, device, replicates)
    else:
        steps, facts = usual(cell, device, task["side"] == "loader", task["workers"])

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    steps(counting(1))
    wait()
    startup = time.perf_counter() - began
    steps(counting(WARM_UP))
    wait()
    counted, start, worked = 0, time.perf_counter(), time.process_time()
    looked, next_look, ahead = start, 1, 1

    def go_on() -> bool:
        nonlocal counted, looked, next_look, ahead
        counted += 1
        if counted == next_look:
            wait()  # the host is ahead of a GPU: without this its clock says nothing
            # Fifty steps of a large network, given at once, would be many times the seconds that were asked for.
            now = time.perf_counter()
            ahead = min(LOOK, 2 * ahead) if now - looked < AHEAD / 2 else ahead
            looked, next_look = now, counted + ahead
        return counted < LEAST_STEPS or time.perf_counter() - start < task["seconds"]

    steps(go_on)
    wait()
    found = {
        "images_per_second": replicates * counted * cell.recipe.batch_size / (time.perf_counter() - start),
        "images_per_cpu_second": replicates * counted * cell.recipe.batch_size / (time.process_time() - worked),
        "startup_seconds": startup,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        **facts(),
    }
    if device.type == "cuda":
        found["peak_mb"] = torch.cuda.max_memory_allocated() / 1e6
        # Said before the profiler is asked: what happens to it must not cost the measurement.
        print(json.dumps(found), flush=True)
        try:
            found |= launches(steps)
        except Exception as problem:
            print(f"kernels could not be counted: {problem}", file=sys.stderr)
    return found


def counting(steps: int) -> Callable[[], bool]:
    """Return what says no after a number of steps."""
    left = steps

    def go_on() -> bool:
        nonlocal left
        left -= 1
        return left > 0

    return go_on


def launches(steps: Steps) -> dict[str, int]:
    """Count the kernels of a step and what the host launches for it, without what begins an epoch."""
    import torch
    from torch.autograd.profiler import profile

    def counted(count: int) -> tuple[int, int]:
        # What `torch.profiler` calls; that one imports torch's compiler first, which takes seconds.
        with profile(use_cpu=False, use_device="cuda") as seen:
            steps(counting(count))
            torch.cuda.synchronize()
        events: Any = seen.function_events
        device = torch.autograd.DeviceType.CUDA
        mine = [e.name for e in events if e.device_type == device]
        kernels = sum(1 for name in mine if not name.startswith("Mem") and not CALLS.match(name))
        started = ("cudaLaunchKernel", "cudaGraphLaunch", "cuLaunchKernel")
        return kernels, sum(1 for e in events if e.name.startswith(started))

    # Both begin with what an epoch begins with: the engine is asked for its steps anew.
    few, many = counted(2), counted(4)
    return {"kernels_per_step": (many[0] - few[0]) // 2, "launches_per_step": (many[1] - few[1]) // 2}


def ceilings() -> dict[str, float]:
    """Measure what this GPU copies and multiplies in a second."""
    import torch

    def fastest(step: Callable[[], Any]) -> float:
        times = []
        for _ in range(20):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            step()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
        return min(times[3:])

    a = torch.randn(2**28, device="cuda")
    b = torch.empty_like(a)
    copy = 2 * a.numel() * 4 / fastest(lambda: torch.add(a, 0, out=b))
    m = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    return {"copy_bytes_per_second": copy, "bf16_flops_per_second": 2 * 8192**3 / fastest(lambda: m @ m)}


def limit(task: dict[str, Any], found: dict[str, float]) -> float:
    """Return the images per second that bytes and arithmetic allow: each layer's larger time, nothing else."""
    import dataclasses

    from bnonly.cost import find_gpu
    from bnonly.cost.model import limit_images_per_second

    cell = cell_of(task["network"], task["regime"], task["batch"], "fast", task["precision"])
    gpu = dataclasses.replace(find_gpu("H200"), copy_bytes_per_s=found["copy_bytes_per_second"])
    return limit_images_per_second(cell, gpu, found["bf16_flops_per_second"])


def attempt(task: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Measure in a process of its own, with a smaller batch where the memory is too small; a side that cannot run says why."""
    for _ in range(HALVINGS + 1):
        status, out, errors = run([__file__, "--one", json.dumps(task)], seconds)
        if found := [line for line in out.splitlines() if line.startswith("{") and line.endswith("}")]:
            return {**task, **json.loads(found[-1])}
        reason = (errors.strip().splitlines() or [f"no message, exit status {status}"])[-1]
        small = any(word in reason.lower() for word in ("out of memory", "outofmemory", "would fit"))
        reason = reason[:200]
        if not small:
            break
        task = {**task, "batch": task["batch"] // 2}
    return {**task, "failed": reason}


def ratio(rows: list[dict[str, Any]], over: tuple[str, str], under: tuple[str, str]) -> str:
    """Return how many times faster one side is, round by round: median (lowest - highest)."""
    by = {(r["side"], r["precision"], r["round"]): r.get("images_per_second") for r in rows}
    pairs = [
        by[*over, n] / by[*under, n]
        for n in sorted({r["round"] for r in rows})
        if by.get((*over, n)) and by.get((*under, n))
    ]
    return f"{statistics.median(pairs):.2f} ({min(pairs):.2f}-{max(pairs):.2f})" if pairs else "-"


def middle(group: list[dict[str, Any]], side: Side, key: str) -> float | None:
    """Return the median of a side's rounds, if it has any."""
    values = [r[key] for r in group if (r["side"], r["precision"]) == side and r.get(key) is not None]
    return statistics.median(values) if values else None


def table(rows: list[dict[str, Any]], device: str, measured: dict[str, float]) -> list[str]:
    """Return the comparison as Markdown: throughputs, ratios, BatchNorm alone beside everything, what failed."""
    sides = [side for tier in SIDES[device] for side in tier]
    sides = [s for s in sides if any((r["side"], r["precision"]) == s for r in rows)]
    best, same = (("ours", "bf16"), ("eager", "bf16")) if device == "cuda" else (("ours", "fp32"), ("eager", "fp32"))
    ratios = {
        "cpu": [(best, same), (("ours", "bf16"), ("eager", "bf16"))],
        "cuda": [(best, same), (("triton", "bf16"), same), (("together", "bf16"), best), (("joint", "bf16"), ("triton", "bf16")),
                 (("free", "bf16"), best)],
    }[device]  # fmt: skip
    ratios += [(("ours", p), ("loader", "fp32")) for p in ("fp32", "bf16")]
    ratios = [pair for pair in ratios if all(side in sides for side in pair)]
    heads = ["network", "regime", "batch", *(f"{' '.join(s)}, images/s" for s in sides)]
    heads += [f"{' '.join(over)} / {' '.join(under)}" for over, under in ratios]
    heads += ["memory ours / eager, MB", "start-up ours / eager, s"]
    if device == "cuda":
        heads += [
            "share of the limit, ours",
            "triton",
            "kernels ours / triton / eager",
            "host launches ours / triton / eager",
        ]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]

    def shown(value: float | None, digits: int = 0) -> str:
        return "-" if value is None else f"{value:,.{digits}f}"

    for network, regime in dict.fromkeys((r["network"], r["regime"]) for r in rows):
        group = [r for r in rows if (r["network"], r["regime"]) == (network, regime)]
        batches = sorted({r["batch"] for r in group if "failed" not in r}, reverse=True)
        cells = [network, regime, ", ".join(map(str, batches))]
        cells += [shown(middle(group, side, "images_per_second")) for side in sides]
        cells += [ratio(group, over, under) for over, under in ratios]
        for key, digits in (("peak_mb", 0), ("startup_seconds", 1)):
            cells.append(" / ".join(shown(middle(group, s, key), digits) for s in (best, same)))
        if device == "cuda":
            three = (best, ("triton", "bf16"), same)
            for side in three[:2]:
                speed = middle(group, side, "images_per_second")
                task = next((r for r in group if (r["side"], r["precision"]) == side), None)
                cells.append("-" if speed is None or task is None else f"{100 * speed / limit(task, measured):.0f}%")
            for key in ("kernels_per_step", "launches_per_step"):
                cells.append(" / ".join(shown(middle(group, s, key)) for s in three))
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *shares(rows, sides)]
    failed = {f"{r['network']} {r['regime']} {r['side']} {r['precision']}": r["failed"] for r in rows if "failed" in r}
    return [*lines, "", *(f"- {what}: {why}" for what, why in failed.items())]


def shares(rows: list[dict[str, Any]], sides: list[Side]) -> list[str]:
    """Return what a step of BatchNorm alone takes of one that trains everything, by network and side."""
    lines = []
    for network in dict.fromkeys(r["network"] for r in rows):
        cells = []
        for side in sides:
            group = [r for r in rows if r["network"] == network]
            all_, bn = (
                middle([r for r in group if r["regime"] == g], side, "images_per_second") for g in ("all", "bn")
            )
            cells.append(f"{all_ / bn:.2f}" if all_ and bn else "-")
        if any(c != "-" for c in cells):
            lines.append(f"| {network} | " + " | ".join(cells) + " |")
    if not lines:
        return []
    heads = ["BN-only's time as a share of all's", *(" ".join(s) for s in sides)]
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *lines]


def planned(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the measurements, the most wanted first; the sides of a round of a network one after the other."""
    which = ON_CUDA if options.device == "cuda" else ON_CPU
    for tier in SIDES[options.device]:
        for regime in options.regimes:
            for number in range(options.rounds):
                for network in options.networks or which["networks"]:
                    family = NETWORKS[network][0]
                    for side, precision in tier:
                        if side not in options.sides or (side in SEVERAL and family == "imagenet-resnet"):
                            continue
                        yield {
                            "network": network,
                            "regime": regime,
                            "side": side,
                            "precision": precision,
                            "round": number,
                            "batch": options.batch or which["batch"].get(family, NETWORKS[network][4]),
                            "device": options.device,
                            "threads": options.threads,
                            "workers": options.workers,
                            "seconds": options.seconds,
                        }


def main() -> int:
    """Measure everything and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, metavar="NETWORK")
    parser.add_argument("--regimes", nargs="+", choices=REGIMES, default=REGIMES)
    parser.add_argument("--sides", nargs="+", choices=ALL_SIDES, default=ALL_SIDES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement, at least")
    parser.add_argument("--batch", type=int, help="instead of the paper's, or on a CPU of what it can do")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, help="of PyTorch")
    parser.add_argument("--workers", type=int, default=min(cores, 8), help="processes of the DataLoader")
    parser.add_argument("--budget", type=float, default=1e9, help="seconds after which nothing more is measured")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(json.loads(options.one))))
        return 0
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        print("error: --device cuda: this machine has no usable GPU", file=sys.stderr)
        return 2
    end = time.monotonic() + options.budget
    about = machine(options.device)
    about = (
        f"{about}. {options.threads} threads, {options.workers} loader workers, up to {options.rounds} rounds of at least "
        f"{options.seconds:g} s a measurement; medians, ratios with lowest and highest round."
    )
    measured = ceilings() if options.device == "cuda" else {}
    if measured:
        torch.cuda.empty_cache()  # this process stays while others measure
    command = f"python benchmarks/engine.py {' '.join(sys.argv[1:])}"
    rows: list[dict[str, Any]] = []
    text: list[str] = []
    for task in planned(options):
        left = end - time.monotonic()
        if left < options.seconds:
            break
        rows.append(attempt(task, min(left, LONGEST[options.device])))
        last = rows[-1]
        speed = last.get("images_per_second")
        said = last.get("failed") if speed is None else f"{speed:,.0f} images/s"
        what = f"{last['network']} {last['regime']} {last['side']} {last['precision']}"
        print(f"round {last['round'] + 1}: {what}: {said}", file=sys.stderr, flush=True)
        write_csv(options.out / f"engine-{options.device}.csv", rows, 2)
        ends = [f"- {key.replace('_', ' ')}: {value:.3g}" for key, value in measured.items()]
        text = [*ends, "", *table(rows, options.device, measured)]
        title = "Training steps: bnonly beside eager PyTorch and the usual loop"
        write(options.out / f"engine-{options.device}.md", title, command, about, text)
    print("\n".join(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
