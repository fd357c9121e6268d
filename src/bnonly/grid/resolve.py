"""Resolve config.yaml into the cells of the grid.

A configuration has recipes, architectures, regimes and experiments; an experiment is architectures x regimes x seeds
under one recipe.  Several experiments may share a cell, but must then agree on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnonly import machine
from bnonly.config.layers import Layers, merge, read_yaml
from bnonly.config.reader import Node
from bnonly.errors import UserError, accepted
from bnonly.grid.cell import Architecture, Cell, Key
from bnonly.grid.datasets import DatasetInfo
from bnonly.grid.families import FAMILIES
from bnonly.grid.sections import Alias, Cluster, Configuration, Network, check_fit, own_datasets, read_recipe


@dataclass(frozen=True)
class Experiment:
    """Architectures x regimes x seeds: one panel of the figures, with one x axis.

    In `title`, ``{data}`` stands for the data set's name, so that no other data are called CIFAR-10.
    `case_study` is the architecture that Figure 4 shows alone, or empty.  `on_request` keeps the experiment out of
    figures/all; its cells have their own targets.  `also` names regimes that Figure 2 shows beside the paper's.
    """

    name: str
    title: str
    data: DatasetInfo
    architectures: tuple[str, ...]
    regimes: tuple[str, ...]
    seeds: tuple[int, ...]
    on_request: bool
    case_study: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """A resolved configuration.

    Attributes
    ----------
    source : Layers
        The files of the configuration, for messages.
    title : str
        The run's name in figures and reports; "paper" for the paper itself.
    cells : dict
        Every cell, by its key.
    experiments : dict
        Every experiment, by name.
    aliases : dict
        Second names of architectures (WRN-14-1 is ResNet-14).
    architecture_labels, regime_labels : dict
        Their names in figures.
    threads : int
        CPU threads of one training.
    warm : bool
        Whether small cells use the fork server (`bnonly.commands.fork_server`).
    outputs : tuple of str
        Figures and tables of `figures/all`; empty for all of them.
    gpus : dict
        Kinds of GPU besides those of `bnonly.cost.gpus`, by name: memory_gb, bandwidth_gb_s, tflops by precision, watts, aliases.
    gpu_jobs : int
        Trainings that share a GPU of this machine.
    paper_values : bool
        Whether figures also show the paper's values.
    cluster : Cluster or None
        The cluster that receives the jobs; None if trainings run on this machine.
    precision : str
        Precision of all cells.  "auto" of the configuration is resolved: it is part of what a cell is.
    device : str
        What trains on this machine: auto, cpu or cuda.
    """

    source: Layers
    title: str
    cells: dict[Key, Cell]
    experiments: dict[str, Experiment]
    aliases: dict[str, str]
    architecture_labels: dict[str, str]
    regime_labels: dict[str, str]
    threads: int
    warm: bool
    outputs: tuple[str, ...]
    gpus: dict[str, dict[str, Any]]
    gpu_jobs: int = 1
    paper_values: bool = False
    cluster: Cluster | None = None
    precision: str = "fp32"
    device: str = "auto"

    def cell(self, architecture: str, regime: str, seed: int) -> Cell:
        """Return a cell by name, aliases resolved.

        Raises
        ------
        UserError
            If the grid has no such cell.
        """
        name = self.aliases.get(architecture, architecture)
        found = self.cells.get(Key(name, regime, seed))
        if found:
            return found
        archs = {k.architecture for k in self.cells}
        if name not in archs:
            raise UserError(
                f"{self.source}: no experiment has architecture '{architecture}'; {accepted(name, sorted(archs))}"
            )
        regimes = {k.regime for k in self.cells if k.architecture == name}
        if regime not in regimes:
            defined = regime in self.regime_labels
            remedy = "add it to regimes or also of an experiment" if defined else accepted(regime, sorted(regimes))
            raise UserError(f"{self.source}: regime '{regime}' is in no experiment with {name}; {remedy}")
        seeds = sorted(k.seed for k in self.cells if k[:2] == (name, regime))
        raise UserError(f"{self.source}: {name}/{regime} has seeds {seeds}, not {seed}")

    def on_default(self) -> set[Key]:
        """Return the cells behind figures and tables, without cells made on request only."""
        return {key for e in self.experiments.values() if not e.on_request for key in self.keys_of(e)}

    def keys_of(self, experiment: Experiment) -> Iterator[Key]:
        """Yield the keys of an experiment's cells."""
        for a in experiment.architectures:
            for r in experiment.regimes:
                for s in experiment.seeds:
                    yield Key(self.aliases.get(a, a), r, s)


