"""``bnonly figure``, ``counts`` and ``manifest``: draw from trained cells."""

from __future__ import annotations

import argparse
import os

from bnonly import paths
from bnonly.commands import setup
from bnonly.errors import UserError


def add(commands: setup.Commands) -> None:
    """Add the commands."""
    figure = setup.command(commands, "figure", run_figure, "draw a figure, or write a table, from trained cells")
    figure.add_argument(
        "name", help="fig01 ... fig25, table1, table_b, table_c1, table_c2, text_ends, text_only, or beyond/NAME"
    )
    setup.command(
        commands, "counts", run_counts, "count every architecture's parameters by building it (Table 1)", listed=False
    )
    manifest = setup.command(
        commands,
        "manifest",
        run_manifest,
        "write figures/all: every figure and table with its checksum and its cells",
        listed=False,
    )
    manifest.add_argument("--redrawn", type=int, default=0, metavar="N", help=argparse.SUPPRESS)


def run_figure(options: argparse.Namespace) -> int:
    """Draw a figure or write a table."""
    # Importing matplotlib would look for a notebook's backend; drawing to files needs none.
    os.environ["MPLBACKEND"] = "agg"
    from bnonly.figures.make import make
    from bnonly.figures.outputs import ask, inputs

    asked = ask(setup.read(options).grid, options.name)
    lacking = [file for file in inputs(asked) if not file.exists()]
    if lacking:
        more = f" (and {len(lacking) - 1} more)" if lacking[1:] else ""
        raise UserError(
            f"{options.name} needs {paths.shown(lacking[0])}{more}, which does not exist; "
            f"train what is missing and draw it: {setup.workflow(options)} {options.name}"
        )
    for path in make(asked):
        print(paths.shown(path))
    return 0


def run_counts(options: argparse.Namespace) -> int:
    """Count every architecture's parameters."""
    from bnonly.figures.outputs import architectures
    from bnonly.networks.counts import write_counts

    print(paths.shown(write_counts(architectures(setup.read(options).grid))))
    return 0


def run_manifest(options: argparse.Namespace) -> int:
    """Write the manifest of figures and tables."""
    found = setup.read(options)
    from bnonly.figures.manifest import write_manifest

    print(paths.shown(write_manifest(found.grid, options.redrawn)))
    return 0
