"""What the tests of figures share: the experiments, and figures drawn once from invented results."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from tests.figures import synthetic

from bnonly import paths
from bnonly.figures import catalog, render
from bnonly.figures.needs import Request, request
from bnonly.grid.resolve import Grid, resolve

FIGURES = [f"fig{i:02d}" for i in range(1, 26)]
#: One figure of each kind of page.
KINDS = ["fig01", "fig02", "fig03", "fig04", "fig05", "fig09", "fig10", "fig15", "fig23"]
SHEETS: dict = {}

DEPTH, WIDTH, IMAGENET, VGG, SMALL = "cifar-depth", "cifar-width", "imagenet", "vgg", "small"
THREE = (DEPTH, WIDTH, IMAGENET)
#: What the paper shows: panels, series in the order of the legend.
PAPER = {
    1: (THREE, "all all_noaffine"),
    2: (THREE, "all bn rand2 bn_out out"),
    3: ((DEPTH, WIDTH), "bn"),
    4: ((DEPTH, IMAGENET), "all bn"),
    5: (THREE, "all bn"),
    6: (THREE, "all bn"),
    7: (THREE, "all bn"),
    8: ((VGG,), "all all_noaffine"),
    9: ((VGG,), "all bn rand2 bn_out out"),
    11: (THREE, "all all_alt bn bn_alt"),
    12: (THREE, "all bn bn_short_out short_out"),
    13: ((DEPTH, WIDTH), "all bn rand2 rand4 rand8 rand16"),
    14: (THREE, "all bn bn_out rand2_out"),
    **{i: ((DEPTH,), "all bn") for i in (15, 16, 23)},
    **{i: ((WIDTH,), "all bn") for i in (17, 18, 24)},
    **{i: ((IMAGENET,), "all bn") for i in (19, 20, 25)},
    **{i: ((VGG,), "all bn") for i in (21, 22)},
}


def asked(grid: Grid, name: str) -> Request:
    return request(grid, name, catalog.FIGURES.needs(name))


def composed(root: Path, grid: Grid, name: str):
    """A figure's sheet, made once; only looked at."""
    if (root, name) not in SHEETS:
        with render.look():
            SHEETS[root, name] = render.compose(asked(grid, name), root)
    return SHEETS[root, name]


def written(root: Path, grid: Grid, name: str) -> list[Path]:
    """A figure's files, made once; only looked at."""
    made = [root / paths.figure(name, suffix) for suffix in paths.FIGURE_FORMATS]
    return made if made[-1].exists() else render.render(asked(grid, name), root=root)


def numbers(root: Path, grid: Grid, name: str) -> pd.DataFrame:
    return pd.read_csv(written(root, grid, name)[-1])


def texts(sheet) -> list[str]:
    """Everything that is written on a figure."""
    found = [t.get_text() for t in sheet.figure.findobj(match=lambda a: hasattr(a, "get_text")) if t.get_visible()]
    return [t for t in found if t.strip()]


def tiny(regimes: list[str], architectures: list[str], seeds: list[int]) -> Grid:
    """A grid of the small configuration with other experiments' sizes, for results that a test writes itself."""
    config = synthetic.small_config()
    config["experiments"] = {DEPTH: config["experiments"][DEPTH]}
    config["experiments"][DEPTH] |= {"regimes": regimes, "architectures": architectures, "seeds": seeds}
    config["experiments"][DEPTH]["case_study"] = architectures[0]
    return resolve(config)
