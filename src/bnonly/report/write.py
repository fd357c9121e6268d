"""Write ``report.html``: one file that contains its style, script, figures and numbers."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bnonly import paths
from bnonly.console import plain, slug
from bnonly.grid.resolve import Grid
from bnonly.report.content import collect
from bnonly.results import atomic
from bnonly.verdicts.judge import judge
from bnonly.verdicts.verdict import VERDICTS

HERE = Path(__file__).parent
#: Shape and letter of each verdict, so that colour is never the only sign.
MARKS = dict(zip(VERDICTS, "✓✗?○–!↗", strict=True))


def report(grid: Grid, paper: Grid | None = None, source: Path | None = None, root: Path = Path(".")) -> Path:
    """Write the report of a run, finished or not.

    Parameters
    ----------
    grid : Grid
        The run's configuration.
    paper : Grid, optional
        The paper's configuration, for the cost of trainings that this run lacks.
    source : Path, optional
        A claims file that replaces the paper's.
    root : Path
        The run's folder.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UserError
        If the claims file has a mistake, results of different data or engines lie side by side, or the file cannot be written.
    """
    measured, decisions = judge(grid, source, root)
    content = collect(grid, paper, measured, decisions, root)
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_typeset,
    )
    environment.filters["slug"] = slug
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    text = environment.get_template("report.html.j2").render(
        **content,
        marks=MARKS,
        # Our own files, not data; the policy below allows no other style or script, and no request from the page.
        style=style,
        script=script,
        policy=(
            "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
            f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
        ),
    )
    path = root / paths.REPORT
    with atomic.writing(path) as stream:
        stream.write(text.encode())
    return path


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _typeset(value: object) -> object:
    """Set typographic apostrophes and remove control characters from foreign text; leave markup unchanged."""
    return plain(value).replace("'", "’") if type(value) is str else value
