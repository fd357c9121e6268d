"""What a figure or table needs, and what it is given (standard library only; the Snakefile imports this).

A figure's module states its `NEEDS`; `request` turns them, with a grid, into plain data: panels, series, cells and their
digests.  The workflow derives the inputs from it and passes it to `bnonly figure` as a parameter, so that a figure is
redrawn exactly when something it shows has changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnonly import paths
from bnonly.errors import UserError, accepted
from bnonly.grid.cell import Key
from bnonly.grid.datasets import DATASETS
from bnonly.grid.resolve import Experiment, Grid


@dataclass(frozen=True)
class Need:
    """One panel: an experiment of the grid, some of its regimes, and the files read.

    Attributes
    ----------
    experiment : str
        Name in config.yaml; its architectures, in their order, are the x axis.
    regimes : tuple of str
        The series, in the order of the legend.
    files : tuple of str
        Keys of `bnonly.paths.PARQUET`; none of them: the architectures alone, without a cell.
    case_study : bool
        Only the experiment's case study instead of all architectures (Figure 4).
    among : str
        Only the architectures that this other experiment has as well (a reference for it); empty: all.
    """

    experiment: str
    regimes: tuple[str, ...]
    files: tuple[str, ...] = ("metrics",)
    case_study: bool = False
    among: str = ""


def request(grid: Grid, name: str, needs: Sequence[Need]) -> dict[str, Any]:
    """Resolve a figure's needs against a grid.

    Parameters
    ----------
    grid : Grid
        The resolved configuration.
    name : str
        The figure or table, for messages.
    needs : sequence of Need
        Its panels.

    Returns
    -------
    dict
        ``{"name", "run", "absent": [experiments that the grid leaves out], "labels": {regime: text}, "panels": [{"experiment", "title", "dataset",
        "dataset_title", "paper_data", "classes", "regimes", "files", "architectures": [{"name", "label", "folder", "family", "depth",
        "channels"}], "cells": {folder: {regime: {seed: digest}}}}]}``, JSON-able and canonical.

    Raises
    ------
    UserError
        If the grid lacks all of the experiments, a regime of one it has, or its case study.
    """
    panels = []
    labels: dict[str, str] = {}
    # A run may leave whole experiments out (one GPU, no ImageNet): its figures then have fewer panels, and say so.
    lacking = [n for n in needs if {n.experiment, n.among or n.experiment} - set(grid.experiments)]
    absent = [n.experiment for n in lacking if n.experiment not in grid.experiments]
    for need in needs:
        if need in lacking and len(lacking) < len(needs):
            continue
        experiment = _experiment(grid, name, need.experiment)
        for regime in need.regimes:
            if regime not in experiment.regimes:
                file = grid.source.of(("experiments", need.experiment, "regimes"))
                raise UserError(
                    f"{file}: {name} needs regime '{regime}' in experiments.{need.experiment}.regimes; add it"
                )
        names = experiment.architectures
        if need.case_study:
            if not experiment.case_study:
                raise UserError(
                    f"{grid.source}: {name} needs experiments.{need.experiment}.case_study; name one of its architectures"
                )
            names = (experiment.case_study,)
        if need.among:
            names = tuple(a for a in names if a in _experiment(grid, name, need.among).architectures)
            if not names:
                raise UserError(
                    f"{grid.source}: {name} compares experiments.{need.among} with experiments.{need.experiment}; "
                    "give both at least one architecture in common"
                )
        cells: dict[str, dict[str, dict[str, str]]] = {}
        archs = []
        for arch in names:
            folder = grid.aliases.get(arch, arch)
            for regime in need.regimes if need.files else ():
                cells.setdefault(folder, {})[regime] = {
                    str(s): grid.cell(folder, regime, s).digest() for s in experiment.seeds
                }
            spec = grid.cell(folder, experiment.regimes[0], experiment.seeds[0]).architecture
            archs.append(
                {
                    "name": arch,
                    "label": grid.architecture_labels[arch],
                    "folder": folder,
                    "family": spec.family,
                    "depth": spec.depth,
                    "channels": spec.channels,
                }
            )
        labels.update({r: grid.regime_labels[r] for r in need.regimes})
        data = DATASETS[experiment.dataset]
        panels.append(
            {
                "experiment": experiment.name,
                "title": experiment.title,
                "dataset": experiment.dataset,
                "dataset_title": data.title,
                "paper_data": data.paper,
                "classes": data.classes,
                "regimes": list(need.regimes),
                "files": list(need.files),
                "architectures": archs,
                "cells": cells,
            }
        )
    return {"name": name, "run": grid.title, "labels": labels, "panels": panels, "absent": absent}


def _experiment(grid: Grid, name: str, experiment: str) -> Experiment:
    if experiment not in grid.experiments:
        raise UserError(
            f"{grid.source}: {name} needs experiments.{experiment}, which is not there; "
            f"{accepted(experiment, grid.experiments)}"
        )
    return grid.experiments[experiment]


def canonical(asked: dict[str, Any]) -> str:
    """Return a request as canonical JSON, for the workflow's `params`."""
    return json.dumps(asked, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def cells(asked: dict[str, Any]) -> Iterator[tuple[Key, str]]:
    """Yield key and digest of every cell behind a request, each once."""
    seen = set()
    for panel in asked["panels"]:
        for folder, by_regime in panel["cells"].items():
            for regime, by_seed in by_regime.items():
                for seed, digest in by_seed.items():
                    key = Key(folder, regime, int(seed))
                    if key not in seen:
                        seen.add(key)
                        yield key, digest


def files(asked: dict[str, Any]) -> list[Path]:
    """Return every file that a request reads, each once, in order."""
    out: dict[Path, None] = {}
    for panel in asked["panels"]:
        for folder, by_regime in panel["cells"].items():
            for regime, by_seed in by_regime.items():
                for seed in by_seed:
                    for kind in panel["files"]:
                        out[Key(folder, regime, int(seed)).folder / paths.PARQUET[kind]] = None
    return list(out)
