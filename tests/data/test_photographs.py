"""Photographs: layouts, unusual files, crops, and batches that do not depend on the number of threads."""

import dataclasses
import io
import itertools
import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data import sets
from tests.data.sets import CPU

from bnonly import seeds
from bnonly.data import crops, folders, open_source, pack
from bnonly.data.decoding import decode_plain
from bnonly.data.prepare import prepare
from bnonly.data.stream import PackSource
from bnonly.errors import UserError
from bnonly.grid.datasets import DATASETS

pytestmark = pytest.mark.usefixtures("small")
ALL = {"flip": True, "crop": True, "image_size": 32}


def recipe(**augmentation):
    return sets.recipe("imagenet", **augmentation)


@pytest.fixture
def data(small, tmp_path):
    prepare("imagenet", sets.folder_set(tmp_path / "set"), tmp_path / "data", quiet=True)
    return tmp_path / "data"


def test_every_layout_gives_the_same_packs(data, tmp_path, monkeypatch):
    wanted = open_source(recipe(), data, CPU)
    sources = {
        "tar": sets.tar_set(tmp_path / "tar"),
        "official": sets.official_set(tmp_path / "official", monkeypatch),
    }
    for layout, source in sources.items():
        prepare("imagenet", source, tmp_path / layout, quiet=True)
        found = open_source(recipe(), tmp_path / layout, CPU)
        assert found.checksum == wanted.checksum
        assert (found.classes, found.train_images, found.test_images) == (3, 12, 6)


def test_official_archives_are_listed_without_reading_the_images(tmp_path):
    inner = tmp_path / "n01.tar"
    image = tmp_path / "image.JPEG"
    image.write_bytes(bytes(4_000_000))
    with tarfile.open(inner, "w") as tar:
        for number in range(5):
            tar.add(image, f"n01_{number}.JPEG")
    with tarfile.open(tmp_path / folders.TRAIN_TAR, "w") as outer:
        outer.add(inner, inner.name)

    def read():
        return int(Path("/proc/self/io").read_text().split()[1])

    before = read()
    found = list(itertools.islice(folders._in_official(tmp_path, quiet=True), 5))
    assert read() - before < 2_000_000 and [size for *_, size in found] == [4_000_000] * 5


def test_labels_follow_the_names_of_the_classes(data):
    source = open_source(recipe(), data, CPU)
    assert torch.cat([y for _, y in source.test_batches(4)]).tolist() == [0, 0, 1, 1, 2, 2]
    assert (data / "imagenet" / "train.names").read_text().split()[0] == "n01/n01_00000001.JPEG"


@pytest.mark.parametrize("kind", ["grey", "cmyk", "png", "rgba", "palette"])
def test_unusual_files_are_decoded_as_pillow_does(kind, data):
    source = PackSource(recipe(), data, CPU)
    odd = sets.unusual()
    number = {"grey": 0, "cmyk": 1, "png": 2, "rgba": sets.TRAIN, "palette": sets.TRAIN + 1}[kind]
    with Image.open(io.BytesIO(odd[kind])) as image:
        wanted = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(source._train.decode(number).permute(1, 2, 0).numpy(), wanted)


def cut(size):
    """A JPEG that lacks its last bytes, of which Pillow has no need: with most images it refuses as the fast decoder does."""
    return sets.encode(sets.photograph(6), "JPEG", quality=40)[:-size]


def mutated(content, number):
    """Change a few bytes of a JPEG, most of them among the coded pixels."""
    generator = np.random.default_rng(number)
    changed = bytearray(content)
    for place in generator.integers(20, len(changed), 1 + number % 4):
        changed[place] = generator.integers(256)
    return bytes(changed)


