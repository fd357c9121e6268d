"""One cell of the grid, which specifies one training; frozen, canonical, hashable.

A cell is (architecture, regime, recipe, seed).  Its canonical JSON is the identity of its results.  Snakemake passes it
to the training program as a parameter, and every result file carries its digest, which reveals a changed cell.
Options added later have a default that the JSON omits, so that old results keep their identity.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass as model
from pydantic.json_schema import SkipJsonSchema

from bnonly import paths
from bnonly.config.reader import NAME, NO_FLAG, Count, Name, NotNegative, Number, OneOf, Positive, Seed, Whole, must
from bnonly.errors import UserError
from bnonly.grid.datasets import DATASETS, DatasetInfo

#: Raise it by hand whenever the same specification would train to different numbers (order of random draws,
#: initialisation, schedule, augmentation, evaluation).  It is part of every digest: raising it retrains everything.
PROTOCOL = 1

#: Parameter groups; a parameter's group follows from the type of its module (`bnonly.networks.regimes`).
GROUPS = ("gamma", "beta", "conv", "shortcut", "output", "random")
#: Engines: plain fp32 PyTorch; the fused network of `bnonly.engines.fast`; the same with the kernels of `bnonly.engines.triton`.
ENGINES = ("reference", "fast", "triton")
#: Precision of convolutions; statistics, affine parameters, loss and optimiser are always float32.
PRECISIONS = ("fp32", "tf32", "bf16")


#: Far above the paper's 866 layers and 512 channels; a larger network would fill the memory before its check.
Depth = Annotated[int, Field(ge=1, le=10_000), NO_FLAG]
Channels = Annotated[int, Field(ge=1, le=2**16), NO_FLAG]


class Key(NamedTuple):
    """A cell's place in the grid and in the file system."""

    architecture: str
    regime: str
    seed: int

    def __str__(self) -> str:
        return f"{self.architecture}/{self.regime}/seed{self.seed}"

    @property
    def folder(self) -> Path:
        """Folder of the results, for example ``results/ResNet-110/bn/seed0``."""
        return paths.RESULTS / str(self)

    def log(self, rule: str) -> Path:
        """Return the log file of the workflow's job for a rule ("train", "analyse")."""
        return Path("logs") / rule / f"{self}.log"

    @classmethod
    def parse(cls, text: str) -> Key | None:
        """Read the output of `str`, also below ``results/``; None if the text names no cell.

        Other spellings of a seed (``seed00``) name no cell: every cell has one folder.
        """
        match = re.fullmatch(rf"(?:{paths.RESULTS}/)?({NAME})/({NAME})/seed(0|[1-9][0-9]{{0,9}})", text)
        return cls(match[1], match[2], int(match[3])) if match else None


def _later(default: Any) -> Any:
    """A field added after results existed: the canonical JSON omits it while it has its default."""
    return field(default=default, metadata={"omit_default": True})


@dataclass(frozen=True)
class Architecture:
    """A network: its family, depth, and the channels of its first convolution."""

    name: Name
    family: str
    depth: Depth
    channels: Channels


@dataclass(frozen=True)
class Regime:
    """The trainable parameters and the initialisation.

    Attributes
    ----------
    train : tuple of str
        The groups that train, in the order of `GROUPS`.
    random_k : int
        Weights that train in every filter ("channel"), or on average per filter ("layer"); 0 without group "random".
    random_per : str
        "channel": k distinct weights of each filter's fan-in; "layer": the same number spread over the layer (fn. 5).
    affine : str
        "drawn": gamma and beta start at their initialisation; "disabled": gamma = 1, beta = 0, not trained (Fig. 1).
    gamma_init, beta_init : tuple of float
        Bounds of a uniform distribution; equal bounds are a constant.
    weight_init : str
        Distribution of convolutions and the output layer (Appendix E.1).
    """

    name: Name
    train: tuple[str, ...]
    random_k: Whole = 0
    random_per: str = "channel"
    affine: str = "drawn"
    gamma_init: tuple[Number, Number] = (0.0, 1.0)
    beta_init: tuple[Number, Number] = (0.0, 0.0)
    weight_init: str = "he_normal"


#: Recipe and augmentation are read from the configuration without conversion.
_READ = ConfigDict(extra="forbid", use_attribute_docstrings=True)


@model(frozen=True, config=_READ)
class Augmentation:
    """Random changes of a training image; the draws are a function of (seed, epoch, image)."""

    flip: bool = False
    """Mirror left to right with probability 1/2."""
    shift: Whole = 0
    """Move by up to this many pixels each way, zeros brought in before normalising (Appendix B.1)."""
    crop: bool = False
    """Random resized crop, scale 0.1 to 1, ratio 0.8 to 1.25 (Appendix B.2); the image size is the recipe's."""


