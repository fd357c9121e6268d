"""The metrics of a run, each with its file and columns.  Figures and verdicts share this table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnonly.errors import UserError

Columns = Mapping[str, np.ndarray]
Bounds = tuple[float, float]
Value = float | np.ndarray

#: A ReLU channel that is zero for more than this share of images and pixels is disabled (Section 5).
DISABLED = 0.99
#: Pr[activation = 0] of a channel that is on 10 to 70 % of the time (Appendix I).
SOMETIMES = (0.3, 0.9)


@dataclass(frozen=True)
class Metric:
    """How to compute one metric of a run.

    Attributes
    ----------
    kind : str
        The file it is computed from (`bnonly.paths.PARQUET`).
    columns : tuple of str
        The columns of that file.
    compute : callable
        Maps columns, threshold and bounds to a number, or to an array for statistics over the channels of several runs.
    """

    kind: str
    columns: tuple[str, ...]
    compute: Callable[[Columns, float, Bounds], Value]


def finite(column: np.ndarray) -> np.ndarray:
    """Return a column's finite values as float64."""
    values = column.astype(np.float64)
    return values[np.isfinite(values)]


def _final(column: str) -> Metric:
    """Return a percentage at the end of training, diverged or not."""
    return Metric(
        "metrics",
        (column,),
        lambda columns, *_: 100.0 * float(columns[column][-1]) if columns[column].size else math.nan,
    )


def _channels(kind: str, column: str, compute: Callable[[np.ndarray, float, Bounds], Value]) -> Metric:
    """Return a metric over a file's channels with finite values."""
    return Metric(
        kind, (column,), lambda columns, threshold, bounds: compute(finite(columns[column]), threshold, bounds)
    )


def _share(kind: str, column: str, chosen: Callable[[np.ndarray, float, Bounds], np.ndarray]) -> Metric:
    """Return a metric: the percentage of channels that `chosen` selects."""
    return _channels(
        kind,
        column,
        lambda values, *limits: 100.0 * float(chosen(values, *limits).mean()) if values.size else math.nan,
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


def _clamping_change(columns: Columns, threshold: float, bounds: Bounds) -> float:
    """Return the change of accuracy, in percentage points, if gammas below a threshold are set to 0."""
    top1 = dict(zip(columns["threshold"].tolist(), columns["test_top1"].tolist(), strict=True))
    for needed in (0.0, threshold):
        if needed not in top1:
            raise UserError(f"has no threshold {needed:g}; delete it and run the same command again")
    return 100.0 * float(top1[threshold] - top1[0.0])


METRICS: dict[str, Metric] = {
    "top1": _final("test_top1"),
    "top5": _final("test_top5"),
    "clamping_change": Metric("clamping", ("threshold", "test_top1"), _clamping_change),
    "small_gammas": _share("batchnorm", "gamma_end", lambda gamma, threshold, _: abs(gamma) < threshold),
    "small_betas": _share("batchnorm", "beta_end", lambda beta, threshold, _: abs(beta) < threshold),
    "gamma_positive": _share("batchnorm", "gamma_end", lambda gamma, *_: gamma > 0),
    "gamma_negative": _share("batchnorm", "gamma_end", lambda gamma, *_: gamma < 0),
    "gamma_within": _share("batchnorm", "gamma_end", lambda gamma, _, ends: (gamma >= ends[0]) & (gamma <= ends[1])),
    "gamma_magnitude": _channels("batchnorm", "gamma_end", lambda gamma, *_: _mean(abs(gamma))),
    "gamma_mean": _channels("batchnorm", "gamma_end", lambda gamma, *_: _mean(gamma)),
    "gammas": _channels("batchnorm", "gamma_end", lambda gamma, *_: gamma),
    "disabled_activations": _share("activations", "zero", lambda zero, *_: zero > DISABLED),
    "constant_activations": _share("activations", "zero", lambda zero, *_: (zero > DISABLED) | (zero < 1 - DISABLED)),
    "sometimes_active": _share("activations", "zero", lambda zero, *_: (zero >= SOMETIMES[0]) & (zero <= SOMETIMES[1])),
}


def measure(name: str, columns: Columns, path: Path, threshold: float = 0.0, bounds: Bounds = (0.0, 0.0)) -> Value:
    """Compute a metric of a run.

    Parameters
    ----------
    name : str
        A key of `METRICS`.
    columns : mapping of str to numpy.ndarray
        At least the metric's columns.
    path : Path
        Their file, for messages.
    threshold, bounds : float, tuple of float
        Used by some metrics only.

    Raises
    ------
    UserError
        If the cell was analysed without the threshold.
    """
    try:
        return METRICS[name].compute(columns, threshold, bounds)
    except UserError as problem:
        raise UserError(f"{path}: {problem}") from None
