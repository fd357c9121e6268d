"""From config.yaml to the cells of the grid (standard library and yaml only).

A configuration has recipes, architectures, regimes and experiments; an experiment is architectures x regimes x seeds
under one recipe.  Several experiments may share a cell, but must then agree on it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bnonly.datasets import DATASETS
from bnonly.errors import UserError, accepted
from bnonly.families import FAMILIES
from bnonly.spec import (
    AFFINE_MODES,
    BATCHNORM_SCOPES,
    ENGINES,
    GROUPS,
    NAME,
    PRECISIONS,
    RANDOM_SCOPES,
    WEIGHT_INITS,
    Architecture,
    Augmentation,
    Cell,
    Recipe,
    Regime,
)

TOP_LEVEL = (
    "title",
    "scale",
    "engine",
    "precision",
    "threads",
    "warm",
    "outputs",
    "gpus",
    "paper_values",
    "cluster",
    "recipes",
    "architectures",
    "regimes",
    "experiments",
)


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
class Cluster:
    """What a cluster wants of a job (``cluster:`` in workflow/profiles/slurm/cluster.yaml); empty words are left to the cluster.

    Attributes
    ----------
    partition, account, qos, constraint : str
        Of trainings and analyses.
    cpu_partition : str
        Of figures and tables; empty: `partition`.
    gpu : str
        SLURM's type of GPU, "any", or "none" for trainings on CPUs.
    gpu_kind : str
        The same kind's name in the table of GPUs (`bnonly.cost.gpus`), where SLURM's type does not say it.
    cpus : int
        CPU cores of a training.
    memory_gb : float
        Of a training on its first attempt; half as much again at every further one.
    max_hours : float
        Longest time limit of the partition.
    batch_minutes : float
        Replicates of a cell share a submission up to this time; 0: every cell is a submission of its own.
    together : bool
        Whether replicates that share a submission train side by side instead of one after another.
    warning_seconds : int
        How long before its time limit a training is told to write a checkpoint.
    attempts : int
        How often a submission is made, time limits and preemptions included.
    """

    partition: str
    account: str
    qos: str
    constraint: str
    cpu_partition: str
    gpu: str
    gpu_kind: str
    cpus: int
    memory_gb: float
    max_hours: float
    batch_minutes: float
    together: bool
    warning_seconds: int
    attempts: int


@dataclass(frozen=True)
class Grid:
    """A resolved configuration.

    Attributes
    ----------
    title : str
        What the run is, for figures and reports; "paper" for the paper itself.
    cells : dict
        Every cell, by (architecture, regime, seed).
    experiments : dict
        Every experiment, by name.
    aliases : dict
        Architectures that are another one under a second name (WRN-14-1 is ResNet-14).
    labels : dict
        What the figures call each regime and each architecture.
    threads : int
        CPU threads of one training.
    warm : bool
        Whether the workflow's small cells share a process that has imported torch (`bnonly.warm`).
    outputs : tuple of str
        Figures and tables of `figures/all`; empty for all of them.
    gpus : dict
        Kinds of GPU beside those of `bnonly.cost.gpus`, by name: memory_gb, bandwidth_gb_s, tflops by precision, watts, aliases.
    paper_values : bool
        Whether figures also show the values that the paper states.
    cluster : Cluster or None
        Where jobs are submitted to; None: trainings run on this machine.
    """

    source: str
    title: str
    cells: dict[tuple[str, str, int], Cell]
    experiments: dict[str, Experiment]
    aliases: dict[str, str]
    labels: dict[str, str]
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
        found = self.cells.get((name, regime, seed))
        if found:
            return found
        archs = {k[0] for k in self.cells}
        if name not in archs:
            raise UserError(
                f"{self.source}: no experiment has architecture '{architecture}'; {accepted(name, sorted(archs))}"
            )
        regimes = {k[1] for k in self.cells if k[0] == name}
        if regime not in regimes:
            raise UserError(
                f"{self.source}: no experiment has regime '{regime}' of {name}; {accepted(regime, sorted(regimes))}"
            )
        seeds = sorted(k[2] for k in self.cells if k[:2] == (name, regime))
        raise UserError(f"{self.source}: {name}/{regime} has seeds {seeds}, not {seed}")

    def on_default(self) -> set[tuple[str, str, int]]:
        """Return the cells behind figures and tables, without those made on request only."""
        return {key for e in self.experiments.values() if not e.on_request for key in self.keys_of(e)}

    def keys_of(self, experiment: Experiment) -> Iterator[tuple[str, str, int]]:
        """Yield the keys of an experiment's cells."""
        for a in experiment.architectures:
            for r in experiment.regimes:
                for s in experiment.seeds:
                    yield self.aliases.get(a, a), r, s


