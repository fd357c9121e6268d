"""The numbers of figures and tables, from a request and the cells' files.

Drawing reads results only here.  Every file is checked against the digest in the request, so that a figure never shows
another configuration's numbers.  pandas and pyarrow are imported on use: figure modules name `Results` in their
signatures, and the Snakefile imports figure modules.
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
from bnonly.results import cache

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from bnonly.paper.catalog import Stated

#: One row for each run.
RUN_COLUMNS = ("panel", "architecture", "regime", "seed", "quantity", "value", "diverged")


@dataclass(frozen=True)
class Pooled:
    """Channel values of all runs of one regime and architecture.

    Attributes
    ----------
    values : numpy.ndarray
        The finite values.
    runs, diverged : int
        Number of runs, and of diverged runs among them.
    dropped : int
        Number of values that are not finite.
    """

    values: np.ndarray
    runs: int
    diverged: int
    dropped: int


class Results:
    """The results of one figure or table.

    Parameters
    ----------
    request : Request
        The figure's request.
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
        self._data: dict[str, tuple[tuple[Path, str], str]] = {}

    @property
    def runs(self) -> str:
        """The number of runs behind a point, in words."""
        found: dict[int, dict[str, None]] = {}
        for panel in self.panels:
            count = max(len(by_seed) for by_regime in panel.cells.values() for by_seed in by_regime.values())
            found.setdefault(count, {})[panel.axis_title] = None
        said = {n: "a single run" if n == 1 else f"{n} runs" for n in found}
        if len(found) == 1:
            return next(iter(said.values()))
        return listed(f"{said[n]} ({listed(titles)})" for n, titles in found.items())

    def has(self, experiment: str) -> bool:
        """Return whether the run has an experiment; some runs lack an experiment of the figure."""
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
            If it is missing, damaged, or of another configuration.
        """
        from bnonly.results import parquet

        if (kind, key) not in self._tables:
            path = self._root / key.folder / paths.PARQUET[kind]
            digest = panel.cells[key.architecture][key.regime][key.seed]
            found = parquet.read(path, kind, digest)
            if kind == "metrics":
                self._same_data((path, digest), found[1]["data"])
            self._tables[kind, key] = found
        return self._tables[kind, key]

    def _same_data(self, run: tuple[Path, str], data: dict[str, Any]) -> None:
        """Refuse to combine runs that were trained on different data of the same name."""
        first, sha256 = self._data.setdefault(data["dataset"], (run, data["sha256"]))
        if data["sha256"] != sha256:
            raise cache.on_other_data(data["dataset"], run, first)

    def parameters(self, panel: Panel, architecture: Architecture, regime: str) -> dict[str, int]:
        """Return the parameter counts recorded when a cell was trained."""
        first = panel.replicates(architecture, regime)[0]
        return dict(self.table("metrics", panel, first)[1]["parameters"])

    def stored_bytes(self, panel: Panel, architecture: Architecture, regime: str) -> float:
        """Return the mean size of the weights files behind a point, in bytes.

        Raises
        ------
        UserError
            If one is missing.
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
        """Return whether a run diverged."""
        return bool(self.table("metrics", panel, key)[1]["status"] == "diverged")

    def diverged(self) -> tuple[int, int]:
        """Return the number of diverged runs behind the figure, and of all its runs."""
        runs = {key: self.has_diverged(panel, key) for panel in self.panels for key, _ in panel.keys()}
        return sum(runs.values()), len(runs)

    def stated(self, panel: Panel, metric: str, threshold: float = 0.0) -> list[Stated]:
        """Return the paper's values for a panel's points, if the configuration enables them.

        Parameters
        ----------
        panel : Panel
            The panel.
        metric : str
            As in the claims: "top1", "small_gammas".
        threshold : float
            The threshold, for metrics that take one.
        """
        wanted = (panel.experiment, metric, threshold)
        return [s for s in self._stated if (s.experiment, s.metric, s.threshold) == wanted]

    def accuracy(self, panel: Panel, top: int = 1) -> pd.DataFrame:
        """Return every run's final test accuracy in percent, from the last trained epoch even if it diverged."""
        return self._per_run(panel, f"test_top{top}", f"top{top}")

    def small_gammas(self, panel: Panel, threshold: float) -> pd.DataFrame:
        """Return the percentage of every run's gammas below `threshold` in absolute value."""
        return self._per_run(panel, f"small_gammas<{threshold:g}", "small_gammas", threshold)

    def clamping_change(self, panel: Panel, threshold: float) -> pd.DataFrame:
        """Return the change of every run's accuracy, in percentage points, from clamping gammas below `threshold`."""
        return self._per_run(panel, f"change<{threshold:g}", "clamping_change", threshold)

    def disabled_activations(self, panel: Panel) -> pd.DataFrame:
        """Return the percentage of every run's ReLU channels that are disabled (`bnonly.results.metrics.DISABLED`)."""
        from bnonly.results.metrics import DISABLED

        return self._per_run(panel, f"zero>{DISABLED:g}", "disabled_activations")

    def pooled(self, kind: str, column: str, panel: Panel, architecture: Architecture, regime: str) -> Pooled:
        """Return a column of a cell's file, pooled over all channels and replicates."""
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
        One row for each run, with `RUN_COLUMNS`.

    Returns
    -------
    pandas.DataFrame
        One row for each panel, architecture, regime and quantity, in order of appearance.  Its columns are `runs` (the number
        of runs), `n` (those with a finite value), `mean`, `sd` (of a sample; missing for n < 2) and `diverged`.
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
