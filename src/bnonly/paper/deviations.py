"""Differences between the cells of a run and the paper's, in words (standard library and yaml; the Snakefile imports this).

Figures, tables, claims and the report all take their marks from this comparison.  ``config.yaml`` beside this file has
the paper's cells: architecture, regime, complete recipe, and number of seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bnonly.config.layers import read_yaml
from bnonly.console import listed
from bnonly.grid.cell import Cell, Key, Recipe, Regime
from bnonly.grid.resolve import Grid, resolve

#: The origin of a number in a figure or claim: experiment, architecture, regime.
Place = tuple[str, str, str]

_GROUPS = {
    "gamma": "γ",
    "beta": "β",
    "conv": "the convolutions",
    "shortcut": "the shortcuts",
    "output": "the output layer",
    "random": "random weights",
}


@dataclass(frozen=True)
class Deviation:
    """One difference.

    Attributes
    ----------
    what : str
        For example "8 of 160 epochs".
    where : str
        The experiments, networks or regimes that have it; empty if everything compared has it.
    disqualifies : bool
        Whether it turns the numbers into those of another experiment.  Engine and precision do not.
    untrained : bool
        Whether it concerns the networks themselves, apart from their training: data or architecture.
    """

    what: str
    where: str = ""
    disqualifies: bool = True
    untrained: bool = False


@cache
def paper() -> Grid:
    """Return the paper's own grid."""
    source = Path(__file__).with_name("config.yaml")
    return resolve(read_yaml(source), f"{source.parent.name}/{source.name}")


def deviations(grid: Grid, places: Iterable[Place], whole: Iterable[str] = ()) -> list[Deviation]:
    """Compare cells of a run with the paper's.

    Parameters
    ----------
    grid : Grid
        The run's configuration.
    places : iterable of Place
        The places to compare, with all seeds of each.
    whole : iterable of str
        Experiments shown as a whole: if the run omits one of the paper's networks there, that is a difference.

    Returns
    -------
    list of Deviation
        Each difference once: data, networks, regimes, recipe, seeds, engine and precision.  Empty for the paper's own
        cells, computed by the reference engine.
    """
    places = list(dict.fromkeys(places))
    found: dict[tuple[int, str, bool], list[Place]] = {}
    for place in places:
        for difference in _differences(grid, place):
            found.setdefault(difference, []).append(place)
    out = [
        (rank, Deviation(what, "" if rank == _REGIME else _where(grid, mine, places), disqualifies, rank <= _NETWORK))
        for (rank, what, disqualifies), mine in found.items()
    ]
    out += [(_NETWORK, Deviation(what, untrained=True)) for what in _networks(grid, places, whole)]
    return [deviation for _, deviation in sorted(out, key=lambda pair: pair[0])]


def on_request(grid: Grid) -> set[Key]:
    """Return the cells made on request: they support claims without a figure, and `figures/all` does not need them."""
    found = {
        key for name in paper().experiments if name in grid.experiments for key in grid.keys_of(grid.experiments[name])
    }
    return found - grid.on_default()


def in_words(found: Iterable[Deviation]) -> str:
    """Join differences: general ones first, then those of each place under its name."""
    by_place: dict[str, list[str]] = {}
    for deviation in found:
        by_place.setdefault(deviation.where, []).append(deviation.what)
    groups = sorted(by_place.items(), key=lambda group: group[0] != "")
    return "; ".join(f"{where}: {', '.join(what)}" if where else "; ".join(what) for where, what in groups)


_DATA, _NETWORK, _REGIME, _RECIPE, _SEEDS, _ENGINE = range(6)


