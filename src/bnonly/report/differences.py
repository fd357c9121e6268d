"""Differences between a run and the paper, in the words of `bnonly.paper.deviations`, and the run's missing trainings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from bnonly.grid.resolve import Grid
from bnonly.paper.deviations import deviations, on_request, paper
from bnonly.verdicts.measure import Measurements


def differences(grid: Grid, measured: Measurements) -> list[tuple[str, list[str]]]:
    """Return the facts that a reader must know before comparing this run with the paper.

    Returns
    -------
    list of (str, list of str)
        The part of the run ("Everything" for the whole), and its differences; the whole comes first.
    """
    places = [(e.name, a, r) for e in grid.experiments.values() for a in e.architectures for r in e.regimes]
    whole = [e.name for e in paper().experiments.values() if not e.on_request]
    found: dict[str, list[str]] = defaultdict(list)
    for deviation in deviations(grid, places, whole):
        found[deviation.where].append(deviation.what)
    out = [(where or "Everything", what) for where, what in sorted(found.items(), key=lambda item: item[0] != "")]
    missing = list(_missing(grid, measured))
    return [*out, *([("Missing", missing)] if missing else [])]


def _missing(grid: Grid, measured: Measurements) -> Iterator[str]:
    for keys, what in (
        (grid.on_default(), "behind the figures and tables"),
        (on_request(grid), "for the paper's claims without a figure (tables/text_only.md)"),
    ):
        if absent := len(keys - set(measured.labels)):
            yield f"{absent:,} of the {len(keys):,} trainings {what}"
