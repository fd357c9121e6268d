"""``bnonly trace``: trace a figure, or a point of it, to its trainings, their files and the drawing code."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from bnonly import paths
from bnonly.commands import setup
from bnonly.errors import UserError, accepted
from bnonly.figures import outputs
from bnonly.grid.cell import Key
from bnonly.results.state import state_of


def add(commands: setup.Commands) -> None:
    """Add the command."""
    parser = setup.command(
        commands,
        "trace",
        run_trace,
        "list the trainings, files and code behind a figure or one of its points",
        tells=True,
    )
    parser.add_argument("name", help="name of a figure or table, for example fig02")
    parser.add_argument("architecture", nargs="?", help="only points of this architecture, for example ResNet-14")
    parser.add_argument("regime", nargs="?", help="only points of this regime, for example bn")


def run_trace(options: argparse.Namespace) -> int:
    """Print the sources of a figure."""
    grid = setup.read(options).grid
    asked = outputs.ask(grid, options.name)
    given = options.architecture and grid.aliases.get(options.architecture, options.architecture)
    for word, known in ((given, {k.architecture for k in asked.cells()}), (options.regime, {k.regime for k in asked.cells()})):  # fmt: skip
        if word and word not in known:
            raise UserError(f"{options.name} does not show '{word}'; {accepted(word, sorted(known))}")
    cells = {k: d for k, d in asked.cells().items() if given in (None, k.architecture)}
    cells = {k: d for k, d in cells.items() if options.regime in (None, k.regime)}
    read = [file for file in outputs.inputs(asked) if (key := Key.parse(str(file.parent))) is None or key in cells]
    found: dict[str, Any] = {
        "made": outputs.files(options.name),
        "code": str(outputs.code(options.name)),
        "trainings": [
            {
                "cell": str(key),
                "digest": digest,
                "state": state_of(grid.cells[key]),
                "files": [str(file) for file in read if file.parent == key.folder],
                "log": str(key.log("train")),
            }
            for key, digest in cells.items()
        ],
        "tables": [str(file) for file in read if Key.parse(str(file.parent)) is None],
    }
    setup.tell(options, found, lambda: "\n".join(_lines(options.name, found)))
    return 0


def _lines(name: str, found: dict[str, Any]) -> Iterator[str]:
    yield f"{name}: {', '.join(map(paths.shown, found['made']))}"
    yield f"code: {found['code']}"
    for entry in found["trainings"]:
        yield f"{entry['digest']}  {entry['state']:<8}  {' '.join(map(paths.shown, entry['files']))}"
    if found["tables"]:
        yield f"and {', '.join(map(paths.shown, found['tables']))}"
