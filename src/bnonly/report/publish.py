"""Write a page of results for the documentation: accuracy, figures, claims, cost and provenance, in Markdown."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bnonly import paths
from bnonly.console import listed, plain
from bnonly.errors import UserError
from bnonly.figures import outputs
from bnonly.grid.resolve import Experiment, Grid
from bnonly.paper.deviations import Place, deviations, in_words
from bnonly.report.content import collect
from bnonly.results import atomic
from bnonly.verdicts import table
from bnonly.verdicts.judge import judge
from bnonly.verdicts.verdict import FAILS, HOLDS, UNDECIDED, Decision

HERE = Path(__file__).parent
DECIDED = (HOLDS, FAILS, UNDECIDED)


@dataclass(frozen=True)
class Published:
    """The archive of the published results: its path in the repository, name, size, checksum, and the weights files that it lacks."""

    path: str
    name: str
    size: str
    sha256: str
    left_out: int


def publish(grid: Grid, archive: Published, folder: Path, command: str) -> list[str]:
    """Write ``index.md``, and copy the figures and their numbers beside it.

    Parameters
    ----------
    grid : Grid
        The configuration of the current folder's run.
    archive : Published
        The archive beside the page.
    folder : Path
        Receives the page.
    command : str
        Draws the figures, for the message.

    Returns
    -------
    list of str
        The names of the figures on the page.

    Raises
    ------
    UserError
        If no figure has been drawn from these results, or `folder` cannot be written.
    """
    measured, decisions = judge(grid)
    content = collect(grid, None, measured, decisions, Path())
    drawn = [f for f in [*content["main"], *content["figures"]] if "src" in f]
    if not drawn:
        raise UserError(f"{paths.shown(paths.FIGURES)}: no figure of these results; draw them first: {command}")
    environment = Environment(
        loader=FileSystemLoader(HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_plain,
    )
    environment.globals["table"] = _table
    text = environment.get_template("results.md.j2").render(
        content
        | {
            "data": listed(dict.fromkeys(e.data.title for e in _shown(grid))),
            "seeds": listed(dict.fromkeys(str(len(e.seeds)) for e in _shown(grid))),
            "marks": in_words(d for d in deviations(grid, _places(grid)) if d.disqualifies),
            "accuracy": _accuracy(grid, content),
            "figures": [f | {"marks": outputs.ask(grid, f["name"]).differences} for f in drawn],
            "claims": _claims(decisions, content),
            "archive": archive,
        }
    )
    for name in (f["name"] for f in drawn):
        for suffix in ("png", "csv"):
            shutil.copyfile(paths.figure(name, suffix), folder / f"{name}.{suffix}")
    atomic.replace(folder / "index.md", text.encode())
    return [f["name"] for f in drawn]


def _shown(grid: Grid) -> list[Experiment]:
    return [e for e in grid.experiments.values() if not e.on_request]


def _places(grid: Grid) -> list[Place]:
    return [(e.name, a, r) for e in _shown(grid) for a in e.architectures for r in e.regimes]


def _claims(decisions: Sequence[Decision], content: dict[str, Any]) -> list[list[str]]:
    """Return the decided claims about training; of a run on other data, the comparisons and trends."""
    verdicts = {d.claim.id: d.verdict for d in decisions if d.claim.counted and d.verdict in DECIDED}
    verdicts |= {c["id"]: c["verdict"] for c in content["orderings"]}
    return [[d.claim.id, d.claim.says, _evidence(d), verdicts[d.claim.id]] for d in decisions if d.claim.id in verdicts]


def _accuracy(grid: Grid, content: dict[str, Any]) -> dict[str, Any]:
    """Return the accuracy of each network (rows) under each regime (columns)."""
    cells = {row["name"]: row for row in content["cells"]}
    regimes = list(dict.fromkeys(r for e in _shown(grid) for r in e.regimes))
    names = list(dict.fromkeys(a for e in _shown(grid) for a in e.architectures))
    rows = [
        [grid.architecture_labels[a], *(_mean(cells.get(f"{grid.aliases.get(a, a)}/{r}")) for r in regimes)]
        for a in names
    ]
    return {"columns": ["Network", *(grid.regime_labels[r] for r in regimes)], "rows": rows}


def _evidence(decision: Decision) -> str:
    """Return each measured value with its interval."""
    known = [e for e in decision.evidence if math.isfinite(e.value)]
    parts = []
    for e in known:
        interval = f" [{table.number(e.low)}, {table.number(e.high)}]" if e.n and math.isfinite(e.low) else ""
        parts.append(f"{e.what}: {table.number(e.value)}{interval}")
    return "<br>".join(parts) or "too few networks or seeds"


def _mean(row: dict[str, Any] | None) -> str:
    if not row or not row["top1"]:
        return "–"
    spread = f" ± {row['sd']}" if row["sd"] else ""
    return f"{row['top1']}{spread} ({row['runs'].partition('/')[0]})"


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _plain(value: object) -> object:
    """Keep tables as they are; escape control characters in everything else."""
    return "\n".join(map(plain, value.split("\n"))) if isinstance(value, str) else value
