"""The paper's numbers against ours: a plot with a dot for each claim, and the largest differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from bnonly.console import slug
from bnonly.report.claims import Comparison, compare, numbers
from bnonly.verdicts import table, verdict
from bnonly.verdicts.verdict import Decision

#: Side of the plotting area, and the margin for the axes' numbers, in units of the drawing.
SIDE, LEFT, BOTTOM, EDGE = 300.0, 46.0, 40.0, 10.0
MOST = 10
#: Dots that the plot names, largest difference first.
NAMED = 5

Pair = tuple[Decision, Comparison]


def overview(decisions: Sequence[Decision]) -> dict[str, Any]:
    """Return the plots and a list of the claims with the largest differences.

    Parameters
    ----------
    decisions : sequence of Decision
        The decisions on all claims.
    """
    pairs = [
        (d, c) for d in decisions if not d.claim.same_as and d.verdict != verdict.NOT_APPLICABLE and (c := compare(d))
    ]
    of = {kind: [p for p in pairs if p[0].claim.kind == kind] for kind in ("result", "count")}
    panels = [
        _panel("Results of training (%, points)", of["result"], _linear(of["result"])),
        _panel(
            "Parameter counts, and shares in %",
            [p for p in of["count"] if p[1].paper > 0 and p[1].ours > 0],
            _decades(of["count"]),
        ),
    ]
    shown = "result" if of["result"] else "count"
    largest = sorted(of[shown], key=lambda p: -p[1].tolerances)[:MOST]
    return {
        "panels": [p for p in panels if p],
        "results": len(of["result"]),
        "largest": [_row(d, c) for d, c in largest if c.difference],
    }


def _row(decision: Decision, compared: Comparison) -> dict[str, str]:
    size = f"{compared.tolerances:.1f}" if math.isfinite(compared.tolerances) else "–"
    return {**numbers(decision), "tolerances": size}


def _linear(pairs: Sequence[Pair]) -> tuple[list[float], Callable[[float], float]]:
    """Return ticks every 20, and a function from a number to its place (0 to 1) on an axis that holds all of them."""
    values = [v for _, c in pairs for v in (c.paper, c.ours)]
    low, high = 20 * math.floor(min(values, default=0) / 20), 20 * math.ceil(max(values, default=100) / 20)
    ticks = [float(v) for v in range(min(0, low), max(100, high) + 1, 20)]
    return ticks, lambda value: (value - ticks[0]) / (ticks[-1] - ticks[0])


def _decades(pairs: Sequence[Pair]) -> tuple[list[float], Callable[[float], float]]:
    """The same for counts, with a tick at every second power of ten."""
    powers = [math.log10(v) for _, c in pairs for v in (c.paper, c.ours) if v > 0]
    low, high = math.floor(min(powers, default=0)), math.ceil(max(powers, default=1))
    ticks = [10.0**i for i in range(low, high + 1) if i % 2 == 0]
    return ticks, lambda value: (math.log10(value) - low) / (high - low)


def _panel(
    title: str, pairs: Sequence[Pair], axis: tuple[list[float], Callable[[float], float]]
) -> dict[str, Any] | None:
    if not pairs:
        return None
    ticks, place = axis

    def x(value: float) -> float:
        return round(LEFT + SIDE * place(value), 1)

    def y(value: float) -> float:
        return round(EDGE + SIDE * (1 - min(1.0, max(0.0, place(value)))), 1)

    ranked = sorted(pairs, key=lambda p: p[1].tolerances)  # the largest difference is drawn last, on top
    dots = [
        {
            "x": x(c.paper),
            "y": y(c.ours),
            "low": y(c.low),
            "high": y(c.high),
            "slug": slug(d.verdict),
            "text": f"{d.claim.id}: paper {d.claim.value}, ours {table.number(c.ours)}, {d.verdict}",
        }
        for d, c in ranked
    ]
    labels: list[dict[str, Any]] = []
    for dot, (decision, c) in list(zip(dots, ranked, strict=True))[: -NAMED - 1 : -1]:
        free = all(abs(dot["x"] - other["x"]) > 40 or abs(dot["y"] - other["y"]) > 10 for other in labels)
        if c.tolerances > 1 and free:
            labels.append({"x": dot["x"], "y": dot["y"], "text": decision.claim.id})
    near = sum(c.tolerances <= 1 for _, c in pairs)
    return {
        "title": title,
        "text": f"{title}: the paper's number against ours for {len(pairs)} claims. {near} differ by no more than the rule accepts.",
        "width": LEFT + SIDE + EDGE,
        "height": EDGE + SIDE + BOTTOM,
        "box": {"x": LEFT, "y": EDGE, "side": SIDE},
        "ticks": [{"x": x(t), "y": y(t), "text": _tick(t)} for t in ticks],
        "dots": dots,
        "labels": labels,
    }


def _tick(value: float) -> str:
    if value < 1000:
        return f"{value:g}".replace("-", "−")
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}K"
