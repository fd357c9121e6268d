"""The page of a figure: panels above, one legend and the notes below, and the numbers behind the plot.

The module imports matplotlib and pandas on use, and never pyplot: figure modules name `Sheet` in their signatures, and
the Snakefile imports figure modules.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bnonly.figures.drawing.style import SMALLEST

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend
    from matplotlib.text import Text

#: Widths of a text block and of a full page, in inches.
COLUMN = 5.5
PAGE = 7.0
#: Space between panels, legend and notes, and at the edge, in inches.
GAP = 0.06
#: Smallest distance between two tick labels, in points.
TICK_GAP = 1.5


class Sheet:
    """A figure under construction.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        The page.
    axes : list of matplotlib.axes.Axes
        Its panels, row by row.
    """

    def __init__(self) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure = Figure(layout="constrained")
        FigureCanvasAgg(self.figure)
        self.axes: list[Axes] = []
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.findings: list[str] = []
        #: Largest share of a distribution beyond its axis; whether some runs have no value to show.
        self.outside = 0.0
        self.lacking = False
        self._entries: dict[tuple[str, str], Artist] = {}
        self._frames: list[pd.DataFrame] = []
        self._body = (0.0, 0.0)
        self._columns = 1
        self._empty: Axes | None = None

    def grid(
        self, count: int, columns: int, width: float, height: float, shares: Sequence[float] | None = None
    ) -> list[Axes]:
        """Lay out the panels.

        Parameters
        ----------
        count, columns : int
            Number of panels, and of panels per row.
        width, height : float
            Width of the figure without legend and notes, and height of a row, in inches.
        shares : sequence of float, optional
            Relative widths of the columns.
        """
        rows = math.ceil(count / columns)
        self._body = width, rows * height
        self._columns = columns
        self.figure.set_size_inches(*self._body)
        cells = self.figure.subplots(rows, columns, squeeze=False, width_ratios=shares).flatten().tolist()
        self.axes = cells[:count]
        for cell in cells[count:]:
            cell.set_axis_off()
            self._empty = self._empty or cell
        return self.axes

    def heading(self, text: str) -> None:
        """Set the text above all panels."""
        self.figure.suptitle(text)

    def entry(self, label: str, handle: Artist, group: str = "") -> None:
        """Add an entry to the figure's only legend.

        A label that its group already has is not repeated; a group stays in one row if it fits.
        """
        self._entries.setdefault((group, label), handle)

    def note(self, text: str) -> None:
        """Add a line below the legend, unless it is there already."""
        if text not in self.notes:
            self.notes.append(text)

    def find(self, text: str) -> None:
        """State a finding in one sentence with the figure's numbers; it comes first in the footer and in the CSV file."""
        self.findings.append(text)

    def warn(self, text: str) -> None:
        """Add a warning line at the foot of the page."""
        if text not in self.warnings:
            self.warnings.append(text)

    def record(self, frame: pd.DataFrame) -> None:
        """Keep numbers of the figure for its CSV file."""
        self._frames.append(frame)

    @property
    def numbers(self) -> pd.DataFrame:
        """All recorded rows, in order; columns that a row lacks are empty."""
        import pandas as pd

        columns = list(dict.fromkeys(itertools.chain.from_iterable(f.columns for f in self._frames)))
        rows = [row for frame in self._frames for row in frame.to_dict("records")]
        numbers = pd.DataFrame(rows, columns=columns)
        return numbers.assign(finding=" ".join(self.findings)) if self.findings else numbers

    def finish(self) -> None:
        """Place the legend and the notes, adapt the page's height to them, and fit labels to their panels."""
        width, height = self._body
        legend = None if self._legend_in_empty_panel() else self._legend_below(width)
        notes = (
            self._text([*self.findings, *self.notes], color="0.3"),
            self._text(self.warnings, color="0.0", weight="bold"),
        )
        footers = [artist for artist in (legend, *notes) if artist]
        self._arrange(height, footers)
        self._wrap_labels()
        longest = self._clear_ticks()
        if longest:
            self._arrange(height + longest * math.ceil(len(self.axes) / self._columns), footers)
        # The layout is final now: the PDF and the PNG share it.
        self.figure.set_layout_engine("none")

    def _arrange(self, height: float, footers: Sequence[Any]) -> None:
        """Lay out the page: panels of `height` inches in all, the footers below them."""
        width, below = self._body[0], GAP
        places = []
        for artist in reversed(footers):
            places.append((artist, below))
            below += self._inches(artist)[1] + GAP
        total = height + below
        self.figure.set_size_inches(width, total)
        for artist, bottom in places:
            if hasattr(artist, "set_bbox_to_anchor"):
                artist.set_bbox_to_anchor((0.5, bottom / total))
            else:
                artist.set_position((GAP / width, bottom / total))
        engine: Any = self.figure.get_layout_engine()
        engine.set(rect=(0.0, below / total, 1.0, height / total))
        self.figure.draw_without_rendering()

    def _legend_in_empty_panel(self) -> bool:
        if self._empty is None or not self._entries:
            return False
        handles, labels = self._by_rows(1)
        legend = self._empty.legend(handles, labels, loc="center")
        legend.set_in_layout(False)
        self.figure.draw_without_rendering()
        room = self._empty.get_window_extent()
        if self._inches(legend)[0] * self.figure.dpi <= room.width:
            return True
        legend.remove()
        return False

    def _legend_below(self, width: float) -> Legend | None:
        count = len(self._entries)
        if not count:
            return None
        # Take the fewest rows that fit, then the fewest columns for that number of rows.
        for rows in range(1, count + 1):
            columns = math.ceil(count / rows)
            handles, labels = self._by_rows(columns)
            legend = self.figure.legend(handles, labels, loc="lower center", ncols=columns)
            legend.set_in_layout(False)
            if columns == 1 or self._inches(legend)[0] <= width - 2 * GAP:
                return legend
            legend.remove()
        return None

    def _by_rows(self, columns: int) -> tuple[list[Artist], list[str]]:
        from matplotlib.lines import Line2D

        groups: dict[str, list[tuple[Artist, str]]] = {}
        for (group, label), handle in self._entries.items():
            groups.setdefault(group or label, []).append((handle, label))
        rows: list[list[tuple[Artist, str]]] = []
        for entries in groups.values():
            for together in [entries] if len(entries) <= columns else [[entry] for entry in entries]:
                row = next((r for r in rows if len(r) + len(together) <= columns), None)
                if row is None:
                    rows.append(row := [])
                row += together
        # matplotlib fills a legend by columns; readers expect rows.
        blank = Line2D([], [], linestyle="none"), ""
        ordered = [row[column] if column < len(row) else blank for column in range(columns) for row in rows]
        return [handle for handle, _ in ordered], [label for _, label in ordered]

    def _text(self, paragraphs: Sequence[str], **look: Any) -> Text | None:
        if not paragraphs:
            return None
        text = self.figure.text(0, 0, "", fontsize=SMALLEST, va="bottom", ha="left", linespacing=1.3, **look)
        text.set_in_layout(False)
        room = self._body[0] - 2 * GAP
        text.set_text("\n".join(self._wrapped(text, paragraph, room) for paragraph in paragraphs))
        return text

    def _wrapped(self, text: Text, words: str, room: float) -> str:
        """Break words into lines of at most `room` inches in the type of `text`; this overwrites its content."""
        along = 1 if text.get_rotation() else 0  # y labels run upwards
        lines = [""]
        for word in words.split():
            longer = f"{lines[-1]} {word}".strip()
            text.set_text(longer)
            if lines[-1] and self._inches(text)[along] > room:
                lines.append(word)
            else:
                lines[-1] = longer
        return "\n".join(lines)

    def _wrap_labels(self) -> None:
        """Break titles and axis labels that are longer than their panel."""
        wrapped = False
        for ax in self.axes:
            box = ax.get_window_extent()
            width, height = box.width / self.figure.dpi, box.height / self.figure.dpi
            for text, most, along in ((ax.title, width, 0), (ax.xaxis.label, width, 0), (ax.yaxis.label, height, 1)):
                if self._inches(text)[along] <= most:
                    continue
                words = text.get_text()
                # As few lines as fit, all of similar length.
                broken = [self._wrapped(text, words, most * share) for share in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)]
                fewest = broken[0].count("\n")
                text.set_text([b for b in broken if b.count("\n") == fewest][-1])
                wrapped = True
        if wrapped:
            self.figure.draw_without_rendering()

    def _inches(self, artist: Artist) -> tuple[float, float]:
        box = artist.get_window_extent(self.figure.canvas.get_renderer())  # type: ignore[attr-defined]
        return box.width / self.figure.dpi, box.height / self.figure.dpi

    def _clear_ticks(self) -> float:
        """Shrink x tick labels that collide; if they still do, rotate them and return the longest one's length in inches."""
        for ax in filter(self._collide, self.axes):
            ax.tick_params(axis="x", labelsize=SMALLEST)
        colliding = [ax for ax in self.axes if self._collide(ax)]
        for ax in colliding:
            ax.tick_params(axis="x", labelrotation=90)
        return max((self._inches(t)[1] for ax in colliding for t in ax.get_xticklabels()), default=0.0)

    def _collide(self, ax: Axes) -> bool:
        boxes = [t.get_window_extent() for t in ax.get_xticklabels() if t.get_text() and t.get_visible()]
        gap = TICK_GAP * self.figure.dpi / 72
        return any(right.x0 - left.x1 < gap for left, right in itertools.pairwise(boxes))
