"""From a request and the cells' files to the numbers that figures and tables show.

The one place where drawing reads results.  Every file is checked against the digest that the request names, so a
figure is never made of another configuration's numbers.  pandas and pyarrow are imported on use: figure modules name
`Results` in their signatures, and the Snakefile imports figure modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly import paths
from bnonly.errors import UserError, accepted
from bnonly.grid.cell import Key
from bnonly.grid.datasets import DATASETS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

#: The title of a run that is the paper's own (config.yaml).
PAPER_RUN = "paper"

#: One row a run.
RUN_COLUMNS = ("panel", "architecture", "regime", "seed", "quantity", "value", "diverged")


@dataclass(frozen=True)
class Architecture:
    """A place on a panel's x axis; two of them may share a folder (WRN-14-1 is ResNet-14)."""

    name: str
    label: str
    folder: str
    family: str
    depth: int
    channels: int


@dataclass(frozen=True)
class Panel:
    """An experiment as a figure asked for it; `seeds` is by (folder, regime)."""

    experiment: str
    title: str
    dataset_title: str
    paper_data: bool
    classes: int
    regimes: tuple[str, ...]
    architectures: tuple[Architecture, ...]
    seeds: dict[tuple[str, str], dict[str, str]]

    @property
    def axis_title(self) -> str:
        """The title, which never passes other data off as those it names."""
        others = {info.title for info in DATASETS.values()} - {self.dataset_title}
        if self.dataset_title in self.title or (self.paper_data and not any(name in self.title for name in others)):
            return self.title
        return f"{self.title}, on {self.dataset_title}"

    def short_name(self, architecture: Architecture) -> str:
        """Return an architecture's label without the data set, where the panel names it anyway."""
        return architecture.label.removeprefix(f"{self.dataset_title}-")

    def chance(self, top: int = 1) -> float:
        """Return the accuracy of guessing, in percent."""
        return 100.0 * min(1.0, top / self.classes)


@dataclass(frozen=True)
class Pooled:
    """Channel values of all runs of one regime and architecture.

    Attributes
    ----------
    values : numpy.ndarray
        The finite ones.
    runs, diverged : int
        How many runs they come from, and how many of these diverged.
    dropped : int
        How many values were not finite.
    """

    values: np.ndarray
    runs: int
    diverged: int
    dropped: int


