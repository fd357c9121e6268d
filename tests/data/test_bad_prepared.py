"""Prepared data that have changed, and a disk that is full or read-only."""

import dataclasses
import json
import os
import resource
import shutil

import pytest
from tests.data import sets
from tests.data.refused import SETS, check_not_opened, check_one_line, check_refused
from tests.data.sets import CPU

from bnonly.data import open_source, prepared
from bnonly.data.prepare import prepare
from bnonly.errors import UserError
from bnonly.grid.datasets import DATASETS

pytestmark = pytest.mark.usefixtures("small")


# The disk


@pytest.mark.parametrize("name", SETS)
def test_no_room_is_found_out_before(name, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    check_refused(name, SETS[name](tmp_path / "set", None), tmp_path / "data", "GB are free", "free some space")


def test_no_room_for_images_that_are_shrunk(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "imagenet-256", dataclasses.replace(DATASETS["imagenet-256"], shrink=38))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=5000))
    check_refused("imagenet-256", sets.folder_set(tmp_path / "set"), tmp_path / "data", "GB are needed")


@pytest.mark.parametrize("name", SETS)
def test_no_room_while_writing(name, tmp_path):
    source = SETS[name](tmp_path / "set", None)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, hard))
    try:
        check_refused(name, source, tmp_path / "data", "cannot be written")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    prepare(name, source, tmp_path / "data", quiet=True)
    open_source(sets.recipe(name), tmp_path / "data", CPU)


@pytest.mark.parametrize("name", SETS)
def test_read_only_data_folder(name, tmp_path, unprivileged):
    os.seteuid(0) if os.getuid() == 0 else None
    source = SETS[name](unprivileged / "set", None)
    data = unprivileged / "data"
    prepare(name, source, data, quiet=True)
    os.seteuid(65534) if os.getuid() == 0 else data.chmod(0o555)
    assert len(list(open_source(sets.recipe(name), data, CPU).train_batches(0, 0, 4))) > 1, "reading needs no writing"
    with pytest.raises(UserError) as caught:
        prepare("imagenette10", source, data, quiet=True)
    check_one_line(caught.value, data, "cannot be written", "Permission denied")
    assert "already prepared" in prepare(name, source, data, quiet=True)


# Prepared data


@pytest.fixture(params=SETS)
def made(request, tmp_path):
    name = request.param
    prepare(name, SETS[name](tmp_path / "set", None), tmp_path / "data", quiet=True)
    return name, tmp_path / "data"


def test_data_root_that_does_not_exist(tmp_path):
    check_not_opened(
        "cifar10", tmp_path / "nowhere", tmp_path / "nowhere", "no such folder", "bnonly prepare cifar10 --data"
    )


def test_data_that_are_not_prepared(tmp_path):
    check_not_opened(
        "imagenet", tmp_path, "imagenet is not prepared there", f"bnonly prepare imagenet --from PATH --data {tmp_path}"
    )


def change_manifest(name, data, **changes):
    path = data / name / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes", [{"mean": [0.391, 0.482, 0.446]}, {"mean": [0.5] * 4}, {"std": []}, {"added": 1}], ids=str
)
def test_manifest_changed_by_hand(changes, made):
    name, data = made
    change_manifest(name, data, **changes)
    check_not_opened(name, data, data / name / "manifest.json", "was changed after it was written", "bnonly prepare")


def test_names_of_classes_exchanged_in_the_manifest(made):
    name, data = made
    names = prepared.open_prepared(DATASETS[name], data)[0].class_names
    change_manifest(name, data, class_names=names[::-1])
    check_not_opened(name, data, data / name / "manifest.json", "was changed after it was written")


def test_data_prepared_by_another_version(made):
    name, data = made
    change_manifest(name, data, format=0)
    check_not_opened(name, data, data / name / "manifest.json", "another version", "format 0", "bnonly prepare")
    with pytest.raises(UserError, match="another version"):
        prepare(name, None, data, quiet=True)


def test_manifest_of_other_data(made):
    name, data = made
    manifest, folder = prepared.open_prepared(DATASETS[name], data)
    prepared.write_manifest(folder, dataclasses.replace(manifest, dataset="digits"))
    check_not_opened(name, data, "is the manifest of digits")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2}'])
def test_damaged_manifest(content, made):
    name, data = made
    (data / name / "manifest.json").write_text(content)
    check_not_opened(name, data, data / name / "manifest.json")


def test_counts_that_the_data_set_does_not_have(made, monkeypatch):
    name, data = made
    monkeypatch.setitem(DATASETS, name, dataclasses.replace(DATASETS[name], train_images=10**6))
    check_not_opened(name, data, "training images", "1,000,000")


def test_missing_truncated_or_changed_file(made):
    name, data = made
    for path in sorted((data / name).glob("*")):
        if path.name in ("manifest.json", "train.names", "test.names"):
            continue
        content = path.read_bytes()
        path.unlink()
        check_not_opened(name, data, path, "No such file")
        path.write_bytes(content[:-1])
        check_not_opened(name, data, path, "its manifest says")
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        check_not_opened(name, data, path, "differs from the prepared", "prepare")
        path.write_bytes(content)
    assert open_source(sets.recipe(name), data, CPU).train_images
