"""``bnonly preflight``: check for problems that would stop the workflow on a cluster."""

from __future__ import annotations

import argparse

from bnonly.commands import setup


def add(commands: setup.Commands) -> None:
    """Add the command."""
    parser = setup.command(
        commands, "preflight", run_preflight, "check for problems that would stop the workflow on this cluster"
    )
    parser.add_argument("--probe", action="store_true", help="also check a compute node, with a one-minute job")


def run_preflight(options: argparse.Namespace) -> int:
    """Check for problems that would stop the workflow on this cluster."""
    found = setup.read(options)
    from bnonly.cluster.preflight import preflight

    return preflight(found.grid, found.data, options.probe, setup.workflow(options))
