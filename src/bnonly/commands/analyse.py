"""``bnonly analyse``, ``verify`` and ``show``: inspect a trained cell."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from bnonly import paths
from bnonly.commands import gpus, setup
from bnonly.console import plain
from bnonly.errors import UserError
from bnonly.grid.cell import Cell
from bnonly.results import cache, failure


def add(commands: setup.Commands) -> None:
    """Add the commands."""
    analyse = setup.cell_command(
        commands,
        "analyse",
        run_analyse,
        "measure clamping and dead activations of a trained cell (Figures 6, 7, 23-25)",
    )
    analyse.add_argument("--store", action="store_true", help=argparse.SUPPRESS)  # as a cluster's jobs do
    setup.cell_command(
        commands,
        "verify",
        run_verify,
        "rebuild a network from its weights file and its seed, and confirm its accuracy",
        tells=True,
    )
    setup.cell_command(
        commands,
        "show",
        run_show,
        "print a cell's epochs and their provenance (--json: everything)",
        computes=False,
        tells=True,
    )


def run_analyse(options: argparse.Namespace) -> int:
    """Measure clamping and activations of a trained cell, unless the cache holds the analysis."""
    cell, folder, data = setup.trained(options)
    files = tuple(paths.ANALYSED.values())
    if options.store:
        if cache.holds(cell.digest(), files):
            return 0
        folder = paths.finished(cell.digest())
    elif options.spec and cache.restore(cell.digest(), folder, files):
        return 0
    from bnonly.analysis.run import analyse_cell

    with (
        gpus.taken() if options.device != "cpu" else nullcontext(),
        failure.recorded(cell, cell.key.folder) if options.store else nullcontext(),
    ):
        analyse_cell(folder, cell, data, options.device, options.threads)
    if cache.holds(cell.digest()):
        cache.keep(cell.digest(), [paths.clamping(folder), paths.activations(folder)])
    return 0


def run_verify(options: argparse.Namespace) -> int:
    """Rebuild a network from its weights file and compare its accuracy with the recorded one."""
    cell, folder, data = setup.trained(options)
    from bnonly.analysis.run import verify_cell

    found = verify_cell(folder, cell, data, options.device, options.threads)
    setup.tell(
        options,
        {"cell": str(cell), "weights": str(paths.weights(folder)), "agrees": found.agrees, **asdict(found)},
        lambda: (
            f"{cell}: {paths.shown(paths.weights(folder))} ({found.size / 1000:.1f} kB) rebuilds a network with test accuracy "
            f"{100 * found.rebuilt.top1:.2f}%; recorded {100 * found.recorded.top1:.2f}%"
        ),
    )
    if not found.agrees:
        raise UserError(
            f"{paths.shown(folder)}: the rebuilt network does not have the recorded accuracy; train the cell again"
        )
    return 0


def run_show(options: argparse.Namespace) -> int:
    """Print a cell's epochs and its provenance."""
    cell, folder, _ = setup.trained(options)
    from bnonly.results import parquet

    table, label = parquet.read(paths.metrics(folder), "metrics", cell=cell)
    provenance = {k: v for k, v in label.items() if k != "kind"}
    epochs = table.to_pylist()
    setup.tell(
        options,
        {"epochs": epochs, "provenance": provenance},
        lambda: "\n".join([_table(epochs), "", *map(plain, _origin(label, cell))]),
    )
    return 0


def _origin(label: Mapping[str, Any], cell: Cell) -> Iterator[str]:
    """Yield the lines that say where a result comes from."""
    from bnonly.report.cells import commit_of, moment

    reason = f" ({label['reason']})" if label.get("reason") else ""
    yield f"status:    {label.get('status')}{reason}; digest {label.get('digest')}"
    resumed = f", resumed {label['resumed']} times" if label.get("resumed") else ""
    yield f"trained:   {moment(label.get('started', ''))} to {moment(label.get('ended', ''))}{resumed}"
    backend = f" (backend {label['kernels']})" if "kernels" in label else ""
    threads = f"CPU threads {label.get('threads')}, precision {cell.precision}, engine {cell.engine}{backend}"
    yield f"device:    {label.get('device')} ({label.get('device_name')}), {threads}"
    yield f"versions:  {', '.join(f'{name} {version}' for name, version in label.get('versions', {}).items())}"
    yield f"code:      {commit_of(label)}"
    data = label.get("data", {})
    yield f"data:      {data.get('dataset')}, SHA-256 {data.get('sha256')}"
    yield "--json prints everything, with the cell's whole configuration"


def _table(rows: list[dict[str, Any]]) -> str:
    head = f"{'epoch':>5} {'lr':>8} {'train loss':>10} {'train':>7} {'test loss':>9} {'test':>7} {'top-5':>7} {'images/s':>9}"

    lines = []
    for r in rows:
        # Before the first epoch nothing has been trained on.
        trained = f"{r['train_loss']:10.4f} {100 * r['train_top1']:6.2f}%" if r["epoch"] else f"{'-':>10} {'-':>7}"
        lines.append(
            f"{r['epoch']:5d} {r['lr']:8.4g} {trained} {r['test_loss']:9.4f} {100 * r['test_top1']:6.2f}% "
            f"{100 * r['test_top5']:6.2f}% {r['images_per_second']:9.0f}"
        )
    return "\n".join([head, *lines])
