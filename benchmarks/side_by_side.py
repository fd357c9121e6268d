"""Measure trainings of one thread each, side by side, against one training that has all cores.

    python benchmarks/side_by_side.py     (a quiet CPU: 10 minutes; benchmarks/results/side-by-side-cpu.md and .csv)

Both sides use the same cores.  They take turns within a round; a ratio is the median of the rounds' ratios, with the lowest and
the highest.  Above 1, `threads: 1` finishes more trainings an hour than a training with all cores.  Every measurement is made by
benchmarks/engine.py in a process of its own.  Images per CPU second hardly depend on what else the machine does: of one thread,
they are what a quiet core would make in a second.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import engine
from common import RESULTS, machine, markdown, write, write_csv
from contenders import NETWORKS

SIDES = "together / alone"
HEADS = (
    "network",
    "precision",
    f"images/s, {SIDES}",
    "ratio",
    f"images per CPU second, {SIDES}",
    f"start-up in s, {SIDES}",
)


def measured(network: str, precision: str, threads: int, trainings: int, seconds: float) -> dict[str, float]:
    """Return the images per second of all trainings together and per CPU second of each, and the longest start-up."""
    task = {
        "network": network, "regime": "bn", "side": "ours", "precision": precision, "device": "cpu", "batch": 128,
        "threads": threads, "workers": 1, "seconds": seconds,
    }  # fmt: skip
    with ThreadPoolExecutor(trainings) as pool:
        found = list(pool.map(lambda _: engine.attempt(task, engine.LONGEST["cpu"]), range(trainings)))
    if failed := [f["failed"] for f in found if "failed" in f]:
        raise SystemExit(f"error: {network} {precision}: {failed[0]}")
    return {
        "images_per_second": sum(f["images_per_second"] for f in found),
        "images_per_cpu_second": statistics.mean(f["images_per_cpu_second"] for f in found),
        "startup_seconds": max(f["startup_seconds"] for f in found),
    }


def row(rounds: list[dict[str, Any]]) -> list[Any]:
    """Return a line of the table."""

    def middles(key: str, digits: int = 0) -> str:
        return " / ".join(
            f"{statistics.median(r[f'{side}_{key}'] for r in rounds):,.{digits}f}" for side in ("together", "alone")
        )

    ratios = [r["together_images_per_second"] / r["alone_images_per_second"] for r in rounds]
    return [
        rounds[0]["network"],
        rounds[0]["precision"],
        middles("images_per_second"),
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
        middles("images_per_cpu_second"),
        middles("startup_seconds", 1),
    ]


def main() -> int:
    """Measure, and write the table after every network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=["ResNet-14", "ResNet-32"], metavar="NETWORK"
    )
    parser.add_argument("--precisions", nargs="+", choices=["bf16", "fp32"], default=["bf16", "fp32"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement, at least")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as bnonly sets it
    cores = len(os.sched_getaffinity(0))
    about = f"{machine('cpu')}. {cores} trainings of one thread against one of {cores}, {options.rounds} rounds of at least {options.seconds:g} s."
    rows: list[dict[str, Any]] = []
    lines: list[list[Any]] = []
    for network in options.networks:
        for precision in options.precisions:
            for number in range(options.rounds):
                found: dict[str, Any] = {"network": network, "precision": precision, "round": number}
                for side, threads, trainings in (("together", 1, cores), ("alone", cores, 1)):
                    took = measured(network, precision, threads, trainings, options.seconds)
                    found |= {f"{side}_{key}": value for key, value in took.items()}
                rows.append(found)
            lines.append(row(rows[-options.rounds :]))
            write_csv(options.out / "side-by-side-cpu.csv", rows, 2)
            write(
                options.out / "side-by-side-cpu.md",
                "Trainings side by side on a CPU",
                " ".join(["python benchmarks/side_by_side.py", *sys.argv[1:]]),
                about,
                markdown(HEADS, lines),
            )
            print(lines[-1], file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
