"""The page a figure is drawn on: panels above, one legend and the notes below, and the numbers behind the plot.

matplotlib and pandas are imported on use, and never pyplot: figure modules name `Sheet` in their signatures, and the
Snakefile imports figure modules.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from bnonly.figures.style import NOTE_SIZE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend
    from matplotlib.text import Text

#: Widths of a text block and of a full page, in inches.
COLUMN = 5.5
PAGE = 7.0
#: Room between panels, legend and notes, and at the edge, in inches.
GAP = 0.06
#: Least distance between two tick labels, in points.
TICK_GAP = 2.0


class Sheet:
    """One figure in the making.

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
        self._entries: dict[str, Any] = {}
        self._frames: list[pd.DataFrame] = []
        self._body = (0.0, 0.0)
        self._empty: Axes | None = None

    def grid(self, count: int, columns: int, width: float, height: float) -> list[Axes]:
        """Lay out the panels.

        Parameters
        ----------
        count, columns : int
            How many panels, and how many in a row.
        width, height : float
            Of the whole figure without legend and notes, and of one row, in inches.
        """
        rows = math.ceil(count / columns)
        self._body = width, rows * height
        self.figure.set_size_inches(*self._body)
        cells = self.figure.subplots(rows, columns, squeeze=False).flatten().tolist()
        self.axes = cells[:count]
        for cell in cells[count:]:
            cell.set_axis_off()
            self._empty = self._empty or cell
        return self.axes

    def heading(self, text: str) -> None:
        """Set the line above all panels."""
        self.figure.suptitle(text)

    def entry(self, label: str, handle: Any) -> None:
        """Add an entry to the figure's one legend; a label that is there already is not repeated."""
        self._entries.setdefault(label, handle)

    def note(self, text: str) -> None:
        """Add a line below the legend; one that is there already is not repeated."""
        if text not in self.notes:
            self.notes.append(text)

    def record(self, frame: pd.DataFrame) -> None:
        """Keep numbers that the figure shows, for its CSV file."""
        self._frames.append(frame)

    @property
    def numbers(self) -> pd.DataFrame:
        """Everything recorded, in order; a column that some rows lack is empty there."""
        import pandas as pd

        columns = list(dict.fromkeys(itertools.chain.from_iterable(f.columns for f in self._frames)))
        rows = [row for frame in self._frames for row in frame.to_dict("records")]
        return pd.DataFrame(rows, columns=columns)

    def finish(self) -> None:
        """Place the legend and the notes, make the page as high as they need, and clear colliding tick labels."""
        width, height = self._body
        legend = None if self._legend_in_empty_panel() else self._legend_below(width)
        notes = self._wrapped_notes(width)
        below = GAP
        if notes:
            notes.set_position((GAP / width, 0.0))
            note_height = self._inches(notes)[1]
            note_bottom, below = below, below + note_height + GAP
        if legend:
            legend_height = self._inches(legend)[1]
            legend_bottom, below = below, below + legend_height + GAP
        total = height + below
        self.figure.set_size_inches(width, total)
        if notes:
            notes.set_y(note_bottom / total)
        if legend:
            legend.set_bbox_to_anchor((0.5, legend_bottom / total))
        engine: Any = self.figure.get_layout_engine()
        engine.set(rect=(0.0, below / total, 1.0, height / total))
        self.figure.draw_without_rendering()
        if self._clear_ticks():
            self.figure.draw_without_rendering()
        # From here on nothing moves: the PDF and the PNG get the same layout.
        self.figure.set_layout_engine("none")

    def _legend_in_empty_panel(self) -> bool:
        if self._empty is None or not self._entries:
            return False
        legend = self._empty.legend(self._entries.values(), self._entries.keys(), loc="center")
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
        # The fewest rows that fit, then the fewest columns that fill as many rows.
        for rows in range(1, count + 1):
            columns = math.ceil(count / rows)
            handles, labels = self._by_rows(columns)
            legend = self.figure.legend(handles, labels, loc="lower center", ncols=columns)
            legend.set_in_layout(False)
            if columns == 1 or self._inches(legend)[0] <= width - 2 * GAP:
                return legend
            legend.remove()
        return None

    def _by_rows(self, columns: int) -> tuple[list[Any], list[str]]:
        # matplotlib fills a legend column by column; reading order is row by row.
        labels = list(self._entries)
        rows = math.ceil(len(labels) / columns)
        full = len(labels) - (rows - 1) * columns
        order = []
        for column in range(columns):
            order += [row * columns + column for row in range(rows if column < full else rows - 1)]
        return [self._entries[labels[i]] for i in order], [labels[i] for i in order]

    def _wrapped_notes(self, width: float) -> Text | None:
        if not self.notes:
            return None
        text = self.figure.text(0, 0, "", fontsize=NOTE_SIZE, color="0.3", va="bottom", ha="left", linespacing=1.3)
        text.set_in_layout(False)
        lines: list[str] = []
        for note in self.notes:
            line = ""
            for word in note.split():
                longer = f"{line} {word}".strip()
                text.set_text(longer)
                if line and self._inches(text)[0] > width - 2 * GAP:
                    lines.append(line)
                    longer = word
                line = longer
            lines.append(line)
        text.set_text("\n".join(lines))
        return text

    def _inches(self, artist: Artist) -> tuple[float, float]:
        box = artist.get_window_extent(self.figure.canvas.get_renderer())  # type: ignore[attr-defined]
        return box.width / self.figure.dpi, box.height / self.figure.dpi

    def _clear_ticks(self) -> bool:
        """Turn the x tick labels of panels where they collide upright; say whether any were."""
        turned = False
        for ax in self.axes:
            labels = [t for t in ax.get_xticklabels() if t.get_text() and t.get_visible()]
            boxes = [t.get_window_extent() for t in labels]
            gap = TICK_GAP * self.figure.dpi / 72
            if any(b.x0 - a.x1 < gap for a, b in itertools.pairwise(boxes)):
                ax.tick_params(axis="x", labelrotation=90)
                turned = True
        return turned
