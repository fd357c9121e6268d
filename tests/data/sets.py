"""Small data sets in every layout in which the real ones are distributed."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from bnonly.data import archives, cifar
from bnonly.grid.cell import Augmentation, Recipe
from bnonly.grid.datasets import DATASETS

CPU = torch.device("cpu")
PER_BATCH = 10  # of each of the five training batches, and of the test batch
CLASSES = ("n01", "n02", "n03")
TRAIN, TEST = 4, 2  # photographs of each class


def recipe(dataset: str, **augmentation) -> Recipe:
    size = augmentation.pop("image_size", 0)
    return Recipe(dataset, 1, 4, 0.1, (), augmentation=Augmentation(**augmentation), image_size=size)


def resize_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the data sets have as many images as those made here."""
    changes = {"train_images": 5 * PER_BATCH, "test_images": PER_BATCH}
    for name in ("cifar10", "cifar10-jpeg"):
        monkeypatch.setitem(DATASETS, name, dataclasses.replace(DATASETS[name], **changes))
    n = len(CLASSES)
    changes = {"train_images": n * TRAIN, "test_images": n * TEST, "classes": n}
    for name in ("imagenet", "imagenet-256", "imagenette10"):
        monkeypatch.setitem(DATASETS, name, dataclasses.replace(DATASETS[name], **changes))


def declare(monkeypatch: pytest.MonkeyPatch, dataset: str, path: Path) -> None:
    """Take a file's MD5 for the official one."""
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    row = dataclasses.replace(archives.known(dataset, path.name), md5=md5)
    monkeypatch.setitem(archives.table(), (dataset, path.name), row)


# CIFAR-10


def pixels() -> tuple[np.ndarray, np.ndarray]:
    """Every image, (n, 32, 32, 3), and label, the test batch last."""
    generator = np.random.default_rng(0)
    n = 6 * PER_BATCH
    smooth = generator.integers(0, 256, (n, 4, 4, 3)).repeat(8, 1).repeat(8, 2)
    return (smooth + np.arange(32)[:, None]).clip(0, 255).astype(np.uint8), np.arange(n) % 10


def batches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The extracted folder, as Python 2 pickled it."""
    images, labels = pixels()
    target = folder / cifar.CIFAR10.folder
    target.mkdir(parents=True)
    for number, name in enumerate([*cifar.CIFAR10.train, *cifar.CIFAR10.test]):
        part = slice(number * PER_BATCH, (number + 1) * PER_BATCH)
        data = images[part].transpose(0, 3, 1, 2).reshape(PER_BATCH, -1)
        write_batch(target / name, {b"data": data, b"labels": labels[part].tolist()})
        declare(monkeypatch, "cifar10", target / name)
    return folder


def write_batch(path: Path, content: dict) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def archive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    batches(folder / "extracted", monkeypatch)
    path = folder / cifar.CIFAR10.archive
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder / "extracted" / cifar.CIFAR10.folder, cifar.CIFAR10.folder)
    declare(monkeypatch, "cifar10", path)
    return path


def encode(image: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def parquet(folder: Path, kind: str, **columns) -> Path:
    """train.parquet and test.parquet with img.bytes and label."""
    images, labels = pixels()
    folder.mkdir(parents=True)
    for name, part in (("train", slice(0, 5 * PER_BATCH)), ("test", slice(5 * PER_BATCH, None))):
        img = [{"bytes": encode(i, kind), "path": f"{n}.{kind}"} for n, i in enumerate(images[part])]
        table = {"img": img, "label": labels[part].tolist(), **columns}
        pq.write_table(pa.table(table), folder / f"{name}.parquet")
    return folder


# ImageNet


def photograph(number: int, width: int = 0, height: int = 0) -> Image.Image:
    generator = np.random.default_rng(number)
    size = (width or 40 + 7 * (number % 5), height or 36 + 5 * (number % 4))
    small = Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def unusual() -> dict[str, bytes]:
    """What is found under the name of a JPEG in ImageNet."""
    image = photograph(99)
    return {
        "grey": encode(image.convert("L"), "JPEG"),
        "cmyk": encode(image.convert("CMYK"), "JPEG"),
        "png": encode(image, "PNG"),
        "rgba": encode(image.convert("RGBA"), "PNG"),
        "palette": encode(image.convert("P"), "PNG"),
    }


def folder_set(folder: Path) -> Path:
    """train/<class>/*.JPEG and val/<class>/*.JPEG; the first class begins with the unusual ones."""
    odd = list(unusual().values())
    number = 0
    for part, count in (("train", TRAIN), ("val", TEST)):
        for name in CLASSES:
            target = folder / part / name
            target.mkdir(parents=True)
            for k in range(count):
                number += 1
                content = odd.pop(0) if odd and k < 3 else encode(photograph(number), "JPEG", quality=95)
                # The official archive names the validation images in one sequence over all classes.
                (target / f"{'ILSVRC2012_val' if part == 'val' else name}_{number:08d}.JPEG").write_bytes(content)
    return folder


def tar_set(folder: Path) -> Path:
    made = folder_set(folder / "made")
    path = folder / "set.tar"
    with tarfile.open(path, "w") as tar:
        for part in ("train", "val"):
            tar.add(made / part, f"some-name/{part}")
    return path


def official_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from scipy.io import savemat

    made = folder_set(folder / "made")
    source = folder / "official"
    source.mkdir()
    with tarfile.open(source / "ILSVRC2012_img_train.tar", "w") as outer:
        for name in CLASSES:
            inner = folder / f"{name}.tar"
            with tarfile.open(inner, "w") as tar:
                for image in sorted((made / "train" / name).iterdir()):
                    tar.add(image, image.name)
            outer.add(inner, inner.name)
    images = sorted((made / "val").glob("*/*"), key=lambda p: p.name)
    with tarfile.open(source / "ILSVRC2012_img_val.tar", "w") as tar:
        for image in images:
            tar.add(image, image.name)
    kit = folder / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    # ILSVRC2012's own numbers are not in the order of the names; inner nodes of the tree have numbers too.
    numbers = {"n03": 1, "n01": 2, "n02": 3, "n99": 4}
    kind = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("gloss", object), ("num_children", object)]
    rows = np.array([(i, w, "words", "gloss", int(w == "n99")) for w, i in numbers.items()], dtype=kind)
    savemat(kit / "meta.mat", {"synsets": rows})
    truth = "".join(f"{numbers[image.parent.name]}\n" for image in images)
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)
    with tarfile.open(source / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        tar.add(kit.parent, kit.parent.name)
    for path in source.iterdir():
        declare(monkeypatch, "imagenet", path)
    return source
