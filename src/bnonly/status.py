"""What of a grid is trained, on the way, missing, stale or damaged."""

from __future__ import annotations

import fcntl
from collections import Counter
from pathlib import Path

from bnonly import outputs, paths, schemas
from bnonly.errors import UserError
from bnonly.grid import Grid
from bnonly.spec import Cell

STATES = ("done", "diverged", "training", "paused", "stale", "damaged", "missing")


def state_of(cell: Cell) -> str:
    """Return one of `STATES`; "stale" results are of another configuration, "paused" has a checkpoint."""
    folder = paths.cell_dir(*cell.key)
    path = paths.metrics(folder)
    if path.exists():
        try:
            label = schemas.read_label(path)
        except UserError:
            return "damaged"
        if label.get("digest") != cell.digest():
            return "stale"
        return "diverged" if label.get("status") == "diverged" else "done"
    lock = paths.lock(folder)
    if lock.exists():
        with lock.open() as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return "training"
    return "paused" if paths.checkpoint(folder, cell.digest()).exists() else "missing"


def survey(grid: Grid) -> str:
    """Return a table of cells by state, per experiment, and which figures and tables are drawn."""
    states = {key: state_of(cell) for key, cell in grid.cells.items()}
    lines = [f"{'experiment':<14} {'cells':>6} " + " ".join(f"{s:>9}" for s in STATES)]
    for experiment in grid.experiments.values():
        count = Counter(states[k] for k in set(grid.keys_of(experiment)))
        note = "   (on request)" if experiment.on_request else ""
        lines.append(
            f"{experiment.name:<14} {sum(count.values()):>6} " + " ".join(f"{count[s]:>9}" for s in STATES) + note
        )
    for state in ("stale", "damaged"):
        for key in [k for k, s in states.items() if s == state][:10]:
            lines.append(f"{state}: {paths.cell_dir(*key)}")
    drawn = [n for n in outputs.names() if all(Path(f).exists() for f in outputs.files(n))]
    lines.append(f"drawn: {', '.join(drawn) or 'nothing yet'}")
    return "\n".join(lines)
