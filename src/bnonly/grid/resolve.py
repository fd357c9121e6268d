"""From config.yaml to the cells of the grid.

A configuration has recipes, architectures, regimes and experiments; an experiment is architectures x regimes x seeds
under one recipe.  Several experiments may share a cell, but must then agree on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnonly.config.layers import TOP_LEVEL, Layers, merge, read_yaml
from bnonly.config.reader import Node
from bnonly.errors import UserError, accepted
from bnonly.grid import sections
from bnonly.grid.cell import ENGINES, PRECISIONS, Architecture, Cell, Key
from bnonly.grid.datasets import DATASETS
from bnonly.grid.sections import Cluster


@dataclass(frozen=True)
class Experiment:
    """Architectures x regimes x seeds, as the figures draw them: one panel, one x axis.

    In `title`, ``{data}`` stands for the name of the data set: no other data are ever called CIFAR-10.
    `case_study` is the architecture shown alone (Figure 4), or empty; `on_request` keeps the experiment out of the
    figures, its cells behind targets of their own.
    """

    name: str
    title: str
    dataset: str
    architectures: tuple[str, ...]
    regimes: tuple[str, ...]
    seeds: tuple[int, ...]
    on_request: bool
    case_study: str


@dataclass(frozen=True)
class Grid:
    """A resolved configuration.

    Attributes
    ----------
    source : Layers
        Which files it was resolved from, for messages.
    title : str
        What the run is, for figures and reports; "paper" for the paper itself.
    cells : dict
        Every cell, by its key.
    experiments : dict
        Every experiment, by name.
    aliases : dict
        Architectures that are another one under a second name (WRN-14-1 is ResNet-14).
    architecture_labels, regime_labels : dict
        What the figures call each of them.
    threads : int
        CPU threads of one training.
    warm : bool
        Whether the workflow's small cells share a process that has imported torch (`bnonly.commands.fork_server`).
    outputs : tuple of str
        Figures and tables of `figures/all`; empty for all of them.
    gpus : dict
        Kinds of GPU beside those of `bnonly.cost.gpus`, by name: memory_gb, bandwidth_gb_s, tflops by precision, watts, aliases.
    paper_values : bool
        Whether figures also show the values that the paper states.
    cluster : Cluster or None
        Where jobs are submitted to; None: trainings run on this machine.
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
    paper_values: bool = False
    cluster: Cluster | None = None

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
            raise UserError(
                f"{self.source}: no experiment has regime '{regime}' of {name}; {accepted(regime, sorted(regimes))}"
            )
        seeds = sorted(k.seed for k in self.cells if k[:2] == (name, regime))
        raise UserError(f"{self.source}: {name}/{regime} has seeds {seeds}, not {seed}")

    def on_default(self) -> set[Key]:
        """Return the cells behind figures and tables, without those made on request only."""
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
        The content of config.yaml, overrides merged in.
    source : str or Layers
        Its name, or what it was merged from, for error messages.

    Raises
    ------
    UserError
        One line: source, key, value and what would be right.
    """
    files = source if isinstance(source, Layers) else Layers((source, config))
    top = Node(config, files, Layers(((), config)))
    top.only(*TOP_LEVEL)
    scale = top.number("scale", 1.0, low=0, open_low=True)
    engine = top.word("engine", "reference", ENGINES)
    precision = top.word("precision", "fp32", PRECISIONS)
    if engine == "reference" and precision != "fp32":
        top.fail(
            "precision", precision, "the reference engine computes in fp32; others need engine: fast", beside="engine"
        )
    recipes = dict(top.children("recipes"))
    for child in recipes.values():
        sections.recipe(child, scale)
    regime_nodes = dict(top.children("regimes"))
    regimes = {n: sections.regime(n, c) for n, c in regime_nodes.items()}
    arch_nodes = dict(top.children("architectures"))
    archs: dict[str, Architecture] = {}
    aliases: dict[str, str] = {}
    for name, child in arch_nodes.items():
        if "same_as" in child.content:
            child.only("same_as", "label")
            aliases[name] = child.word("same_as", known=list(arch_nodes))
        else:
            archs[name] = sections.architecture(name, child)
    for alias, target in aliases.items():
        if target not in archs:
            arch_nodes[alias].fail("same_as", target, "that is an alias itself; name the architecture it is")
    arch_overrides = {n: sections.override(c) for n, c in arch_nodes.items()}
    regime_overrides = {n: sections.override(c) for n, c in regime_nodes.items()}

    cells: dict[Key, Cell] = {}
    made_by: dict[Key, str] = {}
    experiments: dict[str, Experiment] = {}
    for name, child in top.children("experiments"):
        child.only("title", "recipe", "architectures", "regimes", "seeds", "override", "on_request", "case_study")
        recipe_name = child.word("recipe", known=list(recipes))
        override = sections.override(child)
        datasets: dict[str, Node] = {}
        experiment = Experiment(
            name,
            child.word("title", name),
            "",
            child.words("architectures", [*archs, *aliases]),
            child.words("regimes", list(regimes)),
            child.seeds("seeds"),
            child.flag("on_request", False),
            child.word("case_study", "", ["", *child.words("architectures", [*archs, *aliases])]),
        )
        for arch_name in experiment.architectures:
            arch = archs[aliases.get(arch_name, arch_name)]
            for regime_name in experiment.regimes:
                regime = regimes[regime_name]
                node = recipes[recipe_name].laid_over(
                    arch_overrides[arch.name], regime_overrides[regime_name], override
                )
                recipe = sections.recipe(node, scale)
                sections.check_fit(arch, regime, recipe, regime_nodes[regime_name], node)
                if recipe.gpus > 1 and engine == "reference":
                    node.fail("gpus", recipe.gpus, "the reference engine uses one, more need engine: fast")
                datasets.setdefault(recipe.dataset, node)
                for seed in experiment.seeds:
                    cell = Cell(arch, regime, recipe, seed, engine, precision)
                    other = cells.setdefault(cell.key, cell)
                    if other != cell:
                        both = files.of(("experiments", name), ("experiments", made_by[cell.key]))
                        raise UserError(
                            f"{both}: experiments.{name} and experiments.{made_by[cell.key]} define {cell} differently; "
                            "give both one recipe, or one of the two another architecture or regime name"
                        )
                    made_by.setdefault(cell.key, name)
        if len(datasets) > 1:
            mixed = " and ".join(f"{d} ({n.at('dataset')})" for d, n in sorted(datasets.items()))
            where = files.of(child.path(()), *(n.path("dataset") for n in datasets.values()))
            raise UserError(f"{where}: {child.at(())} mixes the data sets {mixed}; one is wanted")
        (dataset,) = datasets
        title = experiment.title.replace("{data}", DATASETS[dataset].title)
        experiments[name] = dataclasses.replace(experiment, dataset=dataset, title=title)
    if not experiments:
        raise UserError(f"{top.file('experiments')}: experiments is empty; at least one is needed")
    return Grid(
        files,
        top.word("title", "paper"),
        cells,
        experiments,
        aliases,
        {n: c.word("label", n) for n, c in arch_nodes.items()},
        {n: c.word("label", n) for n, c in regime_nodes.items()},
        top.integer("threads", 1, low=1),
        top.flag("warm", False),
        top.words("outputs") if "outputs" in top.content else (),
        {n: sections.gpu(c) for n, c in top.children("gpus")},
        top.flag("paper_values", False),
        sections.cluster(top.child("cluster")) if "cluster" in top.content else None,
    )


def load_grid(source: Path | str, *over: Mapping[str, Any]) -> Grid:
    """Read a configuration file, lay overrides over it and resolve it."""
    config: dict[str, Any] = read_yaml(source)
    for extra in over:
        config = merge(config, extra)
    return resolve(config, str(source))
