"""Measure the speed of batches: ours and torchvision's dataset + DataLoader, in one run, with the same augmentation.

    python benchmarks/data.py --shared ../shared/data        (about ten minutes; benchmarks/results/data.md and data.csv)

Expect about 17 times torchvision's images per second on CIFAR-10 and 4 times on photographs, on one core.

`--shared` has cifar10-jpeg/ and imagenette10.tar.  Every measurement is a process of its own: it makes two epochs' worth
of training batches (at least five seconds), after a warm-up.  "Images per second per core" are images per second of CPU time of
all its processes, which other work on the machine disturbs less than the clock.  Memory is the peak of the sum of all
processes' proportional set sizes, torch itself included.  Decoding on a GPU, by torchvision and by DALI (which is not
among the requirements), is measured where there is one.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common import RESULTS, machine, markdown, write, write_csv

BATCH = 128
SETS = {"cifar10-jpeg": "cifar10-jpeg", "imagenette10": "imagenette10.tar"}
SIDES = ("torchvision", "bnonly")
COLUMNS = ("dataset", "side", "workers", "images_per_second", "images_per_cpu_second", "peak_mb")


def recipe_of(dataset: str) -> Any:
    """Return batch size and augmentation of a data set (Appendix B)."""
    from bnonly.grid.cell import Augmentation, Recipe

    crops = dataset == "imagenette10"
    return Recipe(dataset, 1, BATCH, 0.1, (), augmentation=Augmentation(True, 0 if crops else 4, crops))


def ours(dataset: str, data: Path, workers: int, device: Any) -> Callable[[int], Iterator[Any]]:
    """Return what yields an epoch's batches: photographs by `workers` threads, at least one, CIFAR by this one alone."""
    recipe = recipe_of(dataset)
    if dataset == "imagenette10":
        from bnonly.data.stream import PackSource

        source: Any = PackSource(recipe, data, device, max(1, workers))
    else:
        from bnonly.data import open_source

        source = open_source(recipe, data, device)
    return lambda epoch: source.train_batches(0, epoch, BATCH)


def theirs(dataset: str, data: Path, workers: int, device: Any) -> Callable[[int], Iterator[Any]]:
    """Return the same with torchvision's dataset and transforms and torch's DataLoader."""
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    from bnonly.data.prepared import open_arrays, open_prepared
    from bnonly.grid.datasets import DATASETS

    manifest, _ = open_prepared(DATASETS[dataset], data)
    finish = [
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(manifest.mean, manifest.std),
    ]
    if dataset == "imagenette10":
        crop = transforms.RandomResizedCrop(224, scale=(0.1, 1.0), ratio=(0.8, 1.25))
        images: Any = datasets.ImageFolder(str(data / "extracted" / "train"), transforms.Compose([crop, *finish]))
    else:

        class Cifar(datasets.CIFAR10):
            """torchvision's own data set, with the pixels of these images."""

            def __init__(self) -> None:
                arrays, _ = open_arrays(DATASETS[dataset], data)
                self.data, self.targets = arrays["train_images"], arrays["train_labels"].tolist()
                self.transform = transforms.Compose([transforms.RandomCrop(32, padding=4), *finish])
                self.target_transform = None

        images = Cifar()
    pin = device.type == "cuda"
    loader = DataLoader(
        images, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0, pin_memory=pin
    )
    return lambda epoch: ((x.to(device, non_blocking=pin), y.to(device, non_blocking=pin)) for x, y in loader)


def family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    found = [pid]
    for process in found:
        try:
            for task in os.listdir(f"/proc/{process}/task"):
                found += map(int, Path(f"/proc/{process}/task/{task}/children").read_text().split())
        except OSError:
            continue
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process and its descendants have used."""
    ticks = 0
    for process in family(pid):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Return the sum of the proportional set sizes of a process and its descendants, in MB."""
    total = 0
    for process in family(pid):
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total * 1024 / 1e6


def measure(dataset: str, side: str, data: Path, workers: int, device_name: str) -> dict[str, float]:
    """Time one side in this process."""
    import torch

    torch.set_num_threads(1)
    device = torch.device(device_name)
    epoch = (ours if side == "bnonly" else theirs)(dataset, data, workers, device)
    least = 100_000 if dataset != "imagenette10" else 4_000
    for number, _ in enumerate(epoch(0)):  # an epoch, or what shows that everything runs
        if number == 100:
            break
    images, number = 0, 1
    began, used = time.perf_counter(), cpu_seconds(os.getpid())
    while images < least or time.perf_counter() - began < 5:
        for x, _ in epoch(number):
            images += len(x)
            if time.perf_counter() - began > 60:
                break
        number += 1
        if time.perf_counter() - began > 60:
            break
    if device.type == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter() - began, cpu_seconds(os.getpid()) - used
    return {"images_per_second": images / wall, "images_per_cpu_second": images / cpu}


