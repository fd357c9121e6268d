"""``bnonly prepare``: verify and prepare a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from bnonly.commands import setup
from bnonly.grid.datasets import DATASETS


def add(commands: setup.Commands) -> None:
    """Add the command."""
    parser = setup.command(
        commands,
        "prepare",
        run_prepare,
        "verify and prepare a data set, once, on a machine with network access and disk space",
    )
    parser.add_argument(
        "name",
        help=f"{', '.join(n for n, info in DATASETS.items() if info.layout != 'installed')}, or a name under datasets in the configuration",
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="PATH",
        help="folder or archive of the data set as distributed (default: $BNONLY_SOURCES/NAME, or a download)",
    )
    parser.add_argument(
        "--skip-unreadable", action="store_true", help="leave out images that cannot be read; the manifest lists them"
    )
    parser.add_argument(
        "--workers", type=setup.threads, default=0, metavar="N", help="decoding threads (default: one per CPU)"
    )
    parser.add_argument("--quiet", action="store_true", help="print no progress")


def run_prepare(options: argparse.Namespace) -> int:
    """Verify and prepare a data set."""
    from bnonly.data.prepare import prepare

    data = setup.data_folder(options, Path(options.config).parent)
    print(
        prepare(setup.dataset(options), options.source, data, options.skip_unreadable, options.workers, options.quiet)
    )
    return 0
