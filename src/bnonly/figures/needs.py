"""The needs and the request of a figure or table (standard library and yaml; the Snakefile imports this).

A figure's module states its `NEEDS`.  `request` resolves them against a grid into a `Request`: panels, series, cells and
their digests.  The workflow derives a figure's inputs from it, and redraws the figure exactly when it changes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly import paths
from bnonly.console import listed
from bnonly.errors import UserError, accepted
from bnonly.grid.cell import Key
from bnonly.grid.datasets import DATASETS
from bnonly.grid.resolve import Experiment, Grid
from bnonly.paper.deviations import deviations, in_words

if TYPE_CHECKING:
    from bnonly.paper.catalog import Stated


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
        Keys of `bnonly.paths.TRAINED` and `ANALYSED`; if empty, the panel needs the architectures without cells.
    case_study : bool
        Whether only the experiment's case study is shown (Figure 4).
    among : str
        Another experiment as a reference: only architectures that it has too are shown.  Empty: all.
    also : bool
        Whether the user's own regimes (``also`` of the experiment) are shown beside them.
    """

    experiment: str
    regimes: tuple[str, ...]
    files: tuple[str, ...] = ("metrics",)
    case_study: bool = False
    among: str = ""
    also: bool = False

    def series(self, experiment: Experiment) -> tuple[str, ...]:
        """Return the regimes of the panel."""
        return tuple(dict.fromkeys((*self.regimes, *(experiment.also if self.also else ()))))


@dataclass(frozen=True)
class Architecture:
    """A position on a panel's x axis; two architectures may share a folder (WRN-14-1 is ResNet-14)."""

    name: str
    label: str
    folder: str
    family: str
    depth: int
    channels: int


@dataclass(frozen=True)
class Panel:
    """An experiment as a figure shows it.

    Attributes
    ----------
    paper_data : bool
        Whether the paper's numbers are about this data set.
    cells : dict
        Digests of the cells by architecture's folder, regime and seed; empty if only architectures are shown.
    """

    experiment: str
    title: str
    dataset: str
    dataset_title: str
    paper_data: bool
    classes: int
    regimes: tuple[str, ...]
    files: tuple[str, ...]
    architectures: tuple[Architecture, ...]
    cells: Mapping[str, Mapping[str, Mapping[int, str]]]

    @property
    def axis_title(self) -> str:
        """The title; it adds the data set if the experiment's title could mean another one."""
        others = {info.title for info in DATASETS.values()} - {self.dataset_title}
        if self.dataset_title in self.title or (self.paper_data and not any(name in self.title for name in others)):
            return self.title
        return f"{self.title}, on {self.dataset_title}"

    def short_name(self, architecture: Architecture) -> str:
        """Return an architecture's label without the data set, which the panel names."""
        return architecture.label.removeprefix(f"{self.dataset_title}-")

    def chance(self, top: int = 1) -> float:
        """Return the accuracy of guessing, in percent."""
        return 100.0 * min(1.0, top / self.classes)

    def replicates(self, architecture: Architecture, regime: str) -> list[Key]:
        """Return the cells behind one point."""
        return [Key(architecture.folder, regime, seed) for seed in self.cells[architecture.folder][regime]]

    def keys(self) -> Iterator[tuple[Key, str]]:
        """Yield key and digest of every cell."""
        for folder, by_regime in self.cells.items():
            for regime, by_seed in by_regime.items():
                for seed, digest in by_seed.items():
                    yield Key(folder, regime, seed), digest