class _UniqueKeys(yaml.SafeLoader):
    """YAML that refuses a key written twice instead of dropping the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise UserError(
                    f"{key_node.start_mark.name}:{key_node.start_mark.line + 1}: key '{key}' is given twice"
                )
            try:
                seen.add(key)
            except TypeError:
                raise UserError(
                    f"{key_node.start_mark.name}:{key_node.start_mark.line + 1}: {key} cannot be a key"
                ) from None
        return super().construct_mapping(node, deep)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises
    ------
    UserError
        If the file cannot be read, is not YAML, is not a mapping, or gives a key twice.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            loader = _UniqueKeys(stream)
            try:
                node = loader.get_single_data()
            finally:
                loader.dispose()
    except OSError as problem:
        raise UserError(f"{path}: {problem.strerror or problem}") from None
    except (yaml.YAMLError, ValueError) as problem:  # ValueError: not UTF-8, or a date that is none
        raise UserError(f"{path}: not YAML: {' '.join(str(problem).split())}") from None
    if not isinstance(node, dict):
        raise UserError(f"{path}: a mapping of {', '.join(TOP_LEVEL)} is wanted, found {type(node).__name__}")
    return node


def parse_value(text: str, where: str) -> Any:
    """Read one value as YAML.

    Raises
    ------
    UserError
        If it is not YAML.
    """
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as problem:
        raise UserError(f"{where}: not YAML: {' '.join(str(problem).split())}") from None


def as_yaml(config: Mapping[str, Any]) -> str:
    """Write a configuration as YAML."""
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one configuration over another: mappings merge, anything else replaces, null removes a key."""
    out = dict(base)
    for key, value in over.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(out.get(key), Mapping):
            out[key] = merge(out[key], value)
        else:
            out[key] = value
    return out


