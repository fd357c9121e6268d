"""Measure the effect of a lower precision on accuracy: the fast engine in bf16 and in fp32, paired by seed.

    python benchmarks/precision.py                                     (digits on a CPU: ten minutes)
    python benchmarks/precision.py --dataset cifar10-jpeg --data data --epochs 160 --device cuda --precisions bf16 tf32

Expect a difference in accuracy whose interval holds 0: on digits, +0.36 +- 4.76 points with bn and -0.31 +- 0.69 with all.

Every pair is the same cell with the same seed: initialisation, order and augmentation are the same, only the arithmetic is not.
The interval is Student's for the mean of the differences (95%).  A precision is justified where it holds 0, or nothing worse than the
spread between seeds matters.  Writes benchmarks/results/precision-DATASET-DEVICE.md and .csv.  Needs no Snakemake.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import RESULTS, ROOT, machine, markdown, write, write_csv

sys.path.insert(0, str(ROOT / "src"))


def cell_of(options: argparse.Namespace, regime: str, seed: int, precision: str) -> Any:
    """Return a cell: the demo's schedule for digits, the paper's otherwise, cut to a number of epochs."""
    import dataclasses

    from bnonly.grid.cell import Cell
    from bnonly.grid.resolve import load_grid

    paper = load_grid(ROOT / "config.yaml")
    like = paper.cell(options.network, regime, 0)
    recipe = dataclasses.replace(like.recipe, dataset=options.dataset)
    if options.dataset == "digits":
        recipe = dataclasses.replace(
            recipe, batch_size=64, augmentation=dataclasses.replace(recipe.augmentation, flip=False, shift=1)
        )
    scale = options.epochs / recipe.epochs
    milestones = tuple(round(m * scale, 6) for m in recipe.milestones)
    recipe = dataclasses.replace(recipe, epochs=float(options.epochs), milestones=milestones)
    return Cell(like.architecture, like.regime, recipe, seed, "fast", precision)


def train(cell: Any, options: argparse.Namespace) -> dict[str, float]:
    """Train a cell; return its last accuracy and loss, and the time."""
    from bnonly import paths
    from bnonly.results import parquet
    from bnonly.train.options import Options
    from bnonly.train.run import train_cell

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        train_cell(cell, Path(folder), Options(options.data, options.device, options.threads, quiet=True))
        seconds = time.perf_counter() - began
        table, _ = parquet.read(paths.metrics(Path(folder)), "metrics")
    row = table.slice(table.num_rows - 1).to_pylist()[0]
    return {"top1": 100 * row["test_top1"], "loss": row["test_loss"], "seconds": seconds}


def main() -> int:
    """Train all pairs and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="folder of prepared data")
    parser.add_argument("--network", default="ResNet-14")
    parser.add_argument("--regimes", nargs="+", default=["bn", "all"])
    parser.add_argument("--precisions", nargs="+", default=["bf16"], help="each is compared with fp32")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--budget", type=float, default=1e9, help="seconds; a seed that would end later is not begun")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds: an interval needs at least 2")
    from bnonly.engines.devices import choose_device
    from bnonly.errors import UserError

    try:
        choose_device(options.device)
        return compare(options)
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2


def compare(options: argparse.Namespace) -> int:
    """Train pair after pair; the table is whole after each."""
    about, end = machine(options.device), time.monotonic() + options.budget
    about += ". Test accuracy after the last epoch; the same cell and seed in fp32 and in the precision named."
    command = f"python benchmarks/precision.py {' '.join(sys.argv[1:])}".strip()
    title = f"Precision: {options.network} on {options.dataset}, {options.epochs:g} epochs"
    name = f"precision-{options.dataset}-{options.device}"
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    longest = 0.0
    for seed in range(options.seeds):
        began = time.monotonic()
        if began + longest > end:
            break
        for regime in options.regimes:
            for precision in ("fp32", *options.precisions):
                found = train(cell_of(options, regime, seed, precision), options)
                rows.append({"regime": regime, "seed": seed, "precision": precision, **found})
                print(rows[-1], file=sys.stderr, flush=True)
        longest = max(longest, time.monotonic() - began)
        write_csv(options.out / f"{name}.csv", rows)
        if seed:
            lines = table(rows, options)
            write(options.out / f"{name}.md", title, command, about, lines)
    print("\n".join(lines))
    return 0


def table(rows: list[dict[str, Any]], options: argparse.Namespace) -> list[str]:
    """Return the differences as Markdown."""
    from bnonly.commands.comparison import interval

    cells = []
    for regime in options.regimes:
        by = {(r["seed"], r["precision"]): r for r in rows if r["regime"] == regime}
        seeds = sorted({s for s, _ in by})
        plain = [by[s, "fp32"]["top1"] for s in seeds]
        for precision in options.precisions:
            other = [by[s, precision]["top1"] for s in seeds]
            row = [regime, precision, str(len(seeds))]
            row += [f"{statistics.mean(v):.2f} ({statistics.stdev(v):.2f})" for v in (plain, other)]
            for key, digits in (("top1", 2), ("loss", 4)):
                found = interval([by[s, precision][key] - by[s, "fp32"][key] for s in seeds], 0.95)
                row.append(f"{found.mean:+.{digits}f} ± {found.high - found.mean:.{digits}f}")
            cells.append(row)
    heads = ("regime", "precision", "seeds", "fp32, % (sd)", "accuracy, % (sd)")
    return markdown([*heads, "difference, points (95%)", "loss, difference (95%)"], cells)


if __name__ == "__main__":
    sys.exit(main())
