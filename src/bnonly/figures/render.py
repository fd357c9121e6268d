"""Draw a figure from its request, and write it as PDF, PNG and CSV; redrawing gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

from bnonly import paths
from bnonly.figures.catalog import BEYOND, FIGURES
from bnonly.figures.drawing.sheet import Sheet
from bnonly.figures.drawing.style import RC
from bnonly.figures.needs import Request
from bnonly.figures.tables.layout import not_a_formula
from bnonly.figures.values import Results
from bnonly.results import atomic


@contextmanager
def look() -> Iterator[None]:
    """Use matplotlib's defaults and this project's style, independent of the user's matplotlibrc."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        parameters: Any = matplotlib.rcParams
        parameters.update(RC)
        yield


def compose(request: Request, root: Path = Path(".")) -> Sheet:
    """Draw a figure of a catalog; call it within `look`.

    Parameters
    ----------
    request : Request
        The figure's request.
    root : Path
        The run's folder, which contains ``results/``.

    Raises
    ------
    UserError
        If there is no such figure, or a result is missing, damaged or of another configuration.
    """
    beyond = request.name in BEYOND.names()
    return page((BEYOND if beyond else FIGURES).module(request.name).draw, request, root, beyond)


def page(draw: Callable[[Sheet, Results], None], request: Request, root: Path, beyond: bool) -> Sheet:
    """Draw panels, and below them what a reader must know; call it within `look`.

    Parameters
    ----------
    draw : callable
        Draws the panels.
    request : Request
        The request, with its results.
    root : Path
        The run's folder.
    beyond : bool
        Whether the paper has no such figure.

    Raises
    ------
    UserError
        If a result is missing, damaged or of another configuration.
    """
    data = Results(request, root)
    sheet = Sheet()
    draw(sheet, data)
    diverged, runs = data.diverged()
    left_out = "runs without a finite value are left out of the means" if sheet.lacking else ""
    if diverged:
        sheet.note(
            f"× k/n: k of n runs diverged ({diverged} of {runs} in all); "
            f"they count with what was measured when they stopped{f'; {left_out}' if left_out else ''}."
        )
    elif left_out:
        sheet.note(f"{left_out.capitalize()}.")
    if sheet.outside:
        sheet.note(f"Up to {100 * sheet.outside:.2g}% of a distribution's values lie beyond its axis.")
    if request.remarks:
        sheet.note(f"For comparison with the paper: {request.remarks}.")
    if beyond:
        sheet.warn("Beyond the paper, which has no such figure.")
    if request.differences:
        about = "In comparison with the paper" if beyond else "Not the paper's figure"
        sheet.warn(f"{about}: {request.differences}.")
    sheet.finish()
    return sheet


def render(request: Request, folder: Path = paths.FIGURES, root: Path = Path(".")) -> list[Path]:
    """Draw a figure and write its files.

    Parameters
    ----------
    request : Request
        The figure's request.
    folder : Path
        Output folder, relative to `root`.
    root : Path
        The run's folder.

    Returns
    -------
    list of Path
        The PDF, PNG (200 dpi) and CSV file.

    Raises
    ------
    UserError
        If a result is missing, damaged or of another configuration, or a file cannot be written.
    """
    name = request.name
    made = [root / folder / f"{name}.{suffix}" for suffix in paths.FIGURE_FORMATS]
    with look():
        sheet = compose(request, root)
        for path in made:
            write(sheet, path, (BEYOND if name in BEYOND.names() else FIGURES).title(name))
    return made


def write(sheet: Sheet, path: Path, title: str) -> None:
    """Write a figure to a .pdf or .png file, or its numbers to a .csv file; call it within `look`."""
    with atomic.writing(path) as stream:
        if path.suffix == ".csv":
            numbers = sheet.numbers.map(lambda v: not_a_formula(v) if isinstance(v, str) else v)
            stream.write(numbers.to_csv(index=False, float_format="%.10g").encode())
        elif path.suffix == ".pdf":
            # Omit dates and versions, so that equal figures are equal files.
            metadata = {"Title": title, "Subject": " ".join(sheet.warnings) or None}
            metadata |= {"Producer": None, "CreationDate": None}
            sheet.figure.savefig(stream, format="pdf", metadata=metadata)
        else:
            sheet.figure.savefig(stream, format="png", metadata={"Software": None})