def resolve(config: Mapping[str, Any], source: str = "config.yaml") -> Grid:
    """Resolve a configuration into its cells.

    Parameters
    ----------
    config : mapping
        The content of config.yaml, overrides merged in.
    source : str
        Its name, for error messages.

    Raises
    ------
    UserError
        One line: source, key, value and what would be right.
    """
    top = _Node(config, source, "")
    top.only(*TOP_LEVEL)
    scale = top.number("scale", 1.0, low=0, open_low=True)
    engine = top.word("engine", "reference", ENGINES)
    precision = top.word("precision", "fp32", PRECISIONS)
    if engine == "reference" and precision != "fp32":
        top.fail("precision", precision, "the reference engine computes in fp32; others need engine: fast")
    recipes = {n: c for n, c in top.children("recipes")}
    for child in recipes.values():
        _recipe(child, scale)
    regimes = {n: _regime(n, c) for n, c in top.children("regimes")}
    archs: dict[str, Architecture] = {}
    overrides: dict[str, dict[str, Any]] = {}
    aliases: dict[str, str] = {}
    labels: dict[str, str] = {}
    for name, child in top.children("architectures"):
        labels[name] = child.word("label", name)
        if "same_as" in child.node:
            child.only("same_as", "label")
            aliases[name] = child.word("same_as", known=list(top.mapping("architectures")))
        else:
            archs[name] = _architecture(name, child)
        overrides[f"architectures.{name}"] = _override(child)
    for alias, target in aliases.items():
        if target not in archs:
            raise UserError(
                f"{source}: architectures.{alias}.same_as is {target}, itself an alias; name the architecture it is"
            )
    for name, child in top.children("regimes"):
        labels[name] = child.word("label", name)
        overrides[f"regimes.{name}"] = _override(child)

    cells: dict[tuple[str, str, int], Cell] = {}
    made_by: dict[tuple[str, str, int], str] = {}
    experiments: dict[str, Experiment] = {}
    for name, child in top.children("experiments"):
        child.only("title", "recipe", "architectures", "regimes", "seeds", "override", "on_request", "case_study")
        recipe_name = child.word("recipe", known=list(recipes))
        datasets = set()
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
                body = dict(recipes[recipe_name].node)
                for where in (f"architectures.{arch.name}", f"regimes.{regime_name}"):
                    body = merge(body, overrides[where])
                body = merge(body, _override(child))
                recipe = _recipe(_Node(body, source, f"recipes.{recipe_name}"), scale)
                _check_fit(arch, regime, recipe, f"{source}: experiments.{name}")
                if recipe.gpus > 1 and engine == "reference":
                    raise UserError(
                        f"{source}: recipes.{recipe_name}.gpus is {recipe.gpus}; the reference engine uses one, more need "
                        "engine: fast"
                    )
                datasets.add(recipe.dataset)
                for seed in experiment.seeds:
                    cell = Cell(arch, regime, recipe, seed, engine, precision)
                    other = cells.setdefault(cell.key, cell)
                    if other != cell:
                        raise UserError(
                            f"{source}: experiments.{name} and experiments.{made_by[cell.key]} define {cell} differently; "
                            "give both one recipe, or one of the two another architecture or regime name"
                        )
                    made_by.setdefault(cell.key, name)
        if len(datasets) > 1:
            raise UserError(
                f"{source}: experiments.{name} mixes the data sets {', '.join(sorted(datasets))}; one is wanted"
            )
        dataset = datasets.pop()
        title = experiment.title.replace("{data}", DATASETS[dataset].title)
        experiments[name] = dataclasses.replace(experiment, dataset=dataset, title=title)
    if not experiments:
        raise UserError(f"{source}: experiments is empty; at least one is needed")
    return Grid(
        source,
        top.word("title", "paper"),
        cells,
        experiments,
        aliases,
        labels,
        top.integer("threads", 1, low=1),
        top.flag("warm", False),
        top.words("outputs") if "outputs" in top.node else (),
        {n: _gpu(c) for n, c in top.children("gpus")},
        top.flag("paper_values", False),
        _cluster(_Node(top.node["cluster"], source, "cluster")) if "cluster" in top.node else None,
    )


def load(source: Path | str, *over: Mapping[str, Any]) -> Grid:
    """Read a configuration file, lay overrides over it and resolve it."""
    config: dict[str, Any] = read_yaml(source)
    for extra in over:
        config = merge(config, extra)
    return resolve(config, str(source))


def _gpu(node: _Node) -> dict[str, Any]:
    node.only("memory_gb", "bandwidth_gb_s", "tflops", "watts", "aliases")
    rates = _Node(node.mapping("tflops"), node.source, f"{node.where}.tflops")
    rates.only("fp32", "tf32", "bf16", "fp16")
    plain = rates.number("fp32", low=0, open_low=True)
    return {
        **{k: node.number(k, low=0, open_low=True) for k in ("memory_gb", "bandwidth_gb_s", "watts")},
        "tflops": {k: rates.number(k, plain, low=0, open_low=True) for k in ("fp32", "tf32", "bf16", "fp16")},
        "aliases": node.words("aliases") if "aliases" in node.node else (),
    }


