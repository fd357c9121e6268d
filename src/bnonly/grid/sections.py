"""The configuration as models: every key with its type, range, default and meaning.

`bnonly.grid.resolve` builds cells from these models.  ``bnonly schema`` prints them as a JSON schema, with which editors
complete and check config.yaml.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from bnonly.config.reader import (
    NO_FLAG,
    TAGS,
    Count,
    Name,
    Names,
    Node,
    NotNegative,
    Number,
    OneOf,
    Positive,
    Section,
    Seeds,
    each_once,
    must,
)
from bnonly.grid import compatibility
from bnonly.grid.cell import ENGINES, GROUPS, PRECISIONS, Architecture, Channels, Depth, Recipe, Regime
from bnonly.grid.datasets import DATASETS, OWN_LAYOUTS, DatasetInfo
from bnonly.grid.families import FAMILIES, min_fan_in


class _Section(Section):
    model_config = ConfigDict(use_attribute_docstrings=True)


_RECIPE_KEYS = tuple(f.name for f in dataclasses.fields(Recipe) if f.name != "own_data")
#: Changes of an architecture, a regime or an experiment to a recipe; they are read after being laid over a recipe.
Override = Annotated[
    dict[Annotated[str, OneOf(_RECIPE_KEYS)], Any],
    WithJsonSchema({"type": "object", "properties": {k: True for k in _RECIPE_KEYS}, "additionalProperties": False}),
]


def _names_its_data(recipe: Any) -> Any:
    if isinstance(recipe, Mapping) and "own_data" in recipe:
        raise must("be left out; describe the data set under datasets, and give its name in dataset", "own_data")
    return recipe


class Network(_Section):
    """An architecture."""

    family: Annotated[str, OneOf(FAMILIES)]
    """Family of networks."""
    depth: Depth
    """Depth as the paper counts it; it determines the number of blocks or layers."""
    channels: Channels | None = None
    """Channels of the first convolution; by default, the family's."""
    label: str = ""
    """Label in figures; by default, the name."""
    override: Override = {}
    """Changes to the recipe."""

    @model_validator(mode="after")
    def _check(self) -> Network:
        family = FAMILIES[self.family]
        if not family.has_depth(self.depth):
            raise must(f"be one of the depths of {self.family}, {family.depths}", "depth")
        return self


class Alias(_Section):
    """A second name of another architecture."""

    same_as: str
    """The other architecture."""
    label: str = ""
    """Label in figures; by default, the name."""


class Random(_Section):
    """Random weights that train."""

    k: Count
    """Number of weights that train in every filter."""
    per: Annotated[str, OneOf(("channel", "layer"))] = "channel"
    """"channel": k weights of each filter; "layer": as many, spread over the layer (footnote 5)."""


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _one_word(name: str) -> str:
    if re.search(r"[\s'\"]", name):
        raise must("be SLURM's name, without spaces or quotes, or '' for the cluster's default")
    return name


def _tag(value: Any) -> str:
    network, alias = TAGS
    return alias if isinstance(value, Mapping) and "same_as" in value else network


def _bounds(value: Any) -> Any:
    return [value, value] if isinstance(value, int | float | str) and not isinstance(value, bool) else value


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise must("be [low, high] with low at most high")
    return bounds


