"""A table as Markdown, LaTeX and CSV (standard library only)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from bnonly.console import plain

_LATEX = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "γ": r"$\gamma$",
    "β": r"$\beta$",
    "±": r"$\pm$",
    "−": r"$-$",
    "|": r"$|$",
    "×": r"$\times$",
    "²": r"$^2$",
}

#: Characters that start an element or a named character in HTML, and so in Markdown.
_HTML = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)")
#: A number as programs write it; a negative one starts like a formula.
_PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_NUMBER = re.compile(r"[−+]?\d[\d.]*[KM%]?( ± [\d.]+)?( \(\d+ diverged\))?")


@dataclass(frozen=True)
class Table:
    """The content of a table.

    Attributes
    ----------
    title : str
        One line.
    columns, rows
        As printed; the first column names the rows.
    exact_columns, exact_rows
        The exact numbers, not rounded, for the CSV file.
    groups : tuple of (str, int)
        Headings, each over so many columns, from the second column on; none if empty.
    grouped_by : str
        Name of the row of these headings.
    rules : tuple of int
        Numbers of rows after which LaTeX draws a line.
    notes : tuple of str
        Notes below the table.
    differences : str
        Differences between its cells and the paper's, in words; a column of the CSV file.
    widths : tuple of float
        Column widths as shares of the line.  If given, LaTeX wraps the cells and breaks the table over pages.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    exact_columns: Sequence[str]
    exact_rows: Sequence[Sequence[Any]]
    groups: tuple[tuple[str, int], ...] = ()
    grouped_by: str = ""
    rules: tuple[int, ...] = ()
    notes: tuple[str, ...] = field(default=())
    differences: str = ""
    widths: tuple[float, ...] = ()


def markdown(table: Table) -> str:
    """Return a table as GitHub's Markdown, with columns aligned in the source.

    Markdown has no cells over several columns, so the first row repeats a group's heading in each of its columns.
    """
    grouped = [[table.grouped_by, *(text for text, n in table.groups for _ in range(n))]] if table.groups else []
    # Markdown allows HTML, so foreign text must be escaped.
    cells = [[_text(c).replace("|", "\\|") for c in row] for row in (table.columns, *grouped, *table.rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(table.columns))]
    right = [False, *(_numeric(row[i] for row in table.rows) for i in range(1, len(table.columns)))]
    rule = [("-" * (w - 1) + ":" if r else "-" * w) for w, r in zip(widths, right, strict=True)]
    lines = []
    for row in (cells[0], rule, *cells[1:]):
        aligned = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        lines.append("| " + " | ".join(aligned) + " |")
    parts = [
        f"**{_text(table.title)}**",
        "\n".join(lines),
        *(_text(n) for n in table.notes),
    ]
    return "\n\n".join(parts) + "\n"


def latex(table: Table) -> str:
    """Return a table as a LaTeX ``table``, or with `widths` as a ``longtable``; its first line names the packages."""
    if table.widths:
        return _long_latex(table)
    aligned = ["l", *("r" if _numeric(row[i] for row in table.rows) else "l" for i in range(1, len(table.columns)))]
    head = []
    if table.groups:
        spans = [f"\\multicolumn{{{n}}}{{c}}{{{_escaped(text)}}}" for text, n in table.groups]
        head.append(" & ".join([_escaped(table.grouped_by), *spans]) + r" \\")
        first = 2
        lines = []
        for _, n in table.groups:
            lines.append(f"\\cmidrule(lr){{{first}-{first + n - 1}}}")
            first += n
        head.append("".join(lines))
    body = []
    for i, row in enumerate(table.rows):
        if i in table.rules:
            body.append(r"\midrule")
        body.append(" & ".join(_escaped(c) for c in row) + r" \\")
    return "\n".join(
        [
            "% Needs the packages booktabs and graphicx.",
            r"\begin{table}",
            r"\centering",
            f"\\caption{{{_caption(table)}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            f"\\begin{{tabular}}{{{''.join(aligned)}}}",
            r"\toprule",
            *head,
            " & ".join(_escaped(c) for c in table.columns) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def _long_latex(table: Table) -> str:
    # The space also lets TeX hyphenate the first word of a cell.
    start = r">{\raggedright\hspace{0pt}\arraybackslash}"
    columns = "".join(f"{start}p{{\\dimexpr{width:g}\\linewidth-2\\tabcolsep}}" for width in table.widths)
    head = [r"\toprule", " & ".join(_escaped(c) for c in table.columns) + r" \\", r"\midrule"]
    return "\n".join(
        [
            "% Needs the packages array, booktabs and longtable.",
            r"{\footnotesize\setlength{\tabcolsep}{3pt}",
            f"\\begin{{longtable}}{{{columns}}}",
            f"\\caption{{{_caption(table)}}} \\\\",
            *head,
            r"\endfirsthead",
            *head,
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            *(" & ".join(_divisible(c) for c in row) + r" \\" for row in table.rows),
            r"\end{longtable}}",
            "",
        ]
    )


def comma_separated(table: Table) -> str:
    """Return the exact numbers of a table as CSV; a missing number is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    mark = [("differences", table.differences)] if table.differences else []
    writer.writerow([*table.exact_columns, *(name for name, _ in mark)])
    for row in table.exact_rows:
        writer.writerow([*(_number(value) for value in row), *(text for _, text in mark)])
    return text.getvalue()


def _number(value: Any) -> Any:
    if isinstance(value, float):
        return "" if value != value else f"{value:.10g}"
    return not_a_formula(value) if isinstance(value, str) else value


def not_a_formula(text: str) -> str:
    """Return foreign text on one line, in a form that a spreadsheet shows instead of computing."""
    shown = plain(text)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) and not _PLAIN.fullmatch(shown) else shown


def _text(text: str) -> str:
    """Return text escaped so that Markdown finds no HTML in it."""
    return _HTML.sub(lambda found: escape(found[0]), text)


def _numeric(cells: Iterable[str]) -> bool:
    """Whether a column has only numbers, with or without a unit or a standard deviation."""
    return all(_NUMBER.fullmatch(c) for c in cells)


def _caption(table: Table) -> str:
    """Return title and notes without the paper's number, because LaTeX numbers tables itself."""
    return _escaped(" ".join([re.sub(r"^Table \w+: ", "", table.title), *table.notes]))


def _divisible(text: str) -> str:
    """Escape text, and allow breaks in long words after a slash, a hyphen and similar characters."""
    return "".join(_escaped(part) for part in re.sub(r"(?<=[/_=.,\-])(?=\w)", "\0", text)).replace(
        "\0", r"\hspace{0pt}"
    )


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text)
