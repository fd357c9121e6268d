"""What a configuration says of one thing: an architecture, a regime, a recipe, a kind of GPU, a cluster."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from bnonly.config.reader import Node
from bnonly.grid import compatibility
from bnonly.grid.cell import (
    AFFINE_MODES,
    BATCHNORM_SCOPES,
    GROUPS,
    RANDOM_SCOPES,
    WEIGHT_INITS,
    Architecture,
    Augmentation,
    Recipe,
    Regime,
)
from bnonly.grid.datasets import DATASETS
from bnonly.grid.families import FAMILIES


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


def gpu(node: Node) -> dict[str, Any]:
    """Read a kind of GPU."""
    node.only("memory_gb", "bandwidth_gb_s", "tflops", "watts", "aliases")
    rates = node.child("tflops")
    rates.only("fp32", "tf32", "bf16", "fp16")
    plain = rates.number("fp32", low=0, open_low=True)
    return {
        **{k: node.number(k, low=0, open_low=True) for k in ("memory_gb", "bandwidth_gb_s", "watts")},
        "tflops": {k: rates.number(k, plain, low=0, open_low=True) for k in ("fp32", "tf32", "bf16", "fp16")},
        "aliases": node.words("aliases") if "aliases" in node.content else (),
    }


def cluster(node: Node) -> Cluster:
    """Read what a cluster wants of a job."""
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
            beside="warning_seconds",
        )
    return cluster


def architecture(name: str, node: Node) -> Architecture:
    """Read an architecture."""
    node.only("family", "depth", "channels", "label", "override")
    family = node.word("family", known=list(FAMILIES))
    rules = FAMILIES[family]
    depth = node.integer("depth")
    if not rules.has_depth(depth):
        node.fail("depth", depth, f"{family} has depths {rules.depths}")
    return Architecture(name, family, depth, node.integer("channels", rules.channels, low=1))


def regime(name: str, node: Node) -> Regime:
    """Read a regime."""
    node.only("train", "random", "affine", "gamma_init", "beta_init", "weight_init", "label", "override")
    train = node.words("train", GROUPS)
    affine = node.word("affine", "drawn", AFFINE_MODES)
    if affine == "disabled" and {"gamma", "beta"} & set(train):
        node.fail("affine", affine, "gamma and beta cannot be disabled and trained; take them out of 'train'")
    if affine == "disabled" and {"gamma_init", "beta_init"} & set(node.content):
        node.fail("affine", affine, "disabled means gamma = 1, beta = 0; take out gamma_init and beta_init")
    random = node.child("random")
    random.only("k", "per")
    if ("random" in train) != bool(random.content):
        node.fail(
            "random", dict(random.content), "give 'random: {k: 2, per: channel}' exactly where 'train' lists random"
        )
    if "random" in train and {"conv", "shortcut"} & set(train):
        node.fail(
            "train", list(train), "random weights are chosen among frozen ones; conv and shortcut already train them"
        )
    return Regime(
        name,
        tuple(g for g in GROUPS if g in train),
        random.integer("k", 0, low=1) if random.content else 0,
        random.word("per", "channel", RANDOM_SCOPES),
        affine,
        node.bounds("gamma_init", (0.0, 1.0) if affine == "drawn" else (1.0, 1.0)),
        node.bounds("beta_init", (0.0, 0.0)),
        node.word("weight_init", "he_normal", WEIGHT_INITS),
    )


def override(node: Node) -> Node:
    """Return what an architecture, a regime or an experiment changes in a recipe."""
    child = node.child("override")
    child.only(*(f.name for f in dataclasses.fields(Recipe)))
    return child


def recipe(node: Node, scale: float) -> Recipe:
    """Read a recipe; `scale` shortens or stretches its schedule."""
    node.only(*(f.name for f in dataclasses.fields(Recipe)))
    dataset = node.word("dataset", known=list(DATASETS))
    aug = node.child("augmentation")
    aug.only("flip", "shift", "crop")
    epochs = round(node.number("epochs", low=0, open_low=True) * scale, 6)
    milestones = tuple(round(m * scale, 6) for m in node.numbers("milestones"))
    if list(milestones) != sorted(set(milestones)) or (milestones and milestones[0] <= 0):
        node.fail("milestones", node.content["milestones"], "rising epochs above 0 are wanted")
    if milestones and milestones[-1] >= epochs:
        node.fail(
            "milestones",
            node.content["milestones"],
            f"epochs below {epochs / scale:g}, the end, are wanted; 'scale' shortens both",
            beside="epochs",
        )
    warmup = round(node.number("warmup_epochs", 0.0, low=0) * scale, 6)
    if warmup >= epochs:
        wanted = f"less than {epochs / scale:g}, all epochs, is wanted"
        node.fail("warmup_epochs", node.content["warmup_epochs"], wanted, beside="epochs")
    momentum = node.number("momentum", 0.9, low=0)
    if momentum >= 1:
        node.fail("momentum", momentum, "a number below 1 is wanted")
    batch, gpus = node.integer("batch_size", low=1), node.integer("gpus", 1, low=1)
    if gpus > 1 and (batch % gpus or batch < 2 * gpus):
        wanted = f"a number is wanted that divides batch_size, {batch}, into shares of 2 images or more"
        node.fail("gpus", gpus, wanted, beside="batch_size")
    batchnorm = node.word("batchnorm", "local", BATCHNORM_SCOPES)
    if batchnorm != "local" and gpus == 1:
        wanted = "with one GPU there is nothing to synchronise; give 'gpus', or take it out"
        node.fail("batchnorm", batchnorm, wanted, beside="gpus")
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


def check_fit(arch: Architecture, regime: Regime, recipe: Recipe, regime_node: Node, recipe_node: Node) -> None:
    """Refuse an architecture, a regime and a recipe that do not go together; the nodes are what was read."""
    family = FAMILIES[arch.family]
    fan_in = family.min_fan_in(arch.depth, arch.channels)
    if regime.random_k > fan_in:
        wanted = f"architectures.{arch.name} has filters with a fan-in of {fan_in}, so at most that is wanted"
        regime_node.fail(("random", "k"), regime.random_k, wanted)
    data = DATASETS[recipe.dataset]
    key, size = ("image_size", recipe.image_size) if recipe.image_size else ("dataset", data.image_size)
    if size < family.min_image:
        wanted = f"architectures.{arch.name} needs images of at least {family.min_image} pixels, these have {size}"
        recipe_node.fail(key, recipe_node.content[key], wanted)
    for wrong in (compatibility.augmentation(recipe), compatibility.batches(recipe, data.train_images)):
        if wrong:
            recipe_node.fail(wrong.key, wrong.value, wrong.wanted, beside=wrong.beside)
