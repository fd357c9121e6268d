"""Everything that a machine with a GPU is asked, in one call: first whether it is right, then how fast it is.

    python benchmarks/gpu.py --data data --out benchmarks/results --minutes 9
    python benchmarks/gpu.py --parts check runs

Parts, in this order, each in its share of the time: `check` (the fast engine on the GPU against the fp32 oracle, captured against not,
run against rerun, whole against resumed, side by side against alone), `kernels` (benchmarks/kernels.py), `engine` (benchmarks/engine.py), `runs` (160 epochs on real
CIFAR-10, of whatever form is prepared under --data), `precision` (benchmarks/precision.py).  What fails is said and the next part runs; the exit
status is 1 if `check` failed.  Needs neither Snakemake nor a network.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).parent
sys.path[:0] = [str(ROOT / "src"), str(HERE)]

PARTS = ("check", "kernels", "engine", "runs", "precision")
#: Shares of the time that is left when a part begins.
SHARES = {"check": 0.3, "kernels": 0.3, "engine": 0.5, "runs": 0.6, "precision": 1.0}
CHECKED = ("ResNet-14", "ResNet-110", "VGG-16")


def distance(a: dict[str, Any], b: dict[str, Any]) -> float:
    """Return the largest relative distance of two states' tensors."""
    pairs = [(a[part][name], b[part][name]) for part in a for name in a[part]]
    return max(float((x.double() - y.double()).norm() / (y.double().norm() + 1e-12)) for x, y in pairs)


def check() -> list[tuple[str, str, float, float]]:
    """Compare; return (what, network and regime, distance found, distance allowed)."""
    import dataclasses

    from engine import REGIMES, cell_of, cifar

    from bnonly.devices import be_reproducible, choose_device
    from bnonly.train.engine import ReferenceEngine, make_engine
    from bnonly.train.fast import FastEngine, Replicates

    device = choose_device("cuda")
    be_reproducible("fp32")
    rows = []

    def trained(engine: Any, first: int, last: int) -> Any:
        engine.train(0, first, last, lambda: False)
        return engine.state()

    for network in CHECKED:
        for regime in REGIMES:
            fp32, bf16 = (cell_of(network, regime, 128, "fast", p) for p in ("fp32", "bf16"))
            # At a rate that does not multiply rounding errors.
            fp32, bf16 = (dataclasses.replace(c, recipe=dataclasses.replace(c.recipe, lr=1e-4)) for c in (fp32, bf16))
            source, name = cifar(device, fp32.recipe), f"{network} {regime}"
            oracle = trained(ReferenceEngine(fp32, source, device), 0, 10)
            fast = trained(FastEngine(fp32, source, device), 0, 10)
            rows.append(
                (
                    "fp32 against the oracle, 10 steps: running statistics",
                    name,
                    distance(*({"b": s["buffers"]} for s in (fast, oracle))),
                    1e-3,
                )
            )
            low = trained(FastEngine(bf16, source, device), 0, 10)
            rows.append(
                (
                    "bf16 against the oracle, 10 steps: running statistics",
                    name,
                    distance(*({"b": s["buffers"]} for s in (low, oracle))),
                    5e-2,
                )
            )
            for cell, allowed in ((fp32, 1e-3), (bf16, 5e-2)):
                kernels = make_engine(dataclasses.replace(cell, engine="triton"), source, device)
                far = distance(*({"b": s["buffers"]} for s in (trained(kernels, 0, 10), oracle)))
                rows.append((f"kernels in {cell.precision} against the oracle, 10 steps", name, far, allowed))
            uncaptured = FastEngine(bf16, source, device)
            uncaptured._graphs = None
            rows.append(("captured against not, bf16", name, distance(trained(uncaptured, 0, 10), low), 1e-6))
            rows.append(
                ("run against rerun, bf16", name, distance(trained(FastEngine(bf16, source, device), 0, 10), low), 0.0)
            )
            first, second = FastEngine(bf16, source, device), FastEngine(bf16, source, device)
            second.load_state(trained(first, 0, 4))
            rows.append(("whole against resumed, bf16", name, distance(trained(second, 4, 10), low), 0.0))
            # The first of three that train side by side is the one that trained alone.
            three = [FastEngine(dataclasses.replace(bf16, seed=s), source, device) for s in range(3)]
            Replicates(three).train(0, 0, 10, lambda: False)
            rows.append(("side by side against alone, bf16", name, distance(three[0].state(), low), 0.0))
    return rows