@pytest.mark.parametrize("size", [1, 2])
def test_a_jpeg_without_its_last_bytes_is_left_to_pillow(size, tmp_path):
    source = sets.folder_set(tmp_path / "set")
    path = sorted((source / "train" / "n03").iterdir())[0]
    path.write_bytes(cut(size))
    with pytest.raises(RuntimeError):
        decode_plain(bytearray(cut(size)))
    prepare("imagenet", source, tmp_path / "data", quiet=True)
    opened = PackSource(recipe(**ALL), tmp_path / "data", CPU)
    assert len(list(opened.train_batches(0, 0, 4))) == 3
    with Image.open(io.BytesIO(cut(size))) as image:
        wanted = np.asarray(image)
    np.testing.assert_array_equal(opened._train.decode(2 * sets.TRAIN).permute(1, 2, 0).numpy(), wanted)


def test_what_passes_preparation_is_decoded_in_training(tmp_path):
    unreadable = fast = 0
    for number in range(300):
        path = tmp_path / "image"
        path.write_bytes(mutated(sets.encode(sets.photograph(number), "JPEG"), number))
        found = pack._inspect(pack.Item(0, "image", str(path), 0, path.stat().st_size, "train"), 0)
        if isinstance(found, str):
            unreadable += 1
            continue
        content, width, height, plain, _ = found
        if plain:
            fast += 1
            assert decode_plain(bytearray(content)).shape == (3, height, width)
    assert unreadable and fast


def test_an_image_that_only_another_decoder_could_read_is_named(tmp_path, monkeypatch):
    source = sets.folder_set(tmp_path / "set")
    path = sorted((source / "val" / "n02").iterdir())[1]
    path.write_bytes(cut(2))
    with monkeypatch.context() as patch:
        patch.setattr(pack, "decode_plain", lambda content: None)
        prepare("imagenet", source, tmp_path / "data", quiet=True)
    with pytest.raises(UserError) as caught:
        list(PackSource(recipe(), tmp_path / "data", CPU).test_batches(4))
    assert f"test-000.pack: image n02/{path.name} cannot be decoded (" in str(caught.value)
    assert "Image is incomplete" in str(caught.value)  # behind the decoder's name in newer versions
    assert "bnonly prepare imagenet --from PATH" in str(caught.value) and "\n" not in str(caught.value)


