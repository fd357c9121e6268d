"""The training steps that the benchmarks compare: our engines, eager PyTorch and the usual loop; and their images.

Images are random: no step's time depends on their content; those that a loader decodes are JPEGs of 500 x 375.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from common import ROOT

sys.path.insert(0, str(ROOT / "src"))

#: name: (family, depth, channels, images' side, batch)
NETWORKS = {
    "ResNet-14": ("cifar-resnet", 14, 16, 32, 128),
    "ResNet-32": ("cifar-resnet", 32, 16, 32, 128),
    "ResNet-56": ("cifar-resnet", 56, 16, 32, 128),
    "ResNet-110": ("cifar-resnet", 110, 16, 32, 128),
    "ResNet-866": ("cifar-resnet", 866, 16, 32, 128),
    "WRN-14-8": ("cifar-resnet", 14, 128, 32, 128),
    "WRN-14-32": ("cifar-resnet", 14, 512, 32, 128),
    "VGG-16": ("vgg", 16, 64, 32, 128),
    "ImageNet-ResNet-18": ("imagenet-resnet", 18, 64, 224, 1024),
    "ImageNet-ResNet-50": ("imagenet-resnet", 50, 64, 224, 1024),
    "ImageNet-ResNet-200": ("imagenet-resnet", 200, 64, 224, 1024),
}
#: Images of the synthetic sets: as many as an epoch's order has to be drawn for, and few where they are large.
CIFAR_IMAGES, LARGE_IMAGES = 50_000, 2_048
#: JPEGs that a loader reads again and again.
PHOTOGRAPHS = 256


class Synthetic:
    """Random photographs of the true size on the device, one batch for all steps: what a step costs without decoding."""

    def __init__(self, side: int, batch: int, classes: int, device: Any) -> None:
        import numpy as np
        import torch

        self.classes, self.train_images, self.test_images = classes, LARGE_IMAGES, batch
        self.checksum, self.mean, self.std = "", np.zeros(3), np.ones(3)
        x = torch.randn(batch, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
        self._batch = x, torch.randint(classes, (batch,), device=device)

    def train_batches(self, seed: int, epoch: int, batch_size: int, first: int = 0, share: Any = None) -> Any:
        """Yield the batch again and again."""
        while True:
            yield self._batch

    def test_batches(self, batch_size: int, share: Any = None) -> Any:
        """Yield it once."""
        yield self._batch


def cell_of(name: str, regime: str, batch: int, engine: str, precision: str) -> Any:
    """Return the cell of the paper's configuration, or one like it: the regime by the paper's words."""
    import dataclasses

    from bnonly.grid.cell import Architecture, Cell
    from bnonly.grid.resolve import load_grid

    paper = load_grid(ROOT / "config.yaml")
    family, depth, channels, side, _ = NETWORKS[name]
    like = next(
        c
        for c in paper.cells.values()
        if c.regime.name == regime and (c.recipe.dataset == "imagenet") == (family == "imagenet-resnet")
    )
    recipe = dataclasses.replace(like.recipe, batch_size=batch, epochs=100, milestones=())
    return Cell(Architecture(name, family, depth, channels), like.regime, recipe, 0, engine, precision)


def cifar(device: Any, recipe: Any, count: int = CIFAR_IMAGES) -> Any:
    """Return a source of random images of CIFAR-10's size, and of its number unless another is given."""
    import numpy as np

    from bnonly.data.arrays import ArraySource, ImageArrays

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, count)
    # As prepared data have it: neither side computes checksums or statistics at the start.
    mean, deviation = np.full(3, 0.47), np.full(3, 0.25)
    known: Any = SimpleNamespace(
        checksum="", class_names=list(map(str, range(10))), statistics=lambda: (mean, deviation)
    )
    return ArraySource(ImageArrays(images, labels, images[:1000], labels[:1000], 10), recipe, device, known)


#: Trains step after step until what it asks after each of them says no.
Steps = Callable[[Callable[[], bool]], None]
#: Tells, once steps were taken, how they were: whether they are one CUDA graph, say.
Facts = Callable[[], dict[str, Any]]


def ours(cell: Any, device: Any, replicates: int = 1) -> tuple[Steps, Facts]:
    """Return what trains with the fast engine, or several replicates of it."""
    import dataclasses

    from bnonly.engines.engine import make_engine
    from bnonly.engines.fast.engine import Replicates

    side, classes = NETWORKS[cell.architecture.name][3], 1000 if cell.recipe.dataset == "imagenet" else 10
    photographs = cell.architecture.family == "imagenet-resnet"
    source = Synthetic(side, cell.recipe.batch_size, classes, device) if photographs else cifar(device, cell.recipe)
    engines: list[Any] = [make_engine(dataclasses.replace(cell, seed=i), source, device) for i in range(replicates)]
    engine = Replicates(engines) if replicates > 1 else engines[0]
    whole = source.train_images // cell.recipe.batch_size
    total = whole * int(cell.recipe.epochs)
    done = 0

    def steps(go_on: Callable[[], bool]) -> None:
        # As in a training: an epoch's order is drawn once, and the engine asks after every batch.
        nonlocal done
        wanted = True

        def pause() -> bool:
            nonlocal wanted
            wanted = go_on()
            return not wanted

        while wanted:
            epoch, first = divmod(done % total, whole)  # the schedule has an end
            done = epoch * whole + engine.train(epoch, first, whole, pause)

    return steps, engines[0].facts