def write(path: Path, title: str, about: str, rows: list[tuple[Any, ...]], heads: tuple[str, ...]) -> None:
    """Write a table as Markdown and print it."""
    lines = [f"# {title}", "", about, "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row) + " |" for row in rows]
    path.write_text("\n".join(lines) + "\n")
    print("\n".join(lines), flush=True)


def runs(data: Path, budget: float) -> list[tuple[Any, ...]]:
    """Train whole cells of the paper on real images; return (network, regime, seconds, images/s, accuracy)."""
    import dataclasses

    from engine import cell_of

    from bnonly import paths, schemas
    from bnonly.train.run import train_cell

    dataset = next((n for n in ("cifar10", "cifar10-jpeg") if (data / n / "manifest.json").exists()), None)
    if dataset is None:
        raise SystemExit(f"{data}: neither cifar10 nor cifar10-jpeg is prepared there; bnonly prepare does it")
    began, rows = time.monotonic(), []
    for network, regime in (
        ("ResNet-14", "bn"),
        ("ResNet-14", "all"),
        ("ResNet-110", "bn"),
        ("ResNet-56", "bn"),
        ("ResNet-110", "all"),
        ("ResNet-866", "bn"),
    ):
        cell = cell_of(network, regime, 128, "fast", "bf16")
        recipe = dataclasses.replace(cell.recipe, dataset=dataset, epochs=160)
        cell = dataclasses.replace(cell, recipe=recipe)
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            train_cell(cell, Path(folder), data, "cuda", 8, quiet=True)
            seconds = time.monotonic() - start
            table, _ = schemas.read(paths.metrics(Path(folder)), "metrics")
        row = table.slice(table.num_rows - 1).to_pylist()[0]
        rows.append((network, f"{regime} on {dataset}", seconds, row["images_per_second"], 100 * row["test_top1"]))
        print(rows[-1], flush=True)
        if time.monotonic() - began > budget:
            break
    return rows


def main() -> int:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--data", type=Path, default=ROOT / "data")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--minutes", type=float, default=9.0, help="of all parts; none is begun later")
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("error: this machine has no usable GPU", file=sys.stderr)
        return 2
    from engine import machine

    end = time.monotonic() + 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    about, status = f"{machine('cuda')}.", 0
    for part in options.parts:
        left = end - time.monotonic()
        if left < 20:
            print(f"{part}: no time left", flush=True)
            continue
        budget = left * SHARES[part] if len(options.parts) > 1 else left
        print(f"== {part}, {budget:.0f} s", flush=True)
        try:
            if part == "check":
                rows = check()
                bad = [r for r in rows if not r[2] <= r[3]]  # not a number fails as well
                status = int(bool(bad))
                write(
                    options.out / "gpu-check.md",
                    "Checks on a GPU",
                    about,
                    rows,
                    ("what", "cell", "distance", "allowed"),
                )
                print(f"{len(bad)} of {len(rows)} failed", json.dumps(bad), flush=True)
            elif part == "runs":
                rows_of_runs = runs(options.data, budget)
                heads = ("network", "regime", "seconds in all", "images/s, last epoch", "accuracy, %")
                write(options.out / "gpu-runs.md", "Whole runs of 160 epochs", about, rows_of_runs, heads)
            else:
                command = [sys.executable, str(HERE / f"{part}.py"), "--out", str(options.out)]
                if part == "engine":
                    command += ["--device", "cuda", "--seconds", "2", "--budget", str(budget * 0.9)]
                if part == "precision":
                    command += [
                        "--dataset",
                        "cifar10-jpeg",
                        "--data",
                        str(options.data),
                        "--device",
                        "cuda",
                        "--epochs",
                        "30",
                    ]
                    command += ["--precisions", "bf16", "tf32", "--budget", str(budget * 0.6)]
                subprocess.run(command, timeout=budget + 60, check=False)
        except Exception as problem:  # the other parts are still wanted
            print(f"{part}: {type(problem).__name__}: {problem}", flush=True)
            status = status or int(part == "check")
    return status


if __name__ == "__main__":
    sys.exit(main())