def _differences(grid: Grid, place: Place) -> Iterator[tuple[int, str, bool]]:
    """Yield (rank, words, disqualifies) of one place."""
    experiment, architecture, regime = place
    seeds = grid.experiments[experiment].seeds
    mine = grid.cell(architecture, regime, seeds[0])
    wanted = paper().experiments.get(experiment)
    if wanted is None:
        if grid.experiments[experiment].on_request:  # beyond the paper, and labelled so wherever it is shown
            return
        yield _DATA, "an experiment of this project, not of the paper", True
        return
    # A network that the paper lacks is still compared in all other respects.
    known = architecture if architecture in wanted.architectures else wanted.architectures[0]
    if regime in wanted.regimes:
        theirs = paper().cell(known, regime, wanted.seeds[0])
        yield from ((_REGIME, text, True) for text in _regime(mine.regime, theirs.regime))
    else:
        theirs = paper().cell(known, wanted.regimes[0], wanted.seeds[0])
        yield _REGIME, f"{regime} is not a regime of the paper's {experiment}", True
    if mine.recipe.dataset != theirs.recipe.dataset:
        yield _DATA, f"{mine.recipe.data.title} instead of {theirs.recipe.data.title}", True
    if known == architecture and _shape(mine) != _shape(theirs):
        found, shape = _shape(mine), _shape(theirs)
        yield _NETWORK, f"{architecture} is a {_network(*found)} instead of a {_network(*shape)}", True
    yield from ((_RECIPE, text, disqualifies) for text, disqualifies in _recipe(mine.recipe, theirs.recipe))
    if len(seeds) != len(wanted.seeds):
        yield _SEEDS, _of(len(seeds), len(wanted.seeds), "seed"), len(seeds) < len(wanted.seeds)
    if (mine.engine, mine.precision) != (theirs.engine, theirs.precision):
        precision = "" if mine.precision == "fp32" else "; the paper's framework trained in fp32 by default"
        yield _ENGINE, f"{mine.engine} engine, {mine.precision}{precision}", False


def _shape(cell: Cell) -> tuple[str, int, int]:
    return cell.architecture.family, cell.architecture.depth, cell.architecture.channels


def _network(family: str, depth: int, channels: int) -> str:
    return f"{family} of depth {depth} with {channels} channels"


def _of(mine: float, theirs: float, unit: str) -> str:
    """``8 of 160 epochs``; with a larger value, ``200 epochs instead of 160``."""
    units = unit if theirs == 1 else f"{unit}s"
    return f"{mine:g} of {theirs:g} {units}" if mine < theirs else f"{mine:g} {unit}s instead of {theirs:g}"


def _regime(mine: Regime, theirs: Regime) -> Iterator[str]:
    if more := [_GROUPS[g] for g in mine.train if g not in theirs.train]:
        yield f"{mine.name} also trains {listed(more)}"
    if less := [_GROUPS[g] for g in theirs.train if g not in mine.train]:
        yield f"{mine.name} does not train {listed(less)}"
    if mine.random_k != theirs.random_k:
        yield f"{mine.name} trains {mine.random_k} random weights per channel instead of {theirs.random_k}"
    if mine.random_per != theirs.random_per:
        yield f"{mine.name} draws its random weights per {mine.random_per} instead of per {theirs.random_per}"
    if mine.affine != theirs.affine:
        yield f"γ and β of {mine.name} are {mine.affine} instead of {theirs.affine}"
    for letter, ours, paper_s in (
        ("γ", mine.gamma_init, theirs.gamma_init),
        ("β", mine.beta_init, theirs.beta_init),
    ):
        if ours != paper_s and mine.affine == theirs.affine:
            yield f"{letter} of {mine.name} starts at {_start(*ours)} instead of {_start(*paper_s)}"
    if mine.weight_init != theirs.weight_init:
        yield f"weights of {mine.name} start {_plain(mine.weight_init)} instead of {_plain(theirs.weight_init)}"