def scalar_box(seed, epoch, number, height, width):
    """torchvision's RandomResizedCrop.get_params, one image at a time, with our random words."""
    for attempt in range(1, 11):
        words = seeds.words(seed, "augment", epoch, torch.tensor([number]), attempt)
        area, ratio, top, left = (int(w) / 2**32 for w in words)
        target = height * width * (0.1 + 0.9 * area)
        aspect = math.exp(math.log(0.8) + ratio * (math.log(1.25) - math.log(0.8)))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            return [int(top * (height - h + 1)), int(left * (width - w + 1)), h, w]
    if width / height < 0.8:
        w, h = width, round(width / 0.8)
    elif width / height > 1.25:
        h, w = height, round(height * 1.25)
    else:
        w, h = width, height
    return [(height - h) // 2, (width - w) // 2, h, w]


def test_crops_are_torchvisions_algorithm():
    generator = np.random.default_rng(0)
    height, width = generator.integers(20, 600, 300), generator.integers(20, 600, 300)
    height[:4], width[:4] = (3000, 20, 1, 500), (20, 3000, 1, 500)
    images = torch.arange(300)
    boxes = crops.random_boxes(5, 9, images, height, width)
    for k in range(300):
        assert boxes[k].tolist() == scalar_box(5, 9, k, int(height[k]), int(width[k]))
    some = images[::7]
    assert (crops.random_boxes(5, 9, some, height[::7], width[::7]) == boxes[::7]).all()
    share = boxes[4:, 2] * boxes[4:, 3] / (height[4:] * width[4:])
    assert share.min() < 0.15 and share.max() > 0.9


def test_training_images_are_crops_resized_mirrored_and_normalised(data):
    from torchvision.transforms.v2 import functional

    source = PackSource(recipe(**ALL), data, CPU)
    order = seeds.order(2, 4, source.train_images, CPU)
    images = torch.cat([x for x, _ in source.train_batches(2, 4, 5)])
    labels = torch.cat([y for _, y in source.train_batches(2, 4, 5)])
    rows = source._train.index[order.numpy()]
    boxes = crops.random_boxes(2, 4, order, rows["height"], rows["width"])
    flips = seeds.words(2, "augment", 4, order)[0] >= 2**31
    for k, number in enumerate(order.tolist()):
        image = functional.resized_crop(source._train.decode(number), *boxes[k].tolist(), [32, 32], antialias=True)
        image = functional.horizontal_flip(image) if flips[k] else image
        image = functional.to_dtype(image, torch.float32, scale=True)
        wanted = functional.normalize(image, source.mean.tolist(), source.std.tolist())
        torch.testing.assert_close(images[k], wanted, rtol=0, atol=2.01 / 255 / source.std.min())
        assert (images[k] - wanted).abs().mean() < 0.01
        assert labels[k] == number // sets.TRAIN


@pytest.mark.parametrize("side", [224, 32])
def test_test_images_are_resized_and_cut_in_the_centre(side, data):
    from torchvision.transforms.v2 import functional

    source = PackSource(recipe(image_size=side), data, CPU)
    images = torch.cat([x for x, _ in source.test_batches(4)])
    for k, got in enumerate(images):
        image = functional.resize(source._test.decode(k), [round(side * 256 / 224)], antialias=True)
        image = functional.to_dtype(functional.center_crop(image, [side, side]), torch.float32, scale=True)
        wanted = functional.normalize(image, source.mean.tolist(), source.std.tolist())
        torch.testing.assert_close(got, wanted, rtol=0, atol=2.01 / 255 / source.std.min())


def test_mean_and_deviation_are_those_of_the_training_images_as_tested_on(data):
    source = PackSource(recipe(), data, CPU)
    pixels = []
    for number in range(source.train_images):
        image = Image.fromarray(source._train.decode(number).permute(1, 2, 0).numpy())
        short = 256 / min(image.size)
        image = image.resize([int(side * short + 1e-9) for side in image.size], Image.Resampling.BILINEAR)
        left, top = (round((side - 224) / 2) for side in image.size)
        pixels.append(np.asarray(image.crop((left, top, left + 224, top + 224))) / 255)
    stacked = np.stack(pixels)
    np.testing.assert_allclose(source.mean, stacked.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(source.std, stacked.std((0, 1, 2)), atol=1e-4)


def test_neither_threads_nor_batch_size_nor_resuming_matters(data, monkeypatch):
    monkeypatch.setattr("bnonly.data.stream.DRAWN", 4)
    monkeypatch.setattr("bnonly.data.stream.SHARE", 2)
    one, three = (PackSource(recipe(**ALL), data, CPU, workers) for workers in (1, 3))
    whole = torch.cat([x for x, _ in one.train_batches(0, 0, 12)])
    assert torch.equal(whole, torch.cat([x for x, _ in three.train_batches(0, 0, 5)]))
    assert torch.equal(whole[10:], torch.cat([x for x, _ in three.train_batches(0, 0, 5, first=2)]))
    assert not torch.equal(whole, torch.cat([x for x, _ in one.train_batches(0, 1, 12)]))


def test_an_epoch_left_early_does_not_disturb_the_next(data):
    source = PackSource(recipe(**ALL), data, CPU, 2)
    wanted = [x for x, _ in source.train_batches(0, 0, 4)]
    batches = source.train_batches(0, 0, 4)
    next(batches)
    batches.close()
    assert all(torch.equal(a, b) for a, (b, _) in zip(wanted, source.train_batches(0, 0, 4), strict=True))


def test_images_are_channels_last_in_memory(data):
    (images, _), *_ = open_source(recipe(**ALL), data, CPU).train_batches(0, 0, 4)
    assert images.is_contiguous(memory_format=torch.channels_last) and images.dtype == torch.float32


def test_labels_are_sent_to_a_gpu_from_pinned_memory_as_images_are(data, monkeypatch):
    """Memory that is not makes the host wait in the middle of an epoch."""
    source = PackSource(recipe(**ALL), data, CPU, 2)
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    list(source.train_batches(0, 0, 4))
    assert not pinned
    monkeypatch.setattr(source, "_device", torch.device("cuda"))
    monkeypatch.setattr(source, "_buffer", lambda images: torch.empty(images, 32, 32, 3))  # pinned by torch.empty there
    batches = source._batches(source._train, source._drawn(0, 0, 4, 0, (0, 1)))
    labels = [y for _, y in batches]
    assert [id(t) for t in pinned] == [id(y) for y in labels] and len(labels) == 3


def test_there_are_as_many_threads_as_the_training_has(data):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert PackSource(recipe(), data, CPU)._workers == 3
    finally:
        torch.set_num_threads(before)


def test_threads_do_not_change_the_caller_s_threads(data):
    before = torch.get_num_threads()
    list(PackSource(recipe(**ALL), data, CPU, 2).train_batches(0, 0, 4))
    assert torch.get_num_threads() == before


def test_shifts_are_refused(data):
    with pytest.raises(UserError, match="augmentation.shift must be 0 for imagenet"):
        open_source(recipe(shift=4), data, CPU)


def test_an_interrupted_preparation_goes_on_where_it_was(tmp_path, monkeypatch):
    source = sets.folder_set(tmp_path / "set")
    monkeypatch.setattr(pack, "PACK_BYTES", 3000)
    inspect, calls = pack._inspect, []

    def interrupted(item, shrink):
        calls.append(item.name)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return inspect(item, shrink)

    monkeypatch.setattr(pack, "_inspect", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare("imagenet", source, tmp_path / "data", workers=1, quiet=True)
    with pytest.raises(UserError, match="bnonly prepare imagenet"):
        open_source(recipe(), tmp_path / "data", CPU)
    first = set(calls[:4])
    calls[:] = ["skip"] * 100
    prepare("imagenet", source, tmp_path / "data", workers=1, quiet=True)
    assert not first & set(calls), "packs that were finished are not made again"
    monkeypatch.setattr(pack, "_inspect", inspect)
    prepare("imagenet", source, tmp_path / "whole", workers=2, quiet=True)
    one, other = (open_source(recipe(), tmp_path / d, CPU) for d in ("data", "whole"))
    assert one.checksum == other.checksum
    names = {p.name for p in (tmp_path / "data" / "imagenet").iterdir()}
    assert ".partial" not in names and "train-001.pack" in names


def test_another_source_is_not_mixed_with_an_interrupted_preparation(tmp_path, monkeypatch):
    first, second = sets.folder_set(tmp_path / "a"), sets.folder_set(tmp_path / "b")
    for image in second.glob("train/n02/*"):
        image.write_bytes(sets.encode(sets.photograph(500), "JPEG"))
    write = pack._write_pack

    def interrupted(partial, work, pool, meter):
        if work.part == "test":
            raise KeyboardInterrupt
        return write(partial, work, pool, meter)

    monkeypatch.setattr(pack, "_write_pack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare("imagenet", first, tmp_path / "data", quiet=True)
    monkeypatch.setattr(pack, "_write_pack", write)
    prepare("imagenet", second, tmp_path / "data", quiet=True)
    prepare("imagenet", second, tmp_path / "fresh", quiet=True)
    one, other = (open_source(recipe(), tmp_path / d, CPU) for d in ("data", "fresh"))
    assert one.checksum == other.checksum


def test_a_shrunk_set_has_a_name_of_its_own_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "imagenet-256", dataclasses.replace(DATASETS["imagenet-256"], shrink=38))
    prepare("imagenet-256", sets.folder_set(tmp_path / "set"), tmp_path / "data", quiet=True)
    source = PackSource(sets.recipe("imagenet-256", **ALL), tmp_path / "data", CPU)
    index = source._train.index
    assert np.minimum(index["height"], index["width"]).max() == 38
    assert source._train.decode(0).shape == (3, index["height"][0], index["width"][0])
    assert "38 pixels" in (tmp_path / "data" / "imagenet-256" / "manifest.json").read_text()
    assert not DATASETS["imagenet-256"].paper
