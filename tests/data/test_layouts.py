"""Layouts in which people have these data, and what lies among the images without being one."""

import json
import os
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data import sets
from tests.data.sets import CPU, recipe

from bnonly.data import open_source, parquet
from bnonly.data.prepare import prepare
from bnonly.errors import UserError
from bnonly.grid.datasets import DatasetInfo

NAMES = ["tench", "goldfish", "great white shark"]


def checksum(name, root):
    return open_source(recipe(name), root, CPU).checksum


def manifest(name, root):
    return json.loads((root / name / "manifest.json").read_text())


@pytest.fixture
def known(monkeypatch):
    sets.resize_known(monkeypatch)


# Parquet


@pytest.mark.parametrize(
    "layout",
    ["{}.parquet", "plain_text/{}/0000.parquet", "data/{}-00000-of-00001.parquet", "a/b/{}.parquet"],
)
def test_cifar_in_the_layouts_of_hugging_face(layout, tmp_path, known):
    made = sets.parquet(tmp_path / "made", "PNG")
    prepare("cifar10", made, tmp_path / "flat", quiet=True)
    for part in ("train", "test"):
        path = tmp_path / "set" / layout.format(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        (made / f"{part}.parquet").rename(path)
    prepare("cifar10", tmp_path / "set", tmp_path / "data", quiet=True)
    assert checksum("cifar10", tmp_path / "data") == checksum("cifar10", tmp_path / "flat")


def test_a_whole_folder_beside_an_incomplete_one_is_taken(tmp_path, known):
    made = sets.parquet(tmp_path / "set" / "whole", "PNG")
    (tmp_path / "set" / "again").mkdir()
    (tmp_path / "set" / "again" / "train.parquet").write_bytes((made / "train.parquet").read_bytes())
    assert "50 training" in prepare("cifar10", tmp_path / "set", tmp_path / "data", quiet=True)


def test_two_whole_folders_are_not_chosen_from(tmp_path, known):
    for name in ("one", "other"):
        sets.parquet(tmp_path / "set" / name, "PNG")
    with pytest.raises(UserError, match="one and other both have all parts; name one of them with --from"):
        prepare("cifar10", tmp_path / "set", tmp_path / "data", quiet=True)


def photographs(folder, column="image", features=True):
    """Photographs in Parquet as Hugging Face publishes ImageNet: data/train-*, data/validation-*, in no order of classes."""
    made = sets.folder_set(folder / "made")
    target = folder / "set" / "data"
    target.mkdir(parents=True)
    names = sorted(p.name for p in (made / "train").iterdir())
    for part, called in (("train", "train"), ("val", "validation")):
        images = sorted((made / part).glob("*/*"), key=lambda p: p.name[::-1])
        rows = [{"bytes": p.read_bytes(), "path": p.name} for p in images]
        table = pa.table({column: rows, "label": [names.index(p.parent.name) for p in images]})
        if features:
            noted = {"info": {"features": {"label": {"names": NAMES}}}}
            table = table.replace_schema_metadata({"huggingface": json.dumps(noted)})
        half = len(images) // 2
        for number, share in enumerate((table[:half], table[half:])):
            pq.write_table(share, target / f"{called}-{number:05d}-of-00002.parquet", row_group_size=2)
    return made, folder / "set"


@pytest.mark.parametrize("features", [True, False])
def test_photographs_in_parquet_are_those_of_the_folder(features, tmp_path, known):
    made, source = photographs(tmp_path, features=features)
    prepare("imagenet", made, tmp_path / "folder", quiet=True)
    prepare("imagenet", source, tmp_path / "parquet", quiet=True)
    found, wanted = manifest("imagenet", tmp_path / "parquet"), manifest("imagenet", tmp_path / "folder")
    assert found["class_names"] == (NAMES if features else ["0000", "0001", "0002"])
    assert (found["train_per_class"], found["mean"]) == (wanted["train_per_class"], wanted["mean"])
    packed = [(tmp_path / way / "imagenet" / "train-000.pack").read_bytes() for way in ("folder", "parquet")]
    assert len(packed[0]) == len(packed[1]) and sorted(packed[0]) == sorted(packed[1])
    batches = [
        list(open_source(recipe("imagenet"), tmp_path / way, CPU).test_batches(2)) for way in ("folder", "parquet")
    ]
    sums = [np.sort([float(x.sum()) for batch, _ in part for x in batch]) for part in batches]
    assert np.array_equal(*sums)


def test_photographs_in_parquet_without_a_label(tmp_path, known):
    _, source = photographs(tmp_path)
    path = source / "data" / "train-00001-of-00002.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[3]["label"] = None
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(UserError, match="row 3 must have a label of at least 0"):
        prepare("imagenet", source, tmp_path / "data", quiet=True)


@pytest.mark.parametrize("parts", [("train",), ("validation",), ("train", "validation")])
def test_parquet_without_rows(parts, tmp_path):
    """Also of an own data set without counts, which any number of images would match."""
    _, source = photographs(tmp_path)
    for path in (p for part in parts for p in (source / "data").glob(f"{part}-*")):
        pq.write_table(pq.read_table(path)[:0], path)
    first, part = f"{parts[0]}-00000-of-00002.parquet", {"validation": "test"}.get(parts[0], parts[0])
    with pytest.raises(UserError, match=f"{first} and 1 more: no images in the {part} part; fetch it again"):
        prepare(DatasetInfo("mine", "small-images", 0, 0, 0, 32), source, tmp_path / "data", quiet=True)


def test_a_file_whose_pages_expand_is_refused_before_it_is_read(tmp_path, known):
    source = sets.parquet(tmp_path / "set", "PNG")
    rows = pq.read_table(source / "train.parquet").to_pylist()
    rows[0]["img"]["bytes"] = bytes(40_000_000)
    pq.write_table(pa.Table.from_pylist(rows), source / "train.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(UserError, match="column img.bytes expands from .* which is too much for images"):
        prepare("cifar10", source, tmp_path / "data", quiet=True)


@pytest.mark.parametrize("size", [1_001, 5_000])
def test_one_huge_image_in_a_dictionary_is_refused(size, tmp_path, known, monkeypatch):
    """A value that is stored once and used by every row."""
    monkeypatch.setattr(parquet, "MOST_BYTES", 1_000)
    source = sets.parquet(tmp_path / "set", "PNG")
    rows = pq.read_table(source / "train.parquet").to_pylist()
    for row in rows:
        row["img"]["bytes"] = os.urandom(1) * size
    pq.write_table(pa.Table.from_pylist(rows), source / "train.parquet")
    with pytest.raises(UserError, match=f"an image takes {size:,} bytes; at most 1,000 are read"):
        prepare("cifar10", source, tmp_path / "data", quiet=True)


# Folders and tars


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "@eaDir", "lost+found"])
def test_clutter_is_no_class(name, tmp_path, known):
    source = sets.folder_set(tmp_path / "set")
    (source / "train" / name).mkdir()
    (source / "train" / name / "x.JPEG").write_bytes(sets.encode(sets.photograph(1), "JPEG"))
    (source / "val" / name).mkdir()
    prepare("imagenet", source, tmp_path / "data", quiet=True)
    found = manifest("imagenet", tmp_path / "data")
    assert found["class_names"] == list(sets.CLASSES)
    assert found["left_out"] == [f"{part}/{name}/ (not an image of a class)" for part in ("train", "val")]


