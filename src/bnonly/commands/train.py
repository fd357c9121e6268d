"""``bnonly train``: one cell, or replicates of one side by side."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext

from bnonly.commands import gpus, setup
from bnonly.errors import UserError


def add(commands: setup.Commands) -> None:
    """Add the command."""
    parser = setup.cell_command(commands, "train", run_train, "train one cell, or resume it from its checkpoint")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="N",
        help="replicates to train side by side on one device (instead of --seed)",
    )
    parser.add_argument("--specs", metavar="JSON", help=argparse.SUPPRESS)
    parser.add_argument(
        "--checkpoint-seconds",
        type=setup.between(0, 1e9),
        default=180.0,
        metavar="S",
        help="longest time between checkpoints (default: 180)",
    )
    parser.add_argument("--quiet", action="store_true", help="print no progress")
    parser.add_argument("--wait", action="store_true", help="if another process is training the cell, wait for it")
    parser.add_argument("--store", action="store_true", help=argparse.SUPPRESS)


def run_train(options: argparse.Namespace) -> int:
    """Train a cell, or replicates of one side by side."""
    if options.seeds and (options.seed is not None or options.spec or options.specs):
        raise UserError("--seeds selects the replicates; leave out --seed and --spec")
    seeds = options.seeds or [options.seed or 0]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds must list each seed once (got {' '.join(map(str, seeds))})")
    specs = setup.parse_json(options.specs, "--specs") if options.specs else [options.spec] if options.spec else []
    cells, data = setup.cells(options, specs, seeds)
    from bnonly.train.options import Keep, Options
    from bnonly.train.run import train_cell
    from bnonly.train.stop import Stopped
    from bnonly.train.together import train_together

    how = Options(
        data,
        options.device,
        options.threads,
        options.quiet,
        options.checkpoint_seconds,
        options.wait,
        Keep.IN_CACHE if options.store else Keep.IN_FOLDER_AND_CACHE,
    )
    try:
        with gpus.taken(cells[0].recipe.gpus) if options.device != "cpu" else nullcontext():
            if len(cells) > 1:
                train_together(cells, how)
            else:
                train_cell(cells[0], cells[0].key.folder, how)
    except Stopped as stop:
        print(f"bnonly: stopped by a signal, checkpoint saved; the same command continues: {stop}", file=sys.stderr)
        return 128 + stop.number
    return 0