class Results:
    """The results behind one figure or table.

    Parameters
    ----------
    asked : dict
        What `bnonly.figures.needs.request` returned.
    root : Path
        The run's folder.
    """

    def __init__(self, asked: dict[str, Any], root: Path = Path(".")) -> None:
        self.name: str = asked["name"]
        self.run: str = asked["run"]
        self.absent: tuple[str, ...] = tuple(asked["absent"])
        self.labels: dict[str, str] = asked["labels"]
        self._stated: list[dict[str, Any]] = asked.get("stated", [])
        self.panels = tuple(_panel(p) for p in asked["panels"])
        self._root = root
        self._tables: dict[tuple[str, str, str, str], tuple[pa.Table, dict[str, Any]]] = {}
        self._data: dict[str, tuple[Path, str]] = {}

    @property
    def provenance(self) -> str:
        """What a reader must not take for the paper's: other data, another configuration, less of it; or empty."""
        parts = [] if self.run == PAPER_RUN else [f"Run: {self.run}, not the paper's configuration."]
        if self.absent:
            parts.append(f"Experiments left out: {', '.join(self.absent)}.")
        foreign = [p for p in self.panels if not p.paper_data]
        if foreign:
            paper = " or ".join(info.title for info in DATASETS.values() if info.paper)
            found = [p.dataset_title if len(foreign) == len(self.panels) else p.axis_title for p in foreign]
            parts.append(f"Data: {', '.join(dict.fromkeys(found))}, not the paper's {paper}.")
        return " ".join(parts)

    def has(self, experiment: str) -> bool:
        """Say whether a panel is there; a run may leave experiments out."""
        return experiment not in self.absent

    def panel(self, experiment: str) -> Panel:
        """Return a panel by the name of its experiment."""
        for panel in self.panels:
            if panel.experiment == experiment:
                return panel
        known = [p.experiment for p in self.panels]
        raise UserError(f"{self.name}: no panel '{experiment}'; {accepted(experiment, known)}")

    def table(self, kind: str, panel: Panel, folder: str, regime: str, seed: str) -> tuple[pa.Table, dict[str, Any]]:
        """Read one of a cell's files once.

        Raises
        ------
        UserError
            If it is absent, damaged, or of another configuration.
        """
        from bnonly.results import parquet

        key = kind, folder, regime, seed
        if key not in self._tables:
            path = self._root / Key(folder, regime, int(seed)).folder / paths.PARQUET[kind]
            self._tables[key] = parquet.read(path, kind, panel.seeds[folder, regime][seed])
            if kind == "metrics":
                self._same_data(path, self._tables[key][1]["data"])
        return self._tables[key]

    def _same_data(self, path: Path, data: dict[str, Any]) -> None:
        """Refuse to show runs side by side that were trained on different data of one name."""
        first, sha256 = self._data.setdefault(data["dataset"], (path, data["sha256"]))
        if data["sha256"] != sha256:
            raise UserError(
                f"{path}: was trained on other {data['dataset']} data than {first}; delete the one made with the old data"
            )

    def parameters(self, panel: Panel, architecture: Architecture, regime: str) -> dict[str, int]:
        """Return the parameter counts that a cell's training recorded."""
        seed = next(iter(panel.seeds[architecture.folder, regime]))
        return dict(self.table("metrics", panel, architecture.folder, regime, seed)[1]["parameters"])

    def has_diverged(self, panel: Panel, folder: str, regime: str, seed: str) -> bool:
        """Say whether a run diverged."""
        return bool(self.table("metrics", panel, folder, regime, seed)[1]["status"] == "diverged")

    def diverged(self) -> tuple[int, int]:
        """Return how many of the runs behind the figure diverged, and how many runs there are."""
        runs = {
            (folder, regime, seed): self.has_diverged(panel, folder, regime, seed)
            for panel in self.panels
            for (folder, regime), seeds in panel.seeds.items()
            for seed in seeds
        }
        return sum(runs.values()), len(runs)

    def stated(self, panel: Panel, metric: str, threshold: float = 0.0) -> list[dict[str, Any]]:
        """Return the values that the paper states for a panel's points, if the configuration wants them shown.

        Parameters
        ----------
        panel : Panel
            Where.
        metric : str
            As in the claims: "top1", "small_gammas".
        threshold : float
            Of the metrics that have one.
        """
        wanted = (panel.experiment, metric, threshold)
        return [s for s in self._stated if (s["experiment"], s["metric"], s["threshold"]) == wanted]

    def accuracy(self, panel: Panel, top: int = 1) -> pd.DataFrame:
        """Return every run's final test accuracy in percent: of the last epoch trained, diverged or not."""
        return self._per_run(panel, f"test_top{top}", f"top{top}")

    def small_gammas(self, panel: Panel, threshold: float) -> pd.DataFrame:
        """Return the percentage of every run's gammas that are smaller than `threshold` in absolute value."""
        return self._per_run(panel, f"small_gammas<{threshold:g}", "small_gammas", threshold)

    def clamping_change(self, panel: Panel, threshold: float) -> pd.DataFrame:
        """Return by how many percentage points clamping gammas below `threshold` changes every run's accuracy."""
        return self._per_run(panel, f"change<{threshold:g}", "clamping_change", threshold)

    def disabled_activations(self, panel: Panel) -> pd.DataFrame:
        """Return the percentage of every run's ReLU channels that are disabled (`bnonly.results.metrics.DISABLED`)."""
        from bnonly.results.metrics import DISABLED

        return self._per_run(panel, f"zero>{DISABLED:g}", "disabled_activations")

    def pooled(self, kind: str, column: str, panel: Panel, architecture: Architecture, regime: str) -> Pooled:
        """Return a column of a cell's file over all channels and all replicates."""
        import numpy as np

        folder = architecture.folder
        seeds = panel.seeds[folder, regime]
        parts = [self._channels(kind, column, panel, folder, regime, seed) for seed in seeds]
        return Pooled(
            np.concatenate([finite for finite, _ in parts]),
            len(seeds),
            sum(self.has_diverged(panel, folder, regime, seed) for seed in seeds),
            sum(dropped for _, dropped in parts),
        )

    def _channels(
        self, kind: str, column: str, panel: Panel, folder: str, regime: str, seed: str
    ) -> tuple[np.ndarray, int]:
        from bnonly.results.metrics import finite

        values = self.table(kind, panel, folder, regime, seed)[0].column(column).to_numpy()
        return (kept := finite(values)), values.size - kept.size

    def _per_run(self, panel: Panel, quantity: str, metric: str, threshold: float = 0.0) -> pd.DataFrame:
        import pandas as pd

        from bnonly.results.metrics import METRICS, measure

        kind, names = METRICS[metric].kind, METRICS[metric].columns

        def rows() -> Iterator[tuple[Any, ...]]:
            for architecture in panel.architectures:
                for regime in panel.regimes:
                    for seed in panel.seeds[architecture.folder, regime]:
                        where = architecture.folder, regime, seed
                        table = self.table(kind, panel, *where)[0]
                        path = Key(architecture.folder, regime, int(seed)).folder / paths.PARQUET[kind]
                        value = measure(metric, {n: table.column(n).to_numpy() for n in names}, path, threshold)
                        status = self.has_diverged(panel, *where)
                        yield panel.experiment, architecture.name, regime, seed, quantity, value, status

        return pd.DataFrame(list(rows()), columns=list(RUN_COLUMNS))


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Reduce runs to points.

    Parameters
    ----------
    runs : pandas.DataFrame
        One row a run, with `RUN_COLUMNS`.

    Returns
    -------
    pandas.DataFrame
        One row a panel, architecture, regime and quantity, in their order of appearance, with `runs` (how many there
        are), `n` (how many have a finite value), `mean`, `sd` (of a sample; missing for n < 2) and `diverged`.
    """
    finite = runs.assign(value=runs["value"].where(runs["value"].abs() != float("inf")))
    grouped = finite.groupby(["panel", "architecture", "regime", "quantity"], sort=False)
    points = grouped.agg(
        runs=("value", "size"),
        n=("value", "count"),
        mean=("value", "mean"),
        sd=("value", "std"),
        diverged=("diverged", "sum"),
    )
    return points.reset_index()


def _panel(asked: dict[str, Any]) -> Panel:
    return Panel(
        asked["experiment"],
        asked["title"],
        asked["dataset_title"],
        asked["paper_data"],
        asked["classes"],
        tuple(asked["regimes"]),
        tuple(
            Architecture(a["name"], a["label"], a["folder"], a["family"], a["depth"], a["channels"])
            for a in asked["architectures"]
        ),
        {(folder, regime): seeds for folder, by in asked["cells"].items() for regime, seeds in by.items()},
    )
