"""One cell of the grid: what is trained, how, with which seed; frozen, canonical, hashable (standard library only).

A cell is (architecture, regime, recipe, seed).  Its canonical JSON is the identity of its results: Snakemake passes it
to the training program as a parameter, every result file carries its digest, and a changed cell is noticed by it.
Options added later take a default that is left out of the JSON, so that old results keep their identity.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bnonly import paths
from bnonly.config.reader import NAME
from bnonly.errors import UserError

#: Raised by hand whenever the same specification would train to different numbers than before (order of random draws,
#: initialisation, schedule, augmentation, evaluation).  It is part of every digest: raising it retrains everything.
PROTOCOL = 1

#: Magnitudes below which a gamma or beta is small: in the clamping of Section 5, in Figures 5 and 6, and in the claims.
SMALL = (0.01, 0.05, 0.1)

#: Parameter groups, each found by the type of the module that holds it (`bnonly.networks.regimes`).
GROUPS = ("gamma", "beta", "conv", "shortcut", "output", "random")
WEIGHT_INITS = ("he_normal", "he_uniform", "binary", "orthogonal")
AFFINE_MODES = ("drawn", "disabled")
RANDOM_SCOPES = ("channel", "layer")
#: What trains: plain fp32 PyTorch; the fused network of `bnonly.engines.fast`; that with the kernels of `bnonly.engines.triton`.
ENGINES = ("reference", "fast", "triton")
#: What convolutions compute in; statistics, affine parameters, loss and optimiser are always float32.
PRECISIONS = ("fp32", "tf32", "bf16")
#: Which images BatchNorm's statistics are of where several GPUs share a batch.
BATCHNORM_SCOPES = ("local", "synchronised")


class Key(NamedTuple):
    """Where a cell is in the grid, and where its files are."""

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
        """Return the file in which the workflow's job of a rule ("train", "analyse") writes what it says."""
        return Path("logs") / rule / f"{self}.log"

    @classmethod
    def parse(cls, text: str) -> Key | None:
        """Read what `str` writes, also below ``results/``; None if the text names no cell.

        Other ways to write a seed (``seed00``) name none: every cell has one folder.
        """
        match = re.fullmatch(rf"(?:{paths.RESULTS}/)?({NAME})/({NAME})/seed(0|[1-9][0-9]{{0,9}})", text)
        return cls(match[1], match[2], int(match[3])) if match else None


def _later(default: Any) -> Any:
    """A field added after results existed: left out of the canonical JSON while it has its default."""
    return field(default=default, metadata={"omit_default": True})


@dataclass(frozen=True)
class Architecture:
    """A network: its family, depth, and the channels of its first convolution."""

    name: str
    family: str
    depth: int
    channels: int


@dataclass(frozen=True)
class Regime:
    """What trains and how everything starts.

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

    name: str
    train: tuple[str, ...]
    random_k: int = 0
    random_per: str = "channel"
    affine: str = "drawn"
    gamma_init: tuple[float, float] = (0.0, 1.0)
    beta_init: tuple[float, float] = (0.0, 0.0)
    weight_init: str = "he_normal"


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image; the draws are a function of (seed, epoch, image).

    Attributes
    ----------
    flip : bool
        Mirror left to right with probability 1/2.
    shift : int
        Move by up to this many pixels each way, zeros brought in before normalising (Appendix B.1).
    crop : bool
        Random resized crop, scale 0.1 to 1, ratio 0.8 to 1.25 (Appendix B.2); the image size is the recipe's.
    """

    flip: bool = False
    shift: int = 0
    crop: bool = False


@dataclass(frozen=True)
class Recipe:
    """Data, optimiser and schedule (Appendix B).

    Attributes
    ----------
    dataset : str
        Name of a data set of `bnonly.data`.
    image_size : int
        Side of the network's input in pixels; 0 keeps the data set's own.
    epochs, milestones, warmup_epochs : float
        Lengths and places in epochs; the schedule is applied per iteration.
    lr, drop : float
        Initial learning rate and the factor at each milestone.
    gpus : int
        Processes, one a GPU, that share every batch of a cell; without `batchnorm` "synchronised" each has statistics of its own.
    batchnorm : str
        Over which images BatchNorm takes its statistics: those of one GPU ("local"), or of the whole batch ("synchronised").
    """

    dataset: str
    epochs: float
    batch_size: int
    lr: float
    milestones: tuple[float, ...]
    drop: float = 0.1
    warmup_epochs: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    augmentation: Augmentation = Augmentation()
    image_size: int = 0
    gpus: int = _later(1)
    batchnorm: str = _later("local")


@dataclass(frozen=True)
class Cell:
    """One training."""

    architecture: Architecture
    regime: Regime
    recipe: Recipe
    seed: int
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
        return json.dumps(_plain(self), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """Return 16 hexadecimal digits that identify the training."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {
            f.name: _plain(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if not (f.metadata.get("omit_default") and getattr(value, f.name) == f.default)
        }
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


def differences(mine: str, theirs: str, whose: str = "the file's") -> str:
    """Say in a few words where two canonical JSON texts differ.

    Parameters
    ----------
    mine, theirs : str
        Canonical JSON of the cell wanted and of the cell found.
    whose : str
        What the other one is called.

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
        node = json.loads(text)
        recipe = dict(node["recipe"])
        recipe["milestones"] = tuple(recipe["milestones"])
        recipe["augmentation"] = Augmentation(**recipe["augmentation"])
        regime = dict(node["regime"])
        for name in ("train", "gamma_init", "beta_init"):
            regime[name] = tuple(regime[name])
        rest = {k: v for k, v in node.items() if k not in ("architecture", "regime", "recipe")}
        cell = Cell(Architecture(**node["architecture"]), Regime(**regime), Recipe(**recipe), **rest)
        if not (re.fullmatch(NAME, cell.architecture.name) and re.fullmatch(NAME, cell.regime.name)):
            raise ValueError("names are letters, digits, '-', '_' and '.'")
        if cell.canonical() != text:
            raise ValueError("it is not canonical")
        return cell
    except (ValueError, KeyError, TypeError) as problem:
        raise UserError(f"not a cell's specification ({problem}): {text[:80]!r}") from None
