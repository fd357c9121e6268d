"""A plot of one architecture: learning curves and the distribution of gamma for some of its regimes (``bnonly plot``)."""

from __future__ import annotations

from collections.abc import Sequence

from bnonly import paths
from bnonly.console import listed
from bnonly.errors import UserError
from bnonly.figures.drawing.curves import curves
from bnonly.figures.drawing.densities import GAMMA, histograms
from bnonly.figures.drawing.sheet import PAGE, Sheet
from bnonly.figures.needs import Architecture, Panel, Request
from bnonly.figures.values import Results
from bnonly.grid.resolve import Grid
from bnonly.results.state import FINISHED, state_of


def ask(grid: Grid, name: str, regimes: Sequence[str], again: str) -> Request:
    """Return the request of a plot: every finished replicate of an architecture's regimes.

    Parameters
    ----------
    grid : Grid
        The grid.
    name : str
        An architecture, or an alias of one.
    regimes : sequence of str
        At least one.
    again : str
        The beginning of a command about the same run, for the message.

    Raises
    ------
    UserError
        If the grid lacks one of them, a regime has no finished cell, or they were trained on different data sets.
    """
    folder, names = grid.aliases.get(name, name), list(dict.fromkeys(regimes))
    found = {r: [c for k, c in grid.cells.items() if k[:2] == (folder, r)] for r in names}
    for regime in names:
        if not found[regime]:
            grid.cell(name, regime, 0)  # says what is wrong
    cells = {r: {c.seed: c.digest() for c in found[r] if state_of(c) in FINISHED} for r in names}
    for regime in names:
        if not cells[regime]:
            where = paths.shown(found[regime][0].key.folder.parent)
            train = f"{again} train {name} {regime}"
            raise UserError(f"{where}: no seed is trained with this configuration; train one first: {train}")
    spec = found[names[0]][0]
    datasets = {found[r][0].recipe.dataset: r for r in names}
    if len(datasets) > 1:
        (one, first), (other, second) = list(datasets.items())[:2]
        raise UserError(f"{name}: {first} trains on {one} and {second} on {other}; plot them one at a time")
    data = spec.recipe.data
    network = spec.architecture
    architecture = Architecture(
        folder, grid.architecture_labels[name], folder, network.family, network.depth, network.channels
    )
    panel = Panel(
        "plot",
        architecture.label,
        spec.recipe.dataset,
        data.title,
        data.paper,
        data.classes,
        tuple(names),
        ("metrics", "batchnorm"),
        (architecture,),
        {folder: cells},
    )
    return Request(f"plots/{name}-{'-'.join(names)}", {r: grid.regime_labels[r] for r in names}, (panel,))


def draw(sheet: Sheet, data: Results) -> None:
    """Draw the plot."""
    (panel,) = data.panels
    (architecture,) = panel.architectures
    accuracy, loss, gamma = sheet.grid(3, 3, PAGE, 2.1)
    sheet.heading(f"{panel.short_name(architecture)} for {panel.dataset_title}")
    curves(sheet, accuracy, data, (panel, architecture))
    accuracy.set_ylabel("Test Accuracy (%)")
    accuracy.set_ylim(0, 100)
    curves(sheet, loss, data, (panel, architecture), "train_loss")
    loss.set_ylabel("Training Loss (nats)")
    loss.set_xlim(accuracy.get_xlim())
    if any(len(panel.replicates(architecture, regime)) > 1 for regime in panel.regimes):
        sheet.note("Curves: mean ± one standard deviation.")
    histograms(sheet, gamma, data, GAMMA, (panel, architecture), GAMMA.heading)
    gamma.set_ylabel("Density")
    gamma.set_xlabel(GAMMA.label)
    runs = {data.labels[regime]: len(panel.replicates(architecture, regime)) for regime in panel.regimes}
    if len(set(runs.values())) > 1:
        sheet.note(f"Finished runs: {listed(f'{label} {count}' for label, count in runs.items())}.")