#: Bounds of a uniform distribution; a single number is both.
Bounds = Annotated[
    tuple[Number, Number],
    BeforeValidator(_bounds),
    AfterValidator(_rising),
    WithJsonSchema(
        {"anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}]}
    ),
]


class Training(_Section):
    """A regime: the trainable parameters and the initialisation."""

    train: Annotated[
        tuple[Annotated[str, OneOf(GROUPS)], ...],
        Field(min_length=1),
        AfterValidator(each_once),
        AfterValidator(lambda names: tuple(g for g in GROUPS if g in names)),
    ]
    """The groups that train."""
    random: Random | None = None
    """Number of random weights that train, if `train` lists random."""
    affine: Annotated[str, OneOf(("drawn", "disabled"))] = "drawn"
    """"drawn": gamma and beta start at their initialisation; "disabled": gamma = 1, beta = 0, not trained (Figure 1)."""
    gamma_init: Bounds | None = None
    """Initial value of every gamma, or the bounds of a uniform distribution; by default, [0, 1]."""
    beta_init: Bounds | None = None
    """The same for beta; by default, 0."""
    weight_init: Annotated[str, OneOf(("he_normal", "he_uniform", "binary", "orthogonal"))] = "he_normal"
    """Distribution of convolutions and the output layer (Appendix E.1)."""
    label: str = ""
    """Label in figures; by default, the name."""
    override: Override = {}
    """Changes to the recipe."""

    @model_validator(mode="after")
    def _check(self) -> Training:
        """Refuse conflicting values."""
        if self.affine == "disabled":
            if {"gamma", "beta"} & set(self.train):
                raise must("be 'drawn' where train lists gamma or beta", "affine")
            for key in ("gamma_init", "beta_init"):
                if getattr(self, key):
                    raise must("be left out where affine is 'disabled', which sets gamma to 1 and beta to 0", key)
        if ("random" in self.train) != bool(self.random):
            raise must("be given if and only if train lists random, for example {k: 2, per: channel}", "random")
        if self.random and {"conv", "shortcut"} & set(self.train):
            raise must("not list conv or shortcut beside random, which chooses among frozen weights", "train")
        return self

    def regime(self, name: str) -> Regime:
        """Return the regime as a cell records it."""
        gamma = (0.0, 1.0) if self.affine == "drawn" else (1.0, 1.0)
        k, per = (self.random.k, self.random.per) if self.random else (0, "channel")
        return Regime(
            name=name,
            train=self.train,
            random_k=k,
            random_per=per,
            affine=self.affine,
            gamma_init=self.gamma_init or gamma,
            beta_init=self.beta_init or (0.0, 0.0),
            weight_init=self.weight_init,
        )


class Experiment(_Section):
    """Architectures x regimes x seeds under one recipe: a panel of the figures."""

    recipe: str
    """Name of the recipe."""
    architectures: Names
    """The x axis, in order."""
    regimes: Names
    """The series."""
    seeds: Seeds
    """Replicates."""
    also: Annotated[tuple[str, ...], AfterValidator(each_once)] = ()
    """Additional regimes to train and to show in Figure 2."""
    title: str = ""
    """Title of the panel; {data} becomes the data set's name.  By default, the experiment's name."""
    on_request: bool = False
    """Whether the experiment is left out of figures/all and has separate targets."""
    case_study: str = ""
    """The architecture that Figure 4 shows alone."""
    override: Override = {}
    """Changes to the recipe."""


class OwnDataset(_Section):
    """A data set of your own: class folders in train/ and in val/ or test/, a tar of them, or Parquet files."""

    kind: Annotated[str, OneOf(OWN_LAYOUTS)]
    """"small-images": images that `bnonly prepare` scales to image_size, kept in memory; "photographs": files that are
    decoded and cropped while training."""
    image_size: Annotated[int, Field(ge=1, le=4096), NO_FLAG]
    """Side of the network's input in pixels."""
    title: str = ""
    """Its name in figures; by default, the name."""
    classes: Count | None = None
    """Number of classes; by default, what `bnonly prepare` found."""
    train_images: Count | None = None
    """Number of training images; by default, what `bnonly prepare` found."""
    test_images: Count | None = None
    """Number of test images; by default, what `bnonly prepare` found."""

    def info(self, name: str) -> DatasetInfo:
        """Return the description; its counts are 0 where neither the configuration nor a preparation has them."""
        counts = self.train_images or 0, self.test_images or 0, self.classes or 0
        return DatasetInfo(name, self.kind, *counts, self.image_size, title=self.title or name)


def _not_built_in(datasets: dict[str, OwnDataset]) -> dict[str, OwnDataset]:
    for name in datasets:
        if name in DATASETS:
            raise must("have another name, because a built-in data set has this one", name)
    return datasets


OwnDatasets = Annotated[dict[Name, OwnDataset], AfterValidator(_not_built_in)]


def own_datasets(top: Node) -> dict[str, DatasetInfo]:
    """Read the descriptions of data sets in a configuration, and nothing else of it."""
    found: dict[str, OwnDataset] = top.child("datasets").read(OwnDatasets)
    return {name: data.info(name) for name, data in found.items()}


class Rates(_Section):
    """Matrix products in 10^12 operations per second."""

    fp32: Positive
    """In fp32."""
    tf32: Positive | None = None
    """In TF32; by default, as in fp32."""
    bf16: Positive | None = None
    """In bf16; by default, as in fp32."""
    fp16: Positive | None = None
    """In fp16; by default, as in fp32."""


class Gpu(_Section):
    """A kind of GPU unknown to the cost model."""

    memory_gb: Positive
    """Memory in 10^9 bytes."""
    bandwidth_gb_s: Positive
    """Memory bandwidth in 10^9 bytes per second."""
    watts: Positive
    """Power limit."""
    tflops: Rates
    """Speed of matrix products."""
    aliases: Annotated[tuple[str, ...], AfterValidator(each_once)] = ()
    """Other names, for example those of drivers and SLURM."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data with every rate."""
        plain: dict[str, Any] = self.model_dump()
        plain["tflops"] = {k: v or self.tflops.fp32 for k, v in plain["tflops"].items()}
        return plain


SlurmName = Annotated[str, BeforeValidator(_as_text), AfterValidator(_one_word)]


class Cluster(_Section):
    """Settings of a cluster's jobs; empty text leaves the choice to the cluster."""

    partition: SlurmName = ""
    """Partition of trainings and analyses."""
    account: SlurmName = ""
    """Account."""
    qos: SlurmName = ""
    """Quality of service."""
    constraint: SlurmName = ""
    """Features of nodes."""
    cpu_partition: SlurmName = ""
    """Partition of figures and tables; by default, `partition`."""
    gpu: Annotated[SlurmName, AfterValidator(lambda name: name or "any")] = "any"
    """SLURM's type of GPU, "any", or "none" for trainings on CPUs."""
    gpu_kind: SlurmName = ""
    """Name of the same kind in `bnonly cost --gpu`, if SLURM's type differs."""
    cpus: Count = 4
    """CPU cores of a training."""
    memory_gb: Annotated[float, Field(ge=1, le=10**6), NO_FLAG] = 16.0
    """Memory of a training on its first attempt; each further attempt adds half as much."""
    max_hours: Positive = 24.0
    """Longest time limit of the partition."""
    batch_minutes: NotNegative = 60.0
    """Replicates of a cell share a submission up to this time; 0 submits every cell separately."""
    together: bool = False
    """Whether replicates that share a submission train side by side instead of one after another."""
    warning_seconds: Count = 180
    """Time between the warning to write a checkpoint and the time limit."""
    attempts: Count = 12
    """Number of submissions allowed, including those after time limits and preemptions."""

    @model_validator(mode="after")
    def _check(self) -> Cluster:
        # SLURM counts limits in minutes; a training has to start and to write one checkpoint.
        least = self.warning_seconds + 30
        if max(1, round(self.max_hours * 60)) * 60 < least:
            text = f"be at least {least / 3600:.2g}: a job needs warning_seconds and 30 seconds to write a checkpoint"
            raise must(text, "max_hours", beside="warning_seconds")
        return self


class Configuration(_Section):
    """A run: recipes, architectures, regimes, and the experiments that combine them."""

    title: str = "paper"
    """Name of the run in figures and reports; "paper" for the paper itself."""
    scale: Positive = 1.0
    """Factor by which all lengths of all recipes are multiplied."""
    engine: Annotated[str, OneOf(ENGINES)] = "reference"
    """Engine: plain PyTorch, the fused network, or the fused network with Triton kernels."""
    precision: Annotated[str, OneOf((*PRECISIONS, "auto"))] = "fp32"
    """Precision of convolutions; everything else is in fp32.  "auto": bf16 if this machine computes in it, else fp32."""
    device: Annotated[str, OneOf(("auto", "cpu", "cuda"))] = "auto"
    """Device that trains on this machine; "auto": the GPUs if there are any."""
    threads: Annotated[int, Field(ge=1, le=4096), NO_FLAG] = 1
    """CPU threads of one training."""
    gpu_jobs: Annotated[int, Field(ge=1, le=64), NO_FLAG] = 1
    """Trainings that share a GPU of this machine."""
    warm: bool = False
    """Whether small cells use the fork server, which has already imported torch."""
    outputs: Names | None = None
    """Figures and tables of figures/all; by default, all of them."""
    gpus: dict[Name, Gpu] = {}
    """Kinds of GPU unknown to the cost model."""
    paper_values: bool = False
    """Whether figures also show the paper's values."""
    cluster: Cluster | None = None
    """The cluster that runs the jobs; by default, this machine runs them."""
    datasets: OwnDatasets = {}
    """Data sets of your own."""
    recipes: dict[Name, Annotated[Recipe, BeforeValidator(_names_its_data)]] = {}
    """Data, optimiser and schedule."""
    architectures: dict[
        Name, Annotated[Annotated[Network, Tag("(network)")] | Annotated[Alias, Tag("(alias)")], Discriminator(_tag)]
    ] = {}
    """Networks."""
    regimes: dict[Name, Training] = {}
    """The trainable parameters."""
    experiments: dict[Name, Experiment] = Field(default={}, min_length=1, validate_default=True)
    """The trainings: architectures x regimes x seeds."""

    @model_validator(mode="after")
    def _check(self) -> Configuration:
        """Refuse conflicting values and undefined names."""
        if self.engine == "reference" and self.precision not in ("fp32", "auto"):
            raise must("be fp32 with engine: reference; others need engine: fast", "precision", beside="engine")
        for name, architecture in self.architectures.items():
            if isinstance(architecture, Alias):
                if isinstance(self.architectures.get(architecture.same_as), Alias):
                    raise must("name an architecture that is not an alias itself", "architectures", name, "same_as")
                OneOf(self.architectures).check(architecture.same_as, "architectures", name, "same_as")
        for name, experiment in self.experiments.items():
            at = "experiments", name
            OneOf(self.recipes).check(experiment.recipe, *at, "recipe")
            lists = (("architectures", self.architectures), ("regimes", self.regimes), ("also", self.regimes))
            for key, known in lists:
                for i, word in enumerate(getattr(experiment, key)):
                    OneOf(known).check(word, *at, key, i)
            if experiment.case_study:
                OneOf(experiment.architectures).check(experiment.case_study, *at, "case_study")
        return self


def read_recipe(node: Node, scale: float, own: Mapping[str, DatasetInfo]) -> Recipe:
    """Read a recipe; `scale` shortens or stretches its schedule; `own` describes data sets that are not built in."""
    recipe = node.read(Recipe)
    if recipe.dataset not in DATASETS and recipe.dataset not in own:
        node.refuse_name("dataset", known=[*own, *DATASETS])
    try:
        return dataclasses.replace(
            recipe,
            own_data=own.get(recipe.dataset),
            epochs=round(recipe.epochs * scale, 6),
            milestones=tuple(round(m * scale, 6) for m in recipe.milestones),
            warmup_epochs=round(recipe.warmup_epochs * scale, 6),
        )
    except ValidationError:
        node.fail("epochs", must=f"be longer: multiplied by scale, {scale:g}, a length of the recipe becomes too short")


def check_fit(arch: Architecture, regime: Regime, recipe: Recipe, regime_node: Node, recipe_node: Node) -> None:
    """Refuse an architecture, a regime and a recipe that conflict; the nodes locate the error."""
    family = FAMILIES[arch.family]
    if regime.random_k and regime.random_k > (fan_in := min_fan_in(arch)):
        text = f"be at most {fan_in}, the smallest fan-in of a filter in architectures.{arch.name}"
        regime_node.fail("random", "k", must=text)
    data = recipe.data
    if not data.classes:
        text = f"be prepared, or datasets.{data.name} must give classes, train_images and test_images"
        recipe_node.fail("dataset", must=text)
    if recipe.input_size < family.min_image:
        text = (
            f"have images of at least {family.min_image} pixels for architectures.{arch.name}, not {recipe.input_size}"
        )
        recipe_node.fail("image_size" if recipe.image_size else "dataset", must=text)
    for wrong in (compatibility.augmentation(recipe), compatibility.batches(recipe, data.train_images)):
        if wrong:
            recipe_node.fail(*wrong.key, must=wrong.must, beside=(wrong.beside,))