def run(options: argparse.Namespace, dataset: str, side: str, workers: int) -> dict[str, Any]:
    """Measure in a process of its own, watching its memory."""
    one = json.dumps([dataset, side, str(options.data), workers, options.device])
    process = subprocess.Popen([sys.executable, __file__, "--one", one], stdout=subprocess.PIPE, text=True)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(0.25)
    assert process.stdout is not None
    found = json.loads(process.stdout.read().splitlines()[-1])
    return {"dataset": dataset, "side": side, "workers": workers, **found, "peak_mb": peak}


def single_images(tar: Path) -> list[tuple[str, str, str]]:
    """Time decoders and resizers on one core: (images, step, milliseconds of CPU time, or why there are none)."""
    import torch
    from PIL import Image
    from torch.nn import functional
    from torchvision.io import ImageReadMode, decode_jpeg

    torch.set_num_threads(1)
    with tarfile.open(tar) as opened:
        members = [m for m in opened.getmembers() if m.isfile()][::10]
        small = [opened.extractfile(m).read() for m in members]  # type: ignore[union-attr]

    def encoded(content: bytes, size: tuple[int, int]) -> bytes:
        stream = io.BytesIO()
        Image.open(io.BytesIO(content)).convert("RGB").resize(size, Image.Resampling.BICUBIC).save(
            stream, "JPEG", quality=92
        )
        return stream.getvalue()

    def pillow(content: bytes, draft: int = 0) -> Image.Image:
        image = Image.open(io.BytesIO(content))
        if draft:
            image.draft("RGB", (draft, draft))
        return image.convert("RGB")

    def torchvision(content: bytes) -> torch.Tensor:
        return decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), mode=ImageReadMode.RGB)

    def resized(image: torch.Tensor, order: torch.memory_format) -> torch.Tensor:
        part = image[None, :, 10:-10, 10:-10].contiguous(memory_format=order)
        return functional.interpolate(part, size=(224, 224), mode="bilinear", antialias=True)

    def timed(step: Callable[[Any], Any], items: list[Any]) -> float:
        rounds = []
        for _ in range(3):
            began = time.process_time()
            for item in items:
                step(item)
            rounds.append((time.process_time() - began) / len(items) * 1e3)
        return min(rounds)

    rows = []
    for name, contents in (
        ("imagenette10, 224 x 224", small),
        ("the same enlarged to 500 x 375", [encoded(c, (500, 375)) for c in small]),
        ("those shrunk to 341 x 256", [encoded(c, (341, 256)) for c in small]),
    ):
        images, pictures = [torchvision(c) for c in contents], [pillow(c) for c in contents]
        steps: list[tuple[str, Callable[[Any], Any], list[Any]]] = [
            ("decode: Pillow", pillow, contents),
            ("decode: Pillow, draft mode for 112 pixels", lambda c: pillow(c, 112), contents),
            ("decode: torchvision.io (chosen)", torchvision, contents),
            (
                "crop, resize: Pillow",
                lambda p: p.crop((10, 10, p.width - 10, p.height - 10)).resize((224, 224), Image.Resampling.BILINEAR),
                pictures,
            ),
            ("crop, resize: torch, planes", lambda x: resized(x, torch.contiguous_format), images),
            ("crop, resize: torch, channels last (chosen)", lambda x: resized(x, torch.channels_last), images),
        ]
        rows += [(name, what, f"{timed(step, items):.3f}") for what, step, items in steps]
        rows += [(name, what, on_gpu(decoder, contents)) for what, decoder in GPU_DECODERS.items()]
    return rows


