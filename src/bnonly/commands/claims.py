"""``bnonly claims`` and ``report``: test the paper's claims against the results."""

from __future__ import annotations

import argparse
from pathlib import Path

from bnonly import paths
from bnonly.commands import setup
from bnonly.config.layers import Layers, read_yaml
from bnonly.figures.staleness import made_from_run, record
from bnonly.grid.datasets import with_counts
from bnonly.grid.resolve import Grid, resolve


def add(commands: setup.Commands) -> None:
    """Add the commands."""
    claims = setup.command(
        commands, "claims", run_claims, "decide every claim of the paper from the results so far", tells=True
    )
    report = setup.command(
        commands,
        "report",
        run_report,
        "write report.html: verdicts, figures, tables, deviations and cost in one file",
    )
    report.add_argument("--paper", metavar="FILE", help="the paper's configuration (default: --config)")
    for parser in (claims, report):
        parser.add_argument(
            "--file", type=Path, metavar="FILE", help="your own claims instead of the paper's (docs/claims.md)"
        )


def run_claims(options: argparse.Namespace) -> int:
    """Decide every claim from the results so far."""
    source = options.file and options.file.resolve()
    found = setup.read(options)
    from bnonly.verdicts import table
    from bnonly.verdicts.judge import judge

    _, decisions = judge(found.grid, source)
    made = table.write(decisions, found.grid.title)
    record("claims", made_from_run(found.grid, ("paper", "verdicts"), source), map(str, made))
    files, summary = [str(path) for path in made], table.summary(decisions)
    content = {"made": files, "summary": summary, "claims": [table.row(d) for d in decisions]}
    setup.tell(options, content, lambda: "\n".join([*map(paths.shown, made), summary]))
    return 0


def run_report(options: argparse.Namespace) -> int:
    """Write the report."""
    paper, source = _paper(options), options.file and options.file.resolve()
    found = setup.read(options)
    from bnonly.report.write import report

    path = report(found.grid, paper, source)
    record("report", made_from_run(found.grid, ("paper", "verdicts", "report"), source), [str(path)])
    print(paths.shown(path))
    return 0


def _paper(options: argparse.Namespace) -> Grid | None:
    """Return the configuration without overrides: it has the paper's cells and so their cost."""
    source = Path(options.paper or options.config)
    if not source.exists():
        return None
    files = Layers((str(source), read_yaml(source)))
    return resolve(with_counts(files.merged(), files, setup.data_folder(options, source.parent)), files)
