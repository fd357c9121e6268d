"""Print what the networks of a finished run took: parameters, seconds to build, memory, files.

    snakemake --profile rehearsal figures/all report       (every network of the paper at its true size: an hour)
    python benchmarks/networks.py runs/rehearsal

Reads the records of the trainings in results/.  Writes benchmarks/results/networks-RUN.md and .csv.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from common import RESULTS, ROOT, machine, markdown, write, write_csv

sys.path.insert(0, str(ROOT / "src"))

HEADS = {
    "network": "network",
    "trainings": "trainings",
    "parameters": "parameters",
    "seconds_to_build": "s to build",
    "seconds": "s to train",
    "memory_mb": "memory (MB)",
    "largest_mb": "largest weights file (MB)",
    "files_mb": "all files (MB)",
    "files": "files",
}


def of_cell(folder: Path) -> dict[str, Any]:
    """Return what one training took, from its record and its folder."""
    from bnonly import paths
    from bnonly.results import parquet

    _, label = parquet.read(paths.metrics(folder), "metrics")
    sizes = [file.stat().st_size for file in folder.iterdir()]
    weights = paths.weights(folder)
    return {
        "parameters": label["parameters"]["total"],
        "seconds_to_build": label.get("seconds_to_build"),
        "seconds": label["wall_seconds"],
        "memory_mb": label["peak_host_bytes"] / 1e6,
        "largest_mb": weights.stat().st_size / 1e6 if weights.exists() else None,
        "files_mb": sum(sizes) / 1e6,
        "files": len(sizes),
    }


def of_network(name: str, cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a network's row: median times, largest sizes, and sums over the files of its trainings."""
    row: dict[str, Any] = {"network": name, "trainings": len(cells)}
    for key in list(HEADS)[2:]:
        values = [cell[key] for cell in cells if cell[key] is not None]
        of_all = median if key.startswith("seconds") else sum if key.startswith("files") else max
        row[key] = _rounded(of_all(values)) if values else None
    return row


def _rounded(value: float) -> float:
    return round(value) if value >= 100 else round(value, 2)


def main() -> None:
    """Measure the networks of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run")
    run = parser.parse_args().run
    cells: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for file in sorted((run / "results").glob("*/*/seed*/metrics.parquet")):
        cells[file.parts[-4]].append(of_cell(file.parent))
    if not cells:
        sys.exit(f"{run}: no finished trainings")
    rows = sorted((of_network(n, c) for n, c in cells.items()), key=lambda row: -row["parameters"])
    write_csv(RESULTS / f"networks-{run.name}.csv", rows)
    about = (
        "Of all trainings of a network: median seconds, from opened data to a network ready to train, and of the training "
        f"with its tests; the most memory of a process; files and their sizes added up. {machine('cpu')}."
    )
    table = markdown(list(HEADS.values()), ([row[key] for key in HEADS] for row in rows))
    write(
        RESULTS / f"networks-{run.name}.md",
        f"Networks of {run.name}",
        f"python benchmarks/networks.py {run}",
        about,
        table,
    )
    print("\n".join(table))


if __name__ == "__main__":
    main()