@model(frozen=True, config=_READ)
class Recipe:
    """Data, optimiser and schedule (Appendix B); lengths and places are in epochs, the schedule is applied per iteration."""

    dataset: str
    """Name of a data set."""
    epochs: Positive
    """Length of the training in epochs."""
    batch_size: Count
    """Images of a batch, over all GPUs."""
    lr: Positive
    """Initial learning rate."""
    milestones: tuple[Positive, ...]
    """Epochs at whose ends the learning rate drops."""
    drop: Positive = 0.1
    """Factor of the learning rate at each milestone."""
    warmup_epochs: NotNegative = 0.0
    """Epochs in which the learning rate rises from 0."""
    momentum: Annotated[float, Field(ge=0, lt=1), NO_FLAG] = 0.9
    """Momentum of SGD."""
    weight_decay: NotNegative = 1e-4
    """Weight decay of everything that trains."""
    augmentation: Augmentation = Augmentation()
    """Random changes of the training images."""
    image_size: Whole = 0
    """Side of the network's input in pixels; 0 keeps the data set's own."""
    gpus: Count = _later(1)
    """Processes, one a GPU, that share every batch of a cell."""
    batchnorm: Annotated[str, OneOf(("local", "synchronised"))] = _later("local")
    """Over which images BatchNorm takes its statistics: those of one GPU, or of the whole batch."""
    batchnorm_images: Whole = _later(0)
    """Images of a group over which BatchNorm takes its statistics, whatever the number of GPUs; 0 leaves it to batchnorm."""
    own_data: SkipJsonSchema[DatasetInfo | None] = _later(None)
    """Description of a data set that the configuration defines; None for a built-in one."""

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        """Refuse values that do not go together."""
        if any(a >= b for a, b in pairwise(self.milestones)):
            raise must("rise", "milestones")
        if self.milestones and self.milestones[-1] >= self.epochs:
            raise must(f"end before epochs, {self.epochs:g}", "milestones", beside="epochs")
        if self.warmup_epochs >= self.epochs:
            raise must(f"be less than epochs, {self.epochs:g}", "warmup_epochs", beside="epochs")
        if self.gpus > 1 and (self.batch_size % self.gpus or self.batch_size < 2 * self.gpus):
            text = f"divide batch_size, {self.batch_size}, into shares of at least 2 images"
            raise must(text, "gpus", beside="batch_size")
        if self.batchnorm != "local" and self.gpus == 1:
            raise must("be 'local' with one GPU", "batchnorm", beside="gpus")
        if self.batchnorm_images:
            self._check_groups()
        return self

    def _check_groups(self) -> None:
        """Refuse groups that do not fit the images of a GPU."""
        if self.batchnorm != "local":
            raise must("be 0 with batchnorm: synchronised", "batchnorm_images", beside="batchnorm")
        share = self.batch_size // self.gpus
        if self.batchnorm_images < 2 or share % self.batchnorm_images:
            text = f"be 0, or 2 or more and divide {share}, the images of a batch on one GPU"
            raise must(text, "batchnorm_images", beside="batch_size")

    @property
    def data(self) -> DatasetInfo:
        """The description of the data set."""
        return self.own_data or DATASETS[self.dataset]

    @property
    def input_size(self) -> int:
        """Side of the network's input in pixels."""
        return self.image_size or self.data.image_size

    @property
    def batchnorm_groups(self) -> int:
        """Groups of images, on one GPU, each with BatchNorm statistics of its own."""
        return self.batch_size // self.gpus // self.batchnorm_images if self.batchnorm_images else 1


@dataclass(frozen=True)
class Cell:
    """One training."""

    architecture: Architecture
    regime: Regime
    recipe: Recipe
    seed: Seed
    engine: str = _later("reference")
    precision: str = _later("fp32")
    protocol: int = PROTOCOL

    @property
    def key(self) -> Key:
        """Where the results are."""
        return Key(self.architecture.name, self.regime.name, self.seed)

    def __str__(self) -> str:
        return str(self.key)

    def canonical(self) -> str:
        """Return the canonical JSON: sorted keys, no white space, defaults of later options left out."""
        return self._canonical

    @cached_property
    def _canonical(self) -> str:
        return json.dumps(_plain(self), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """Return 16 hexadecimal digits that identify the training."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {
            f.name: _plain(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if not f.metadata.get("omit")
            and not (f.metadata.get("omit_default") and getattr(value, f.name) == f.default)
        }
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


def differences(mine: str, theirs: str, whose: str = "the file's") -> str:
    """Describe the differences between two canonical JSON texts.

    Parameters
    ----------
    mine, theirs : str
        Canonical JSON of the requested cell and of the found one.
    whose : str
        The name for the found one.

    Returns
    -------
    str
        For example ``recipe.lr is 0.2, the file's is 0.1``.
    """
    a, b = _flat(json.loads(mine)), _flat(json.loads(theirs))
    parts = [
        f"{k} is {a.get(k, 'absent')}, {whose} is {b.get(k, 'absent')}" for k in sorted(a | b) if a.get(k) != b.get(k)
    ]
    return "; ".join(parts[:3]) + (f"; and {len(parts) - 3} more" if len(parts) > 3 else "")


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(node, dict):
        return {k: v for key, value in node.items() for k, v in _flat(value, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): node}


def parse_cell(text: str) -> Cell:
    """Rebuild a cell from its canonical JSON.

    Raises
    ------
    UserError
        If the text is not the canonical JSON of a cell of this version.
    """
    try:
        cell = _CELL.validate_json(text)
    except ValidationError as problem:
        first = problem.errors()[0]
        raise UserError(
            f"not a cell's specification ({'.'.join(map(str, first['loc']))}: {first['msg']}): {text[:80]!r}"
        ) from None
    if cell.canonical() != text:
        raise UserError(f"not a cell's specification (it is not canonical): {text[:80]!r}")
    return cell


_CELL = TypeAdapter(Cell)