def test_clutter_in_a_tar_is_no_class(tmp_path, known):
    made = sets.folder_set(tmp_path / "made")
    (made / "train" / "@eaDir").mkdir()
    (made / "train" / "@eaDir" / "x.JPEG").write_bytes(b"thumbnail")
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for part in ("train", "val"):
            tar.add(made / part, part)
    prepare("imagenet", tmp_path / "set.tar", tmp_path / "data", quiet=True)
    assert manifest("imagenet", tmp_path / "data")["class_names"] == list(sets.CLASSES)


def test_a_class_that_is_in_one_part_only_has_a_remedy_for_both_cases(tmp_path, known):
    source = sets.folder_set(tmp_path / "set")
    (source / "train" / "extra").mkdir()
    (source / "train" / "extra" / "x.JPEG").write_bytes(sets.encode(sets.photograph(1), "JPEG"))
    with pytest.raises(UserError, match="add it, or remove train/extra if that is not a class"):
        prepare("imagenet", source, tmp_path / "data", quiet=True)


def test_a_webp_is_an_image_and_other_files_are_named_where_images_lack(tmp_path, known):
    source = sets.folder_set(tmp_path / "set")
    first = min((source / "train" / "n02").iterdir())
    first.with_suffix(".webp").write_bytes(sets.encode(sets.photograph(3), "WEBP"))
    first.unlink()
    prepare("imagenet", source, tmp_path / "data", quiet=True)
    (source / "train" / "n02" / "x.avif").write_bytes(b"")
    first.with_suffix(".webp").unlink()
    with pytest.raises(UserError, match=r"11 training images \(ignored: train/n02/x.avif\), imagenet has 12"):
        prepare("imagenet", source, tmp_path / "other", quiet=True)


def test_tiny_imagenets_layout(tmp_path, known):
    made, source = sets.folder_set(tmp_path / "made"), tmp_path / "set"
    lines = []
    for path in sorted(made.glob("*/*/*")):
        part, name = path.parts[-3:-1]
        target = source / "train" / name / "images" if part == "train" else source / "val" / "images"
        target.mkdir(parents=True, exist_ok=True)
        path.rename(target / path.name)
        if part == "train":
            (target.parent / f"{name}_boxes.txt").touch()
        else:
            lines.append(f"{path.name}\t{name}\t0\t0\t1\t1\n")
    (source / "val" / "val_annotations.txt").write_text("".join(lines))
    prepare("imagenet", source, tmp_path / "data", quiet=True)
    assert manifest("imagenet", tmp_path / "data")["test_per_class"] == [sets.TEST] * 3
    (source / "val" / "val_annotations.txt").write_text("".join(lines[1:]) + "absent.JPEG\tn01\n")
    with pytest.raises(UserError, match="val_annotations.txt: line 6 must name an image of val/images and its class"):
        prepare("imagenet", source, tmp_path / "other", quiet=True)


def test_hard_links_in_a_tar_are_read(tmp_path, known):
    made = sets.folder_set(tmp_path / "made")
    first, second = sorted((made / "train" / "n02").iterdir())[:2]
    second.unlink()
    os.link(first, second)
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for part in ("train", "val"):
            tar.add(made / part, part)
        assert any(m.islnk() for m in tar.getmembers())
    prepare("imagenet", made, tmp_path / "folder", quiet=True)
    prepare("imagenet", tmp_path / "set.tar", tmp_path / "tar", quiet=True)
    assert checksum("imagenet", tmp_path / "tar") == checksum("imagenet", tmp_path / "folder")