def torchvision_on_gpu(contents: list[bytes]) -> Callable[[], Any]:
    """Return what decodes the images by nvJPEG through torchvision."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = [torch.frombuffer(bytearray(c), dtype=torch.uint8) for c in contents]
    return lambda: decode_jpeg(encoded, mode=ImageReadMode.RGB, device="cuda")


def dali_on_gpu(contents: list[bytes]) -> Callable[[], Any]:
    """Return what decodes the images by DALI; nothing runs ahead of the clock."""
    import numpy as np
    from nvidia.dali import Pipeline, fn, types

    encoded = [np.frombuffer(c, np.uint8) for c in contents]
    pipeline = Pipeline(
        len(contents), num_threads=1, device_id=0, prefetch_queue_depth=1, exec_pipelined=False, exec_async=False
    )
    with pipeline:
        source = fn.external_source(source=lambda: encoded, dtype=types.UINT8)
        pipeline.set_outputs(fn.decoders.image(source, device="mixed", output_type=types.RGB))
    pipeline.build()
    return pipeline.run


GPU_DECODERS = {
    "decode: torchvision.io on a GPU, by the clock": torchvision_on_gpu,
    "decode: DALI on a GPU, by the clock": dali_on_gpu,
}


def on_gpu(decoder: Callable[[list[bytes]], Callable[[], Any]], contents: list[bytes]) -> str:
    """Time a decoder on the GPU, all images at once, or say why it is not timed."""
    import torch

    if not torch.cuda.is_available():
        return "not measured: no GPU"
    try:
        decode = decoder(contents)
    except ImportError as problem:
        return f"not measured: {problem}"
    for _ in range(2):
        torch.cuda.synchronize()
        began = time.perf_counter()
        decode()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    return f"{seconds / len(contents) * 1e3:.3f}"


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the comparison as Markdown."""
    lines = []
    for dataset in SETS:
        for workers in sorted({r["workers"] for r in rows}):
            a, b = (
                next(r for r in rows if (r["dataset"], r["side"], r["workers"]) == (dataset, side, workers))
                for side in SIDES
            )
            cells = [dataset, str(workers)]
            for key in ("images_per_second", "images_per_cpu_second"):
                cells += [f"{a[key]:,.0f}", f"{b[key]:,.0f}", f"{b[key] / a[key]:.1f}"]
            lines.append([*cells, f"{a['peak_mb']:,.0f}", f"{b['peak_mb']:,.0f}"])
    heads = ["data set", "workers"]
    for what in ("images/s", "images/s per core"):
        heads += [f"torchvision, {what}", f"bnonly, {what}", "times"]
    return markdown([*heads, "torchvision, MB", "bnonly, MB"], lines)


def main() -> None:
    """Measure everything and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--shared", type=Path, default=Path("../shared/data"), help="folder with the data sets as distributed"
    )
    parser.add_argument("--data", type=Path, help="folder for the prepared data (default: a temporary one)")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; results are their medians")
    parser.add_argument("--device", default="cpu", help="device that receives the batches (default: cpu)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        dataset, side, data, workers, device = json.loads(options.one)
        print(json.dumps(measure(dataset, side, Path(data), workers, device)))
        return

    from bnonly.data.prepare import prepare

    about = f"{machine(options.device)}, pillow {version('pillow')}"
    with tempfile.TemporaryDirectory() as temporary:
        options.data = options.data or Path(temporary)
        for name, source in SETS.items():
            print(prepare(name, options.shared / source, options.data), file=sys.stderr)
        if not (options.data / "extracted").exists():
            with tarfile.open(options.shared / SETS["imagenette10"]) as tar:
                tar.extractall(options.data / "extracted", filter="data")
        singles = single_images(options.shared / SETS["imagenette10"])
        cases = [(d, s, w) for d in SETS for w in options.workers for s in SIDES]
        measured: dict[tuple[str, str, int], list[dict[str, Any]]] = {case: [] for case in cases}
        for number in range(options.rounds):
            for case in cases:
                measured[case].append(run(options, *case))
                print(f"round {number + 1}", measured[case][-1], file=sys.stderr)
    rows = [
        dict(zip(COLUMNS, case, strict=False)) | {k: statistics.median(m[k] for m in found) for k in COLUMNS[3:]}
        for case, found in measured.items()
    ]
    name = "data" if options.device == "cpu" else f"data-{options.device}"
    command = f"python benchmarks/data.py --shared ../shared/data --workers {' '.join(map(str, options.workers))}"
    command += f" --rounds {options.rounds} --device {options.device}"
    write_csv(RESULTS / f"{name}.csv", rows, 1)
    about += (
        f".\n\nTraining batches of {BATCH}, augmented and normalised, on {options.device}: medians of {options.rounds} rounds. "
        "`workers` are processes of the DataLoader (0: none), and threads of bnonly (at least one; CIFAR has one in every row). "
        '"Per core" is per second of CPU time of all processes. Memory is the peak, torch included.'
    )
    text = [
        *table(rows),
        "",
        "One image on one core, in milliseconds of CPU time; on a GPU, if there is one, by the clock:",
        "",
        *markdown(("images", "step", "ms"), singles),
    ]
    write(RESULTS / f"{name}.md", "Batches: bnonly beside torchvision", command, about, text)
    print("\n".join(text))


if __name__ == "__main__":
    main()