@dataclass(frozen=True)
class Request:
    """The complete request of a figure or table.

    Attributes
    ----------
    name : str
        The figure or table.
    labels : dict
        Legend label of each regime.
    panels : tuple of Panel
        The panels, without those of experiments that the grid lacks.
    differences : str
        Differences between its cells and the paper's, in words (`bnonly.paper.deviations`); empty for the paper's figure.
    remarks : str
        Differences that do not make it another figure, such as engine and precision.
    stated : tuple of Stated
        The paper's values for some points, if the configuration enables them.
    """

    name: str
    labels: Mapping[str, str]
    panels: tuple[Panel, ...]
    differences: str = ""
    remarks: str = ""
    stated: tuple[Stated, ...] = ()

    def to_json(self) -> str:
        """Return the canonical JSON, whose changes the workflow detects."""
        return canonical(dataclasses.asdict(self))

    def cells(self) -> dict[Key, str]:
        """Return the digests of all its cells by key, in order."""
        return {key: digest for panel in self.panels for key, digest in panel.keys()}

    def files(self) -> list[Path]:
        """Return all its input files, each once, in order."""
        found = {
            key.folder / (paths.TRAINED | paths.ANALYSED)[kind]: None
            for panel in self.panels
            for key, _ in panel.keys()
            for kind in panel.files
        }
        return list(found)


def request(grid: Grid, name: str, needs: Sequence[Need]) -> Request:
    """Resolve a figure's needs against a grid.

    Parameters
    ----------
    grid : Grid
        The resolved configuration.
    name : str
        The figure or table, for messages.
    needs : sequence of Need
        Its panels.

    Raises
    ------
    UserError
        If the grid lacks all experiments, or an experiment of the grid lacks a regime or its case study.
    """
    # A run may omit whole experiments (one GPU, no ImageNet); its figures then have fewer panels, and say so.
    lacking = [n for n in needs if {n.experiment, n.among or n.experiment} - set(grid.experiments)]
    shown = [n for n in needs if n not in lacking] or list(needs)
    for experiment in dict.fromkeys(n.experiment for n in shown):
        _check_regimes(grid, name, experiment, [r for n in shown if n.experiment == experiment for r in n.regimes])
    panels = tuple(_panel(grid, name, need) for need in shown)
    labels = {r: grid.regime_labels[r] for panel in panels for r in panel.regimes}
    places = [(p.experiment, a.name, r) for p in panels for a in p.architectures for r in p.regimes]
    whole = [n.experiment for n in needs if n.experiment not in grid.experiments or not (n.case_study or n.among)]
    found = deviations(grid, places, whole)
    if not any(panel.files for panel in panels):
        found = [d for d in found if d.untrained]
    differences, remarks = ([d for d in found if d.disqualifies is kind] for kind in (True, False))
    return Request(name, labels, panels, in_words(differences), in_words(remarks))


def _check_regimes(grid: Grid, name: str, experiment: str, regimes: Iterable[str]) -> None:
    there = _experiment(grid, name, experiment).regimes
    lacking = list(dict.fromkeys(r for r in regimes if r not in there))
    if lacking:
        file = grid.source.of(("experiments", experiment, "regimes"))
        what, them = (f"regime '{lacking[0]}'", "it") if len(lacking) == 1 else (f"regimes {listed(lacking)}", "them")
        raise UserError(f"{file}: {name} needs {what} in experiments.{experiment}.regimes; add {them}")


def _panel(grid: Grid, name: str, need: Need) -> Panel:
    experiment = _experiment(grid, name, need.experiment)
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
    cells: dict[str, dict[str, dict[int, str]]] = {}
    architectures = []
    for arch in names:
        folder = grid.aliases.get(arch, arch)
        for regime in need.series(experiment) if need.files else ():
            cells.setdefault(folder, {})[regime] = {s: grid.cell(folder, regime, s).digest() for s in experiment.seeds}
        spec = grid.cell(folder, experiment.regimes[0], experiment.seeds[0]).architecture
        label = grid.architecture_labels[arch]
        architectures.append(Architecture(arch, label, folder, spec.family, spec.depth, spec.channels))
    return Panel(
        experiment.name,
        experiment.title,
        experiment.data.name,
        experiment.data.title,
        experiment.data.paper,
        experiment.data.classes,
        need.series(experiment),
        need.files,
        tuple(architectures),
        cells,
    )


def _experiment(grid: Grid, name: str, experiment: str) -> Experiment:
    if experiment not in grid.experiments:
        raise UserError(
            f"{grid.source}: {name} needs experiments.{experiment}, which is not defined; "
            f"{accepted(experiment, grid.experiments)}"
        )
    return grid.experiments[experiment]


def canonical(content: Any) -> str:
    """Return an object as canonical JSON, for the workflow's `params`."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