def _cluster(node: _Node) -> Cluster:
    node.only(*(f.name for f in dataclasses.fields(Cluster)))
    words = ("partition", "account", "qos", "constraint", "cpu_partition", "gpu_kind")
    cluster = Cluster(
        **{key: node.name_or_nothing(key) for key in words},
        gpu=node.name_or_nothing("gpu") or "any",
        cpus=node.integer("cpus", 4, low=1),
        memory_gb=node.number("memory_gb", 16, low=1),
        max_hours=node.number("max_hours", 24, low=0, open_low=True),
        batch_minutes=node.number("batch_minutes", 60, low=0),
        together=node.flag("together", False),
        warning_seconds=node.integer("warning_seconds", 180, low=1),
        attempts=node.integer("attempts", 12, low=1),
    )
    # SLURM counts limits in minutes; a training has to start and to write one checkpoint.
    if max(1, round(cluster.max_hours * 60)) * 60 < cluster.warning_seconds + 30:
        least = (cluster.warning_seconds + 30) / 3600
        node.fail(
            "max_hours",
            float(f"{cluster.max_hours:g}"),
            f"a job would end before its first checkpoint, which needs warning_seconds and 30 more: at least {least:.2g}",
        )
    return cluster


def _architecture(name: str, node: _Node) -> Architecture:
    node.only("family", "depth", "channels", "label", "override")
    family = node.word("family", known=list(FAMILIES))
    rules = FAMILIES[family]
    depth = node.integer("depth")
    if not rules.has_depth(depth):
        node.fail("depth", depth, f"{family} has depths {rules.depths}")
    return Architecture(name, family, depth, node.integer("channels", rules.channels, low=1))


def _regime(name: str, node: _Node) -> Regime:
    node.only("train", "random", "affine", "gamma_init", "beta_init", "weight_init", "label", "override")
    train = node.words("train", GROUPS)
    affine = node.word("affine", "drawn", AFFINE_MODES)
    if affine == "disabled" and {"gamma", "beta"} & set(train):
        node.fail("affine", affine, "gamma and beta cannot be disabled and trained; take them out of 'train'")
    if affine == "disabled" and {"gamma_init", "beta_init"} & set(node.node):
        node.fail("affine", affine, "disabled means gamma = 1, beta = 0; take out gamma_init and beta_init")
    random = _Node(node.mapping("random"), node.source, f"{node.where}.random")
    random.only("k", "per")
    if ("random" in train) != bool(random.node):
        node.fail("random", dict(random.node), "give 'random: {k: 2, per: channel}' exactly where 'train' lists random")
    if "random" in train and {"conv", "shortcut"} & set(train):
        node.fail(
            "train", list(train), "random weights are chosen among frozen ones; conv and shortcut already train them"
        )
    return Regime(
        name,
        tuple(g for g in GROUPS if g in train),
        random.integer("k", 0, low=1) if random.node else 0,
        random.word("per", "channel", RANDOM_SCOPES),
        affine,
        node.bounds("gamma_init", (0.0, 1.0) if affine == "drawn" else (1.0, 1.0)),
        node.bounds("beta_init", (0.0, 0.0)),
        node.word("weight_init", "he_normal", WEIGHT_INITS),
    )


def _override(node: _Node) -> dict[str, Any]:
    child = _Node(node.mapping("override"), node.source, f"{node.where}.override")
    child.only(*(f.name for f in dataclasses.fields(Recipe)))
    return dict(child.node)


