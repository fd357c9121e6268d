"""The table of metrics that figures and verdicts share."""

import math
from pathlib import Path

import numpy as np
import pytest

from bnonly import paths
from bnonly.errors import UserError
from bnonly.grid.thresholds import SMALL
from bnonly.paper import vocabulary
from bnonly.results import metrics, parquet
from bnonly.verdicts.measure import POOLED

FILE = Path("results/ResNet-8/bn/seed0/x.parquet")


@pytest.mark.parametrize("name", metrics.METRICS)
def test_a_metric_is_computed_from_columns_that_its_file_has(name):
    metric = metrics.METRICS[name]
    assert metric.kind in paths.PARQUET
    assert set(metric.columns) <= set(parquet.SCHEMAS[metric.kind].names)


def test_claims_can_name_every_metric_that_is_measured():
    assert set(vocabulary.RUN_METRICS) == (metrics.METRICS.keys() - {"gammas"}) | POOLED.keys() | {"failed"}


@pytest.mark.parametrize(
    ("name", "columns", "expected"),
    [
        ("top1", {"test_top1": [0.1, 0.25]}, 25.0),
        ("top5", {"test_top5": []}, math.nan),
        ("small_gammas", {"gamma_end": [0.05, -0.04, 1, np.nan, np.inf]}, 100 / 3),
        ("small_betas", {"beta_end": [np.nan]}, math.nan),
        ("clamping_change", {"threshold": [0, *SMALL], "test_top1": [0.5, 0.5, 0.25, 0]}, -25.0),
        ("gamma_within", {"gamma_end": [0, 1, 2, 3]}, 50.0),
        ("disabled_activations", {"zero": [0.99, 0.991, 1, 0]}, 50.0),
        ("constant_activations", {"zero": [0.99, 0.991, 1, 0]}, 75.0),
        ("sometimes_active", {"zero": [0.3, 0.9, 0.91, 0]}, 50.0),
        ("gamma_magnitude", {"gamma_end": [-1, 1]}, 1.0),
    ],
)
def test_a_metric_of_known_columns(name, columns, expected):
    arrays = {column: np.array(values, dtype=np.float64) for column, values in columns.items()}
    found = metrics.measure(name, arrays, FILE, 0.05, (1, 2))
    assert found == pytest.approx(expected, nan_ok=True)


def test_a_threshold_that_was_not_analysed_names_the_file():
    columns = {"threshold": np.array([0.0, 0.01]), "test_top1": np.array([0.5, 0.5])}
    with pytest.raises(UserError, match=r"seed0/x.parquet: has no threshold 0.05; delete it"):
        metrics.measure("clamping_change", columns, FILE, 0.05)