def resolve(config: Mapping[str, Any], source: str | Layers = "config.yaml") -> Grid:
    """Resolve a configuration into its cells.

    Parameters
    ----------
    config : mapping
        The content of config.yaml with overrides merged in.
    source : str or Layers
        Its name or its layers, for error messages.

    Raises
    ------
    UserError
        One line: source, key, value and the requirement.
    """
    files = source if isinstance(source, Layers) else Layers((source, config))
    top = Node(config, files)
    for path in files.idle():
        raise UserError(
            f"{files}: {'.'.join(path)}: {{}} changes nothing, because mappings are merged; null removes a key"
        )
    read = top.read(Configuration)
    precision = _precision(read)
    own = own_datasets(top)
    for name in read.recipes:
        read_recipe(top.child("recipes", name), read.scale, own)
    aliases = {n: a.same_as for n, a in read.architectures.items() if isinstance(a, Alias)}
    archs = {
        n: Architecture(n, a.family, a.depth, a.channels or FAMILIES[a.family].channels)
        for n, a in read.architectures.items()
        if isinstance(a, Network)
    }
    regimes = {n: r.regime(n) for n, r in read.regimes.items()}

    cells: dict[Key, Cell] = {}
    made_by: dict[Key, str] = {}
    experiments: dict[str, Experiment] = {}
    for name, experiment in read.experiments.items():
        here = top.child("experiments", name)
        datasets: dict[DatasetInfo, Node] = {}
        trained = tuple(dict.fromkeys((*experiment.regimes, *experiment.also)))
        for arch in (archs[aliases.get(a, a)] for a in experiment.architectures):
            for regime in (regimes[r] for r in trained):
                node = top.child("recipes", experiment.recipe).laid_over(
                    top.child("architectures", arch.name, "override"),
                    top.child("regimes", regime.name, "override"),
                    here.child("override"),
                )
                recipe = read_recipe(node, read.scale, own)
                check_fit(arch, regime, recipe, top.child("regimes", regime.name), node)
                if recipe.gpus > 1 and read.engine == "reference":
                    node.fail("gpus", must="be 1 with engine: reference; more need engine: fast")
                datasets.setdefault(recipe.data, node)
                for seed in experiment.seeds:
                    cell = Cell(arch, regime, recipe, seed, read.engine, precision)
                    other = cells.setdefault(cell.key, cell)
                    if other != cell:
                        both = files.of(("experiments", name), ("experiments", made_by[cell.key]))
                        raise UserError(
                            f"{both}: experiments.{name} and experiments.{made_by[cell.key]} define {cell} differently; "
                            "give both the same recipe, or use another architecture or regime name in one of them"
                        )
                    made_by.setdefault(cell.key, name)
        if len(datasets) > 1:
            mixed = " and ".join(
                f"{d.name} ({n.at('dataset')})" for d, n in sorted(datasets.items(), key=lambda item: item[0].name)
            )
            where = files.of(here.path(()), *(n.path(("dataset",)) for n in datasets.values()))
            raise UserError(f"{where}: {here.at()} must have one data set (got {mixed})")
        (data,) = datasets
        experiments[name] = Experiment(
            name=name,
            title=(experiment.title or name).replace("{data}", data.title),
            data=data,
            architectures=experiment.architectures,
            regimes=trained,
            seeds=experiment.seeds,
            on_request=experiment.on_request,
            case_study=experiment.case_study,
            also=experiment.also,
        )
    return Grid(
        source=files,
        title=read.title,
        cells=cells,
        experiments=experiments,
        aliases=aliases,
        architecture_labels={n: a.label or n for n, a in read.architectures.items()},
        regime_labels={n: r.label or n for n, r in read.regimes.items()},
        threads=read.threads,
        warm=read.warm,
        outputs=read.outputs or (),
        gpus={n: g.as_dict() for n, g in read.gpus.items()},
        gpu_jobs=read.gpu_jobs,
        paper_values=read.paper_values,
        cluster=read.cluster,
        precision=precision,
        device=read.device,
    )


def _precision(read: Configuration) -> str:
    """Return the precision; "auto" is that of the processor that trains, as far as this machine can tell."""
    if read.precision != "auto":
        return read.precision
    if read.engine == "reference":
        return "fp32"
    if read.cluster:
        return "fp32" if read.cluster.gpu == "none" else "bf16"
    return machine.best_precision(read.device)


def load_grid(source: Path | str, *over: Mapping[str, Any]) -> Grid:
    """Read a configuration file, lay overrides over it and resolve it."""
    config: dict[str, Any] = read_yaml(source)
    for extra in over:
        config = merge(config, extra)
    return resolve(config, str(source))
