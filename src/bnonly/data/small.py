"""Small images of one's own: scaled to one size when prepared, then kept in memory like CIFAR-10's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bnonly.console import Meter
from bnonly.data.arrays import Decoded, ImageArrays
from bnonly.data.decoding import read_rgb
from bnonly.data.folders import Item, find_images
from bnonly.data.pack import check_plan, content_of
from bnonly.data.unreadable import reason
from bnonly.grid.datasets import DatasetInfo


def read(info: DatasetInfo, source: Path, notes: Path, workers: int, quiet: bool) -> Decoded:
    """Read and scale every image: the central part with the ratio 1, resized with Lanczos's filter.

    Parameters
    ----------
    info : DatasetInfo
        Data set; its `image_size` is the side of the result.
    source : Path
        Folder, tar or Parquet files; see `bnonly.data.folders`.
    notes : Path
        Folder for temporary files.
    workers : int
        Threads that decode.
    quiet : bool
        Print no progress.

    Raises
    ------
    UserError
        If the source is invalid.
    """
    plan = find_images(source, notes, quiet)
    check_plan(info, source, plan)
    side = info.image_size

    def scaled(item: Item) -> np.ndarray | str:
        try:
            image = read_rgb(content_of(item))[0]
            return np.asarray(ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS))
        except Exception as problem:  # decoders raise many types on damaged bytes
            return reason(problem)

    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    unreadable: list[str] = []
    total = len(plan.train) + len(plan.test)
    with Meter(f"preparing {info.name}", total, quiet=quiet) as meter, ThreadPoolExecutor(workers) as pool:
        for items in (plan.train, plan.test):
            kept: list[tuple[np.ndarray, int]] = []
            for item, image in zip(items, pool.map(scaled, items), strict=True):
                meter.add(1)
                if isinstance(image, str):
                    unreadable.append(f"{item.folder}/{item.name} ({image})")
                else:
                    kept.append((image, item.label))
            images.append(np.array([image for image, _ in kept], np.uint8).reshape(-1, side, side, 3))
            labels.append(np.array([label for _, label in kept], np.int64))
    return Decoded(
        ImageArrays(images[0], labels[0], images[1], labels[1], len(plan.class_names)),
        plan.class_names,
        {"layout": plan.layout, "files": [source.name]},
        f"uint8 pixels, the centre scaled to {side} x {side}",
        unreadable,
        plan.left_aside,
    )
