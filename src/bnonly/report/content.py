"""The report's content, as plain values for its template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnonly.figures.catalog import BEYOND, FIGURES, TABLES
from bnonly.grid.resolve import Grid
from bnonly.report import cells, claims, curves, exhibits, parity, spending, summary
from bnonly.report.differences import differences
from bnonly.verdicts.measure import Measurements
from bnonly.verdicts.verdict import Decision

#: Figures that the page shows unfolded, with the paper's numbers beside them: the paper's main results.
MAIN = ("fig02", "fig03")
#: Choices of this project where the paper is silent or unclear; every run shares them.
CHOICES = (
    "“γ and β disabled” (Figures 1 and 8) means γ = 1, β = 0, not trained.",
    "Images are normalised per channel; the text says per pixel, the authors' public code does it per channel.",
    "Accuracy is of the final weights, never of the best epoch; a diverged run counts with the accuracy it had.",
    "Clamping sets γ to zero in every BatchNorm layer, and keeps β and the running statistics.",
    "Where BatchNorm is frozen but not disabled, γ and β keep their random initial values.",
    "The grid of small ResNets (Figure 10) is ours: the paper does not list its own.",
)


def collect(
    grid: Grid, paper: Grid | None, measured: Measurements, decisions: Sequence[Decision], root: Path
) -> dict[str, Any]:
    """Return everything that the templates show, in the order of the page; each module of this folder supplies a part.

    Parameters
    ----------
    grid : Grid
        The run's configuration.
    paper : Grid, optional
        The paper's configuration, for the cost of trainings that the run lacks.
    measured : Measurements
        The results.
    decisions : sequence of Decision
        The verdict on each claim.
    root : Path
        The run's folder.
    """
    headline, lead = summary.headline(grid, measured, decisions)
    figures = [exhibits.figure(grid, name, decisions, root) for name in FIGURES.names()]
    tables = [exhibits.table(grid, name, decisions, root) for name in TABLES.names()]
    places = {e["name"]: e["number"] for e in [*figures, *tables]}
    found = curves.curves(measured)
    return dict(
        title=grid.title,
        headline=headline,
        lead=lead,
        tiles=summary.tiles(decisions),
        orderings=summary.orderings(decisions),
        differences=differences(grid, measured),
        choices=CHOICES,
        failures=cells.failures(grid, measured, root),
        main=[f for f in figures if f["name"] in MAIN],
        parity=parity.overview(decisions),
        curves=list(found.values()),
        case_studies=curves.case_studies(grid, found),
        figures=[f for f in figures if f["name"] not in MAIN],
        beyond=[exhibits.figure(grid, name, decisions, root) for name in BEYOND.names()],
        tables=tables,
        kinds=claims.by_kind(decisions, places, spending.Prices(grid, paper)),
        chapters=list(dict.fromkeys(d.claim.section.partition(",")[0] for d in decisions)),
        cells=cells.rows(grid, measured, found),
        stored=cells.stored(grid, root),
        cost=spending.overview(grid, paper, measured),
        provenance=cells.provenance(grid, measured),
    )
