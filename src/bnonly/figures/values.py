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
from bnonly.console import listed
from bnonly.errors import UserError, accepted
from bnonly.figures.needs import Architecture, Panel, Request
from bnonly.grid.cell import Key

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from bnonly.paper.catalog import Stated

#: One row a run.
RUN_COLUMNS = ("panel", "architecture", "regime", "seed", "quantity", "value", "diverged")


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
    request : Request
        What it shows.
    root : Path
        The run's folder.
    """

    def __init__(self, request: Request, root: Path = Path(".")) -> None:
        self.name = request.name
        self.labels = request.labels
        self.panels = request.panels
        self._stated = request.stated
        self._root = root
        self._tables: dict[tuple[str, Key], tuple[pa.Table, dict[str, Any]]] = {}
        self._data: dict[str, tuple[Path, str]] = {}

    @property
    def runs(self) -> str:
        """How many runs are behind a point, in words."""
        found: dict[int, dict[str, None]] = {}
        for panel in self.panels:
            count = max(len(by_seed) for by_regime in panel.cells.values() for by_seed in by_regime.values())
            found.setdefault(count, {})[panel.axis_title] = None
        said = {n: "a single run" if n == 1 else f"{n} runs" for n in found}
        if len(found) == 1:
            return next(iter(said.values()))
        return listed(f"{said[n]} ({listed(titles)})" for n, titles in found.items())

    def has(self, experiment: str) -> bool:
        """Say whether the run has an experiment; not every run has all of a figure's."""
        return any(panel.experiment == experiment for panel in self.panels)

    def panel(self, experiment: str) -> Panel:
        """Return the panel of an experiment."""
        for panel in self.panels:
            if panel.experiment == experiment:
                return panel
        known = [p.experiment for p in self.panels]
        raise UserError(f"{self.name}: no panel '{experiment}'; {accepted(experiment, known)}")

    def table(self, kind: str, panel: Panel, key: Key) -> tuple[pa.Table, dict[str, Any]]:
        """Read one of a cell's files once.

        Raises
        ------
        UserError
            If it is absent, damaged, or of another configuration.
        """
        from bnonly.results import parquet

        if (kind, key) not in self._tables:
            path = self._root / key.folder / paths.PARQUET[kind]
            found = parquet.read(path, kind, panel.cells[key.architecture][key.regime][key.seed])
            if kind == "metrics":
                self._same_data(path, found[1]["data"])
            self._tables[kind, key] = found
        return self._tables[kind, key]

    def _same_data(self, path: Path, data: dict[str, Any]) -> None:
        """Refuse to show runs side by side that were trained on different data of one name."""
        first, sha256 = self._data.setdefault(data["dataset"], (path, data["sha256"]))
        if data["sha256"] != sha256:
            raise UserError(
                f"{path}: was trained on other {data['dataset']} data than {first}; delete the one made with the old data"
            )

    def parameters(self, panel: Panel, architecture: Architecture, regime: str) -> dict[str, int]:
        """Return the parameter counts that a cell's training recorded."""
        first = panel.replicates(architecture, regime)[0]
        return dict(self.table("metrics", panel, first)[1]["parameters"])

    def stored_bytes(self, panel: Panel, architecture: Architecture, regime: str) -> float:
        """Return the mean size of the weights files behind a point, in bytes.

        Raises
        ------
        UserError
            If one is absent.
        """
        sizes = []
        for key in panel.replicates(architecture, regime):
            path = self._root / key.folder / paths.TRAINED["weights"]
            try:
                sizes.append(path.stat().st_size)
            except OSError as problem:
                raise UserError(
                    f"{path}: {problem.strerror}; delete the cell's metrics.parquet to train it again"
                ) from None
        return sum(sizes) / len(sizes)

    def has_diverged(self, panel: Panel, key: Key) -> bool:
        """Say whether a run diverged."""
        return bool(self.table("metrics", panel, key)[1]["status"] == "diverged")

    def diverged(self) -> tuple[int, int]:
        """Return how many of the runs behind the figure diverged, and how many runs there are."""
        runs = {key: self.has_diverged(panel, key) for panel in self.panels for key, _ in panel.keys()}
        return sum(runs.values()), len(runs)

    def stated(self, panel: Panel, metric: str, threshold: float = 0.0) -> list[Stated]:
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
        return [s for s in self._stated if (s.experiment, s.metric, s.threshold) == wanted]

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

        keys = panel.replicates(architecture, regime)
        parts = [self._channels(kind, column, panel, key) for key in keys]
        return Pooled(
            np.concatenate([finite for finite, _ in parts]),
            len(keys),
            sum(self.has_diverged(panel, key) for key in keys),
            sum(dropped for _, dropped in parts),
        )

    def _channels(self, kind: str, column: str, panel: Panel, key: Key) -> tuple[np.ndarray, int]:
        from bnonly.results.metrics import finite

        values = self.table(kind, panel, key)[0].column(column).to_numpy()
        return (kept := finite(values)), values.size - kept.size

    def _per_run(self, panel: Panel, quantity: str, metric: str, threshold: float = 0.0) -> pd.DataFrame:
        import pandas as pd

        from bnonly.results.metrics import METRICS, measure

        kind, names = METRICS[metric].kind, METRICS[metric].columns

        def rows() -> Iterator[tuple[Any, ...]]:
            for architecture in panel.architectures:
                for regime in panel.regimes:
                    for key in panel.replicates(architecture, regime):
                        table = self.table(kind, panel, key)[0]
                        path = key.folder / paths.PARQUET[kind]
                        value = measure(metric, {n: table.column(n).to_numpy() for n in names}, path, threshold)
                        status = self.has_diverged(panel, key)
                        yield panel.experiment, architecture.name, regime, key.seed, quantity, value, status

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
