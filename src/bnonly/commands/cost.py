"""``bnonly cost``: the cost of figures, experiments or the whole run, by kind of GPU."""

from __future__ import annotations

import argparse
from typing import Any

from bnonly.commands import setup
from bnonly.console import columns, duration, size, two_digits


def add(commands: setup.Commands) -> None:
    """Add the command."""
    cost = setup.command(
        commands,
        "cost",
        run_cost,
        "estimate FLOPs, GPU-hours, energy and disk of figures, experiments or everything",
        tells=True,
    )
    cost.add_argument("target", nargs="*", help="figures, tables, experiments (default: everything in figures/all)")
    cost.add_argument("--missing", action="store_true", help="count only untrained cells")
    cost.add_argument(
        "--gpu", action="append", default=[], metavar="KIND", help="kind of GPU, or cpu:8; may be repeated"
    )
    cost.add_argument(
        "--gpus", type=setup.count, default=1, metavar="N", help="number of devices, for the wall time (default: 1)"
    )
    cost.add_argument("--engine", help="engine to assume: reference, fast or triton (default: the configuration's)")
    cost.add_argument(
        "--precision", help="fp32, tf32 or bf16 (default: the configuration's; with --engine, that engine's default)"
    )
    cost.add_argument(
        "--cores",
        type=setup.count,
        default=8,
        metavar="N",
        help="CPU cores that decode images for each GPU (default: 8)",
    )


def run_cost(options: argparse.Namespace) -> int:
    """Print a cost estimate."""
    run = setup.read(options)
    from bnonly.cost import total
    from bnonly.cost.gpus import find_gpu, of_configuration
    from bnonly.cost.measured import scan
    from bnonly.figures import outputs

    own = of_configuration(run.grid.gpus)
    kinds = [find_gpu(name, own) for name in options.gpu] or total.default_kinds(own)
    keys = outputs.select(run.grid, options.target)
    if options.missing:
        from bnonly.results.state import FINISHED, state_of

        keys = [k for k in keys if state_of(run.grid.cells[k]) not in FINISHED]
    assumed = total.Assumptions(options.gpus, options.engine, options.precision, options.cores)
    found = total.costs(run.grid, keys, kinds, assumed, scan(own))
    setup.tell(options, found, lambda: text(found, options.missing))
    return 0


def text(cost: dict[str, Any], missing: bool = False) -> str:
    """Return a cost as tables for a terminal."""
    what = "missing from" if missing else "of"
    lines = [f"{cost['trainings']:,} trainings {what} '{cost['run']}', engine {cost['engine'] or '-'}"]
    if not cost["trainings"]:
        return lines[0] + ": nothing to compute"
    # Show the hours of each experiment if the table is wide enough.
    names = [k["kind"] for k in cost["kinds"] if not k["unsupported"]] if len(cost["kinds"]) <= 4 else []
    total = {"name": "all", **cost, "seconds": {k["kind"]: k["seconds"] for k in cost["kinds"]}}
    rows = [["experiment", "trainings", "FLOPs", "evaluating", "disk", *(f"{n}, h" for n in names)]]
    for group in [*cost["groups"], total] if len(cost["groups"]) > 1 else cost["groups"]:
        flops = [f"{group[key]:.2g}" for key in ("train_flops", "test_flops")]
        hours = [two_digits(group["seconds"][n] / 3600) for n in names]
        rows.append([group["name"], f"{group['trainings']:,}", *flops, size(group["disk_bytes"]), *hours])
    lines += ["", *columns(rows)]
    rows = [["device", "precision", "hours", "kWh", f"on {cost['gpus']}", "longest", "from", "off by", ""]]
    for kind in cost["kinds"]:
        share = kind["measured_share"]
        source = "model" if not share else "measured" if share > 0.99 else f"{100 * share:.0f}% measured"
        error = f"x{kind['error_factor']:.2f}" if kind["error_factor"] else "unknown"
        large = f"{len(kind['too_large'])} of {cost['networks']} do not fit its memory" if kind["too_large"] else ""
        device = [kind["kind"], "/".join(kind["precision"])]
        if kind["unsupported"]:
            lacks = f"has no {'/'.join(kind['unsupported'])}: use --precision fp32"
            rows.append([*device, "-", "-", "-", "-", "-", "-", lacks])
            continue
        amounts = [two_digits(kind["seconds"] / 3600), two_digits(kind["joules"] / 3.6e6)]
        times = [duration(kind["wall_seconds"]), duration(kind["longest"]["seconds"])]
        rows.append([*device, *amounts, *times, source, error, large])
    lines += ["", *columns(rows, left=(0, 1, 6, 7, 8)), "", *_notes(cost)]
    return "\n".join(lines)


def _notes(cost: dict[str, Any]) -> list[str]:
    notes = [
        "hours: all trainings one after another on one device, with start-up and evaluations; kWh: at full board power, an upper bound;",
        f"on {cost['gpus']}: wall time with as many devices of one kind, {cost['gpu_jobs']} training{'s' if cost['gpu_jobs'] > 1 else ''} at a time on each GPU (gpu_jobs),",
        "the longest first; off by: typical factor in measured runs; do not fit: pairs of architecture and regime that need more memory",
        "than one device has (the hours include them). A training that several experiments share counts in the first of them.",
    ]
    if not cost["model"]:
        return [
            *notes,
            "Nothing has been measured yet: all numbers come from a model of kernels and data sheets (docs/cost.md) and may be off by a factor of 2.",
        ]
    notes.append(
        'Measured runs compared with the model; "off by" is the error of the corrected estimate for a cell that was left out:'
    )
    for g in cost["model"]:
        correction = g["correction"]
        error = f"x{correction['error']:.2f}" if correction["error"] else "one cell only"
        notes.append(
            f"  {g['device']}, {g['engine']} {g['precision']}, {g['family']}: {correction['runs']} runs of {g['cells']} cells take "
            f"{correction['factor']:.2f} times the model's time (spread x{g['spread']:.2f}); off by {error}, uncorrected x{g['error_uncorrected']:.2f}"
        )
    return notes