def _recipe(node: _Node, scale: float) -> Recipe:
    node.only(*(f.name for f in dataclasses.fields(Recipe)))
    dataset = node.word("dataset", known=list(DATASETS))
    aug = _Node(node.mapping("augmentation"), node.source, f"{node.where}.augmentation")
    aug.only("flip", "shift", "crop")
    epochs = round(node.number("epochs", low=0, open_low=True) * scale, 6)
    milestones = tuple(round(m * scale, 6) for m in node.numbers("milestones"))
    if list(milestones) != sorted(set(milestones)) or (milestones and milestones[0] <= 0):
        node.fail("milestones", node.node["milestones"], "rising epochs above 0 are wanted")
    if milestones and milestones[-1] >= epochs:
        node.fail(
            "milestones",
            node.node["milestones"],
            f"epochs below {epochs / scale:g}, the end, are wanted; 'scale' shortens both",
        )
    warmup = round(node.number("warmup_epochs", 0.0, low=0) * scale, 6)
    if warmup >= epochs:
        node.fail("warmup_epochs", node.node["warmup_epochs"], f"less than {epochs / scale:g}, all epochs, is wanted")
    momentum = node.number("momentum", 0.9, low=0)
    if momentum >= 1:
        node.fail("momentum", momentum, "a number below 1 is wanted")
    batch, gpus = node.integer("batch_size", low=1), node.integer("gpus", 1, low=1)
    if gpus > 1 and (batch % gpus or batch < 2 * gpus):
        node.fail("gpus", gpus, f"a number is wanted that divides batch_size, {batch}, into shares of 2 images or more")
    batchnorm = node.word("batchnorm", "local", BATCHNORM_SCOPES)
    if batchnorm != "local" and gpus == 1:
        node.fail("batchnorm", batchnorm, "with one GPU there is nothing to synchronise; give 'gpus', or take it out")
    return Recipe(
        dataset,
        epochs,
        batch,
        node.number("lr", low=0, open_low=True),
        milestones,
        node.number("drop", 0.1, low=0, open_low=True),
        warmup,
        momentum,
        node.number("weight_decay", 1e-4, low=0),
        Augmentation(aug.flag("flip", False), aug.integer("shift", 0, low=0), aug.flag("crop", False)),
        node.integer("image_size", 0, low=0),
        gpus,
        batchnorm,
    )


def _check_fit(arch: Architecture, regime: Regime, recipe: Recipe, where: str) -> None:
    family = FAMILIES[arch.family]
    data = DATASETS[recipe.dataset]
    if regime.random_k and regime.random_per == "channel":
        fan_in = family.min_fan_in(arch.depth, arch.channels)
        if regime.random_k > fan_in:
            raise UserError(
                f"{where}: regime {regime.name} trains {regime.random_k} random weights a filter, but {arch.name} has filters "
                f"with a fan-in of {fan_in}; k must be at most {fan_in}"
            )
    size = recipe.image_size or data.image_size
    if size < family.min_image:
        raise UserError(
            f"{where}: {arch.name} needs images of at least {family.min_image} pixels, {recipe.dataset} gives {size}"
        )
    crops = data.layout == "folder"
    if recipe.augmentation.crop and not crops:
        raise UserError(f"{where}: augmentation.crop is for photographs; {recipe.dataset} has 'shift' and 'flip'")
    if recipe.augmentation.shift and (crops or recipe.augmentation.shift >= size):
        limit = "'crop' and 'flip', no shift" if crops else f"a shift below its {size} pixels"
        raise UserError(f"{where}: augmentation.shift is {recipe.augmentation.shift}; {recipe.dataset} has {limit}")
    if recipe.batch_size > data.train_images:
        raise UserError(
            f"{where}: batch_size {recipe.batch_size} is larger than {recipe.dataset}'s {data.train_images} training images"
        )
    if recipe.batch_size == 1 or data.train_images % recipe.batch_size == 1:
        raise UserError(
            f"{where}: batch_size {recipe.batch_size} leaves a last batch of one of {recipe.dataset}'s {data.train_images} training "
            "images, which BatchNorm cannot normalise; choose another"
        )