def usual(cell: Any, device: Any, loader: bool, workers: int) -> tuple[Steps, Facts]:
    """Return what trains the usual way."""
    import torch
    from torch import nn

    from bnonly.networks import regimes

    torch.backends.cudnn.benchmark = device.type == "cuda"
    photographs = cell.architecture.family == "imagenet-resnet"
    model = regimes.make(cell, 1000 if photographs else 10).to(device)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.num_batches_tracked = torch.zeros((), dtype=torch.long, device=device)  # as PyTorch has it
    if not loader:
        model = model.to(memory_format=torch.channels_last)
    trained = [p for p in model.parameters() if p.requires_grad]
    recipe = cell.recipe
    optimiser = torch.optim.SGD(trained, recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [30_000, 45_000])
    if photographs and not loader:
        batches = Synthetic(NETWORKS[cell.architecture.name][3], recipe.batch_size, 1000, device).train_batches(0, 0, 0)
    elif loader:
        batches = loaded(recipe.batch_size, device, workers, photographs)
    else:
        batches = on_device(recipe.batch_size, device)
    half = cell.precision == "bf16"

    def steps(go_on: Callable[[], bool]) -> None:
        wanted = True
        while wanted:
            x, y = next(batches)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                loss = nn.functional.cross_entropy(model(x), y)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            wanted = go_on()

    return steps, dict


def on_device(batch: int, device: Any) -> Any:
    """Yield CIFAR batches from a tensor on the device, flipped and shifted a batch at a time, as good public code does."""
    import torch
    from torch.nn import functional

    images = torch.randint(0, 256, (CIFAR_IMAGES, 3, 32, 32), dtype=torch.uint8, device=device)
    images = functional.pad(images, (4, 4, 4, 4)).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (CIFAR_IMAGES,), device=device)
    rows = torch.arange(32, device=device)
    while True:
        order = torch.randperm(CIFAR_IMAGES, device=device)
        for start in range(0, CIFAR_IMAGES - batch + 1, batch):
            chosen = order[start : start + batch]
            down, right = torch.randint(9, (2, batch, 1), device=device)
            columns = torch.where(torch.rand(batch, 1, device=device) < 0.5, 31 - rows, rows) + right
            x = images[chosen[:, None, None], :, (rows + down)[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
            yield x.float().div_(255).sub_(0.47).div_(0.25), labels[chosen]


def loaded(batch: int, device: Any, workers: int, photographs: bool) -> Iterator[Any]:
    """Yield batches from torchvision's data set, CIFAR-10 or a folder of photographs, through a DataLoader."""
    import numpy as np
    import torch
    from torchvision import datasets, transforms

    finish = [transforms.ToTensor(), transforms.Normalize((0.47,) * 3, (0.25,) * 3)]
    flip = transforms.RandomHorizontalFlip()
    rng = np.random.default_rng(0)

    class Random(datasets.CIFAR10):
        """torchvision's own data set, with random pixels."""

        def __init__(self) -> None:
            self.data = rng.integers(0, 256, (CIFAR_IMAGES, 32, 32, 3), dtype=np.uint8)
            self.targets = rng.integers(0, 10, CIFAR_IMAGES).tolist()
            self.target_transform = None
            self.transform = transforms.Compose([flip, transforms.RandomCrop(32, padding=4), *finish])

    feed: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0, "drop_last": True}
    feed["pin_memory"] = device.type == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        if photographs:
            draw_photographs(Path(folder), rng)
            crop = transforms.RandomResizedCrop(224, scale=(0.1, 1), ratio=(0.8, 1.25))
            images: Any = datasets.ImageFolder(folder, transforms.Compose([crop, flip, *finish]))
            feed["sampler"] = torch.utils.data.RandomSampler(images, replacement=True, num_samples=200 * batch)
        else:
            images = Random()
            feed["shuffle"] = True
        loader = torch.utils.data.DataLoader(images, batch, **feed)
        while True:
            for x, y in loader:
                yield x.to(device, non_blocking=feed["pin_memory"]), y.to(device, non_blocking=feed["pin_memory"])


def draw_photographs(folder: Path, rng: Any) -> None:
    """Write JPEGs of 500 x 375 pixels with the smoothness of photographs: what decoding costs depends on it."""
    import numpy as np
    from PIL import Image

    (folder / "class").mkdir()
    for i in range(PHOTOGRAPHS):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(
            (500, 375), Image.Resampling.BICUBIC
        )
        noise = rng.normal(0, 6, (375, 500, 3))
        pixels = (np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "class" / f"{i}.jpg", quality=90)
