"""``bnonly publish``: a run's results as a page of the documentation, with the archive that redraws it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from bnonly.commands import setup
from bnonly.console import size
from bnonly.errors import UserError

#: The archive's name in the published folder.
ARCHIVE = "results.zip"
#: The largest weights file that is published, in bytes: of BatchNorm, random weights and the output layer.
WEIGHTS = 500_000
#: The largest archive that is published, in bytes: it stays in the repository's history.
LARGEST = 15_000_000


def add(commands: setup.Commands) -> None:
    """Add the command."""
    parser = setup.command(
        commands, "publish", run_publish, "write a page with figures, claims and cost, and the archive that redraws it"
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder for the page, for example docs/results")


def run_publish(options: argparse.Namespace) -> int:
    """Write a run's page and archive."""
    root, folder = Path.cwd(), options.folder.absolute()
    run = setup.read(options)
    from bnonly.commands.sharing import export
    from bnonly.report.publish import Published, publish

    if folder.exists() and any(folder.iterdir()) and not (folder / "index.md").exists():
        raise UserError(f"{folder}: holds other files than published results; name an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    new, archive = folder / f".new-{ARCHIVE}", folder / ARCHIVE
    new.unlink(missing_ok=True)
    try:
        done = export(run.grid, run.configuration, new, list(run.grid.cells), WEIGHTS)
        if done.size > LARGEST:
            raise UserError(
                f"{archive}: would be {size(done.size)}, and at most {size(LARGEST)} may go into a repository; publish it elsewhere: "
                "bnonly export"
            )
        where = os.path.relpath(archive, root)
        about = Published(where, ARCHIVE, size(done.size), done.sha256, len(done.left_out))
        shown = publish(run.grid, about, folder, f"{setup.workflow(options)} figures/all")
        new.replace(archive)
    finally:
        new.unlink(missing_ok=True)
    print(f"{folder}: {done.cells} trainings, {', '.join(shown)}, {ARCHIVE} ({size(done.size)})")
    return 0
