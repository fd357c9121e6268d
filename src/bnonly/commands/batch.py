"""``bnonly batch`` and ``bnonly collect``: a cluster job, and the step that fetches a cell from it.  The workflow calls both."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from bnonly.commands import setup
from bnonly.grid.cell import Cell, parse_cell
from bnonly.results import cache


def add(commands: setup.Commands) -> None:
    """Add the commands."""
    batch = setup.command(
        commands, "batch", run_batch, "train cells one after another, as a cluster's job does", listed=False
    )
    batch.add_argument("--cells", metavar="JSON", required=True, help="the cells' canonical specifications, as a list")
    batch.add_argument(
        "--marker", type=Path, metavar="FILE", required=True, help="file to write when every cell has been tried"
    )
    batch.add_argument("--kinds", metavar="JSON", default="{}", help="the configuration's kinds of GPU")
    batch.add_argument("--threads", type=setup.threads, default=1, help="CPU threads")
    batch.add_argument(
        "--analyse", type=int, nargs="*", default=[], metavar="SEED", help="also analyse these replicates"
    )
    batch.add_argument("--together", action="store_true", help="train them side by side first")
    batch.add_argument("--attempt", type=int, default=1, metavar="N", help="number of this attempt")
    batch.add_argument("--attempts", type=int, default=1, metavar="N", help="number of attempts allowed")
    collect = setup.command(
        commands, "collect", run_collect, "put a finished cell's files from the cache into its folder", listed=False
    )
    collect.add_argument("--spec", metavar="JSON", required=True, help="the cell's canonical specification")
    collect.add_argument("--analysis", action="store_true", help="collect the files of its analysis")
    collect.add_argument("--marker", type=Path, metavar="FILE", help="the marker of its batch")


def run_batch(options: argparse.Namespace) -> int:
    """Train a batch of cells, as a cluster job."""
    cells = [parse_cell(text) for text in setup.parse_json(options.cells, "--cells")]
    from bnonly.cluster import batches, slurm
    from bnonly.cost import measured
    from bnonly.cost.gpus import of_configuration

    data = ["--data", str(setup.data_folder(options))]
    setup.enter(options.directory)
    # If another process trains a cell, a SLURM job must not hold its GPU and wait.
    wait = [] if slurm.SUBMISSION in os.environ else ["--wait"]
    how = ["--threads", str(options.threads), *wait, "--store"]

    def train(cell: Cell) -> int:
        status = 0
        if not cache.holds(cell.digest()):
            status = int(options.call([*data, "train", "--spec", cell.canonical(), *how]))
        if status == 0 and cell.seed in options.analyse:
            threads = ["--threads", str(options.threads)]
            status = int(options.call([*data, "analyse", "--spec", cell.canonical(), "--store", *threads]))
        return status

    def together(replicates: Sequence[Cell]) -> int:
        return int(options.call([*data, "train", "--specs", json.dumps([c.canonical() for c in replicates]), *how]))

    joint = together if options.together and cells[0].engine != "reference" and cells[0].recipe.gpus == 1 else None
    status = batches.run(cells, train, options.marker, options.attempt, options.attempts, joint)
    # The measured speed of the cells collected so far improves the next start's requests.
    measured.scan(of_configuration(setup.parse_json(options.kinds, "--kinds")))
    return status


def run_collect(options: argparse.Namespace) -> int:
    """Put a finished cell's files from the cache into its folder."""
    from bnonly.cluster.batches import collect

    setup.enter(options.directory)
    collect(parse_cell(options.spec), options.marker, options.analysis)
    return 0