def _start(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"U[{low:g}, {high:g}]"


#: Wording of settings for which "NAME, THIS instead of THAT" is unclear.
_SETTINGS: dict[str, Callable[[Any, Any], str]] = {
    "epochs": lambda mine, theirs: _of(mine, theirs, "epoch"),
    "batch_size": lambda mine, theirs: f"{mine} images per batch instead of {theirs}",
    "lr": lambda mine, theirs: f"learning rate {mine:g} instead of {theirs:g}",
    "drop": lambda mine, theirs: f"learning rate dropped by a factor of {mine:g} instead of {theirs:g}",
    "milestones": lambda mine, theirs: f"learning rate dropped {_after(mine)} instead of {_after(theirs)}",
    "warmup_epochs": lambda mine, theirs: f"{mine:g} epochs of warm-up instead of {theirs:g}",
    "image_size": lambda mine, theirs: f"images of {mine} pixels instead of {theirs}",
    "gpus": lambda mine, theirs: f"{mine} GPUs per training",
    "statistics": lambda mine, theirs: f"BatchNorm statistics over {mine} images instead of {theirs}",
    "flip": lambda mine, theirs: "images mirrored at random" if mine else "images not mirrored",
    "shift": lambda mine, theirs: (
        f"images shifted by up to {mine} instead of {theirs} pixels" if mine else "images not shifted"
    ),
    "crop": lambda mine, theirs: "images cropped at random" if mine else "images not cropped at random",
}


def _recipe(mine: Recipe, theirs: Recipe) -> Iterator[tuple[str, bool]]:
    ours, paper_s = _settings(mine), _settings(theirs)
    for name, value in ours.items():
        other = paper_s[name]
        if value == other or (name in ("milestones", "warmup_epochs") and _same_share(mine, theirs, name)):
            continue
        # Omit consequences of another data set or batch size.
        if name == "image_size" and mine.dataset != theirs.dataset and not mine.image_size:
            continue
        if name == "statistics" and (value, other) == (mine.batch_size, theirs.batch_size):
            continue
        say = _SETTINGS.get(name, lambda a, b, name=name: f"{_plain(name)} {_plain(a)} instead of {_plain(b)}")
        # A shared batch changes results only through BatchNorm's statistics, which have a row of their own.
        yield say(value, other), name != "gpus"


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Return every setting except the data set by name, flat, with derived values."""
    found = {name: getattr(recipe, name) for name in recipe.__dataclass_fields__ if name not in ("dataset", "own_data")}
    augmentation = found.pop("augmentation")
    scope = found.pop("batchnorm")
    images = found.pop("batchnorm_images") or recipe.batch_size // (recipe.gpus if scope == "local" else 1)
    return {
        **found,
        "image_size": recipe.input_size,
        "statistics": images,
        **{name: getattr(augmentation, name) for name in augmentation.__dataclass_fields__},
    }


def _same_share(mine: Recipe, theirs: Recipe, name: str) -> bool:
    """Return whether a schedule is the paper's, shortened or stretched as a whole."""

    def shares(recipe: Recipe) -> list[float]:
        value = getattr(recipe, name)
        return [v / recipe.epochs for v in (value if isinstance(value, tuple) else (value,))]

    a, b = shares(mine), shares(theirs)
    return len(a) == len(b) and all(math.isclose(x, y, rel_tol=1e-3) for x, y in zip(a, b, strict=True))


def _after(milestones: tuple[float, ...]) -> str:
    if not milestones:
        return "never"
    return f"after epoch{'s' if len(milestones) > 1 else ''} {listed([f'{m:g}' for m in milestones])}"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value).replace("_", " ") if isinstance(value, str) else f"{value:g}"


def _networks(grid: Grid, places: list[Place], whole: Iterable[str]) -> Iterator[str]:
    """Name the networks that are not the paper's, and count the paper's networks that are missing."""
    shown: dict[str, dict[str, None]] = {}
    for experiment, architecture, _ in places:
        shown.setdefault(experiment, {})[architecture] = None
    others: dict[str, None] = {}
    for experiment, names in shown.items():
        if wanted := paper().experiments.get(experiment):
            others.update(dict.fromkeys(grid.architecture_labels[n] for n in names if n not in wanted.architectures))
    if others:
        yield f"networks that are not the paper's: {listed(list(others))}"
    absent = []
    for experiment in dict.fromkeys(whole):
        wanted = paper().experiments.get(experiment)
        if wanted is None:
            continue
        if experiment not in grid.experiments:
            absent.append(experiment)
            continue
        count = len(set(wanted.architectures) & set(shown.get(experiment, ())))
        if 0 < count < len(wanted.architectures):
            yield f"{count} of the {len(wanted.architectures)} networks of {grid.experiments[experiment].title}"
    if absent:
        yield f"experiments left out: {listed(absent)}"


def _where(grid: Grid, mine: list[Place], places: list[Place]) -> str:
    """Name the places of a difference, unless it concerns all of them."""
    if len(mine) == len(places):
        return ""
    parts: dict[str, None] = {}
    for experiment in dict.fromkeys(e for e, _, _ in mine):
        of_all = {p for p in places if p[0] == experiment}
        here = [p for p in mine if p[0] == experiment]
        architectures, regimes = ({p[i]: None for p in here} for i in (1, 2))
        if len(here) == len(of_all):
            parts[grid.experiments[experiment].title] = None
        elif len(here) == sum(p[1] in architectures for p in of_all):
            parts.update(dict.fromkeys(grid.architecture_labels[a] for a in architectures))
        elif len(here) == sum(p[2] in regimes for p in of_all):
            parts.update(dict.fromkeys(regimes))
        else:
            parts.update({f"{a}/{r}": None for _, a, r in here})
    return listed(list(parts))
