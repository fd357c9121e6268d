"""Short trainings for the tests of this folder, and everything that they compute."""

from tests.mini import mini

from bnonly import paths
from bnonly.grid.resolve import resolve
from bnonly.results import parquet
from bnonly.train.options import Options
from bnonly.train.run import train_cell

#: Columns of the metrics that say how fast a run was; all others must be equal to the bit.
TIMES = {"seconds", "images_per_second"}


def cell_of(regime="bn", **changes):
    return resolve(mini(**changes)).cell("ResNet-8-c4", regime, 0)


def train(cell, folder, **options):
    train_cell(cell, folder, Options(folder, device="cpu", quiet=True, **options))
    return folder


def results(folder):
    """Everything a run computes, to the bit."""
    table, label = parquet.read(paths.metrics(folder), "metrics")
    kept = {n: table.column(n).to_numpy().tobytes() for n in table.column_names if n not in TIMES}
    return kept, label["status"], paths.batchnorm(folder).read_bytes(), paths.weights(folder).read_bytes()