class _Node:
    """A mapping of the configuration that knows where it stands, so that every complaint names its key."""

    def __init__(self, node: Any, source: str, where: str) -> None:
        self.source, self.where = source, where
        if not isinstance(node, Mapping):
            raise UserError(f"{source}: {where} is {node!r}; a mapping is wanted")
        self.node = node

    def _at(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def fail(self, key: str, value: Any, wanted: str) -> None:
        raise UserError(f"{self.source}: {self._at(key)} is {value!r}; {wanted}")

    def only(self, *known: str) -> None:
        for key in self.node:
            if key not in known:
                raise UserError(f"{self.source}: unknown key {self._at(str(key))}; {accepted(str(key), known)}")

    def _get(self, key: str, default: Any = None) -> Any:
        value = self.node.get(key, default)
        if value is None:
            raise UserError(f"{self.source}: {self._at(key)} is missing")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.node.get(key, {})
        if not isinstance(value, Mapping):
            self.fail(key, value, "a mapping is wanted")
        return dict(value)

    def children(self, key: str) -> Iterator[tuple[str, _Node]]:
        for name, child in self.mapping(key).items():
            if not isinstance(name, str) or not re.fullmatch(NAME, name):
                raise UserError(
                    f"{self.source}: {self._at(key)} has the name {name!r}; letters, digits, '-', '_' and '.', a letter or digit first, are wanted"
                )
            yield name, _Node(child, self.source, f"{self._at(key)}.{name}")

    def number(self, key: str, default: float | None = None, low: float = -math.inf, open_low: bool = False) -> float:
        value = self._get(key, default)
        # YAML 1.1 reads 1e-4 as text, and Snakemake's --config reads every nested number so.
        with contextlib.suppress(ValueError):
            value = float(value) if isinstance(value, str) else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.fail(key, value, "a number is wanted")
        if value < low or (open_low and value == low):
            self.fail(key, value, f"a number {'above' if open_low else 'of at least'} {low:g} is wanted")
        return float(value)

    def integer(self, key: str, default: int | None = None, low: int = 0) -> int:
        value = self._get(key, default)
        with contextlib.suppress(ValueError):
            value = int(value) if isinstance(value, str) else value
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(key, value, "a whole number is wanted")
        if value < low:
            self.fail(key, value, f"a whole number of at least {low} is wanted")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        value = {"true": True, "false": False}.get(str(value).lower(), value)
        if not isinstance(value, bool):
            self.fail(key, value, "true or false is wanted")
        return bool(value)

    def word(self, key: str, default: str | None = None, known: Any = None) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            self.fail(key, value, "a word is wanted")
        if known is not None and value not in known:
            self.fail(key, value, accepted(value, known))
        return str(value)

    def name_or_nothing(self, key: str) -> str:
        value = self.node.get(key, "")
        if isinstance(value, bool) or not isinstance(value, str | int) or not re.fullmatch(r"[^\s'\"]*", str(value)):
            self.fail(key, value, "a name as SLURM has it, or '' for the cluster's default, is wanted")
        return str(value)

    def words(self, key: str, known: Any = None) -> tuple[str, ...]:
        value = self._get(key)
        if not isinstance(value, list) or not value:
            self.fail(key, value, "a list of at least one name is wanted")
        for item in value:
            if not isinstance(item, str):
                self.fail(key, item, "a name is wanted")
            if known is not None and item not in known:
                self.fail(key, item, accepted(item, known))
        if len(set(value)) != len(value):
            self.fail(key, value, "each name once is wanted")
        return tuple(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        value = self._get(key)
        if not isinstance(value, list):
            self.fail(key, value, "a list of numbers is wanted")
        items = _Node({f"{key}[{i}]": v for i, v in enumerate(value)}, self.source, self.where)
        return tuple(items.number(k) for k in items.node)

    def bounds(self, key: str, default: tuple[float, float]) -> tuple[float, float]:
        value = self.node.get(key, list(default))
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            value = [value, value]
        if not isinstance(value, list) or len(value) != 2:
            self.fail(key, value, "a number, or [low, high] of a uniform distribution, is wanted")
        items = _Node({f"{key}[{i}]": v for i, v in enumerate(value)}, self.source, self.where)
        low, high = (items.number(k) for k in items.node)
        if low > high:
            self.fail(key, value, "low must not exceed high")
        return low, high

    def seeds(self, key: str) -> tuple[int, ...]:
        value = self._get(key)
        if not isinstance(value, list) or not value:
            self.fail(key, value, "a list of at least one replicate seed is wanted, for example [0, 1, 2]")
        value = [int(v) if isinstance(v, str) and v.isdecimal() else v for v in value]
        for item in value:
            if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item < 2**32:
                self.fail(key, item, "whole numbers from 0 to 4294967295 are wanted")
        if len(set(value)) != len(value):
            self.fail(key, value, "each seed once is wanted")
        return tuple(value)
