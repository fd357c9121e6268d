"""Scikit-learn's handwritten digits: 1,797 real images of 8 x 8 pixels in 17 grey levels (Alpaydin and Kaynak 1998)."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from bnonly.data.arrays import ImageArrays
from bnonly.errors import UserError
from bnonly.grid.datasets import DATASETS


def load(name: str = "digits") -> ImageArrays:
    """Read the digits from scikit-learn's package, as three equal channels with a fixed split into train and test.

    The file is read directly: importing scikit-learn takes longer than training a small cell.

    Parameters
    ----------
    name : str
        "digits", or "digits-few" for the first images of each part.

    Raises
    ------
    UserError
        If scikit-learn is not installed or its file is not as expected.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise UserError("data set digits comes inside scikit-learn, which is not installed; pip install scikit-learn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        with gzip.open(path, "rt") as stream:
            table = np.loadtxt(stream, delimiter=",", dtype=np.int64)
    except (OSError, EOFError, ValueError) as problem:
        raise UserError(f"{path}: not scikit-learn's digits ({problem}); reinstall scikit-learn") from None
    info = DATASETS["digits"]
    rows = info.train_images + info.test_images
    if table.shape != (rows, 65) or not (0 <= table.min() and table[:, :64].max() <= 16):
        raise UserError(
            f"{path}: not scikit-learn's digits ({rows:,} rows of 64 pixels and a label); reinstall scikit-learn"
        )
    # The file is ordered by writer; a fixed shuffle puts every writer into both parts.  Philox's raw words never change.
    table = table[np.argsort(np.random.Philox(key=0).random_raw(len(table)), kind="stable")]
    grey = np.round(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    images = np.repeat(grey, 3, axis=3)
    labels = table[:, 64]
    n, used = info.train_images, DATASETS[name]
    train, test = slice(used.train_images), slice(n, n + used.test_images)
    return ImageArrays(images[train], labels[train], images[test], labels[test], info.classes)
