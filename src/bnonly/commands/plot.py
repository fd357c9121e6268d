"""``bnonly plot``: learning curves and the distribution of gamma for regimes of one architecture."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from bnonly import paths
from bnonly.commands import setup
from bnonly.errors import UserError


def add(commands: setup.Commands) -> None:
    """Add the command."""
    parser = setup.command(
        commands, "plot", run_plot, "draw learning curves and histograms of gamma for regimes of one architecture"
    )
    parser.add_argument("architecture", help="for example ResNet-14")
    parser.add_argument("regime", nargs="+", help="for example all bn")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="a .png, .pdf or .csv file (default: all three in figures/plots)",
    )


def run_plot(options: argparse.Namespace) -> int:
    """Draw learning curves and histograms of gamma."""
    output = options.output and options.output.absolute()  # before the run's folder becomes the current one
    if output and output.suffix.removeprefix(".") not in paths.FIGURE_FORMATS:
        raise UserError(f"--output {options.output}: must end in .png, .pdf or .csv")
    grid = setup.read(options).grid
    # Importing matplotlib would look for a notebook's backend; drawing to files needs none.
    os.environ["MPLBACKEND"] = "agg"
    from bnonly.figures import plot, render

    asked = plot.ask(grid, options.architecture, options.regime, setup.again(options))
    made = [output] if output else [paths.figure(asked.name, suffix) for suffix in paths.FIGURE_FORMATS]
    with render.look():
        sheet = render.page(plot.draw, asked, Path(), beyond=True)
        for path in made:
            render.write(sheet, path, asked.name)
            print(paths.shown(path))
    return 0
