"""FLOPs, saved activations and parameters of the enumerated networks against hooks on the built ones, exactly."""

import csv
import dataclasses
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bnonly.config.layers import read_yaml
from bnonly.cost import estimate, find_gpu
from bnonly.cost.model import limit_images_per_second
from bnonly.cost.step import count_step, step_of
from bnonly.cost.training import count_training
from bnonly.engines.fast.network import Network
from bnonly.engines.fast.parameters import Parameters
from bnonly.errors import UserError
from bnonly.grid.cell import Architecture, Cell, Recipe
from bnonly.grid.datasets import DATASETS
from bnonly.grid.families import FAMILIES, network
from bnonly.grid.resolve import load_grid
from bnonly.networks import regimes

ROOT = Path(__file__).parents[2]
PAPER = load_grid(ROOT / "config.yaml", {"engine": "reference", "precision": "fp32"})
#: One of those that train the same; every k is counted alike.
REGIMES = {
    r.name: r
    for r in {(c.regime.train, c.regime.random_per): c.regime for c in reversed(PAPER.cells.values())}.values()
}
CLASSES, BATCH = 10, 2
#: Every family, both kinds of ImageNet block, a strided and an unstrided shortcut; any size of image, odd ones too.
NETWORKS = [
    ("cifar-resnet", 8, 16, 8),
    ("cifar-resnet", 14, 16, 32),
    ("cifar-resnet", 20, 18, 13),
    ("vgg", 11, 16, 16),
    ("vgg", 16, 16, 32),
    ("imagenet-resnet", 10, 16, 16),
    ("imagenet-resnet", 18, 16, 39),
    ("imagenet-resnet", 34, 16, 32),
    ("imagenet-resnet", 50, 16, 33),
    ("imagenet-resnet", 50, 64, 32),
]


def test_every_family_is_enumerated_and_an_unknown_one_says_where():
    assert {n[0] for n in NETWORKS} == set(FAMILIES)
    with pytest.raises(UserError, match="x: no family 'mine'; one of: cifar-resnet, imagenet-resnet, vgg"):
        network(Architecture("x", "mine", 8, 16), CLASSES, 8)


def built(network, regime):
    family, depth, channels, image = network
    recipe = Recipe("digits", 1, BATCH, 0.1, (), image_size=image)
    cell = Cell(Architecture("net", family, depth, channels), REGIMES[regime], recipe, 0)
    return cell, regimes.make(cell, CLASSES), torch.rand(BATCH, 3, image, image)


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: "-".join(map(str, n)))
def test_flops_activations_and_parameters_are_those_of_the_built_network(network, regime):
    cell, model, images = built(network, regime)
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    saved = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()  # the graph keeps the tensor, and so its place
        return tensor

    with FlopCounterMode(display=False) as forward, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        logits = model(images)
    with FlopCounterMode(display=False) as backward:
        logits.backward(torch.ones_like(logits))
    counted = step_of(cell)
    assert forward.get_total_flops() == BATCH * counted.forward_flops
    assert backward.get_total_flops() == BATCH * (counted.dgrad_flops + counted.wgrad_flops)
    assert sum(saved.values()) == counted.saved(BATCH, 4)
    assert {
        k: getattr(counted, v)
        for k, v in [("total", "parameters"), ("trainable", "trainable"), ("features", "features")]
    } == {k: regimes.count(model)[k] for k in ("total", "trainable", "features")}
    assert counted.tensors == len(regimes.trainable(model))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("network", [n for n in NETWORKS if n[3] < 33], ids=lambda n: "-".join(map(str, n)))
def test_the_fast_engine_saves_what_is_counted(network, regime, dtype):
    family, depth, channels, image = network
    cell, model, _ = built(network, regime)
    images = torch.rand(7, 3, image, image).contiguous(memory_format=torch.channels_last)
    fast = Network(model, Parameters(model, dtype).of, dtype)
    saved = {}

    def keep(tensor):
        if tensor.dim() in (2, 4) and len(tensor) == 7:  # of every image; no weight has seven filters
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        logits = fast.train(images)
    assert logits.requires_grad
    counted = step_of(cell, "fast")
    assert sum(saved.values()) == counted.saved(7, dtype.itemsize) - counted.saved_fixed


@pytest.mark.parametrize("regime", ["bn", "all", "short_out"])
def test_the_largest_activation_is_the_networks(regime):
    cell, model, images = built(NETWORKS[1], regime)
    sizes = [images[0].numel()]
    for module in model.modules():
        module.register_forward_hook(lambda module, inputs, output: sizes.append(output[0].numel()))
    model(images)
    assert step_of(cell).largest == max(sizes)


def test_regimes_cost_what_they_must():
    """Only the output: no backward pass through the network.  Random weights: all of the weights' gradients."""
    made = {r: count_step(Architecture("n", "cifar-resnet", 14, 16), REGIMES[r], 10, 32, "reference") for r in REGIMES}  # fmt: skip
    linear, stem = 2 * 64 * 10, 2 * 27 * 16 * 32 * 32
    forward = made["all"].forward_flops
    assert made["out"].dgrad_flops == 0 and made["out"].wgrad_flops == linear and made["out"].saved_elements == 64
    assert made["bn"].wgrad_flops == 0 and made["bn"].dgrad_flops == forward - stem
    assert made["bn_out"].wgrad_flops == linear
    assert made["rand2"].wgrad_flops == forward - linear and made["rand2"].dgrad_flops == made["all"].dgrad_flops
    assert made["all"].wgrad_flops == forward and made["all"].dgrad_flops == forward - stem
    assert 0 < made["short_out"].dgrad_flops < made["bn"].dgrad_flops


def test_parameters_of_the_papers_networks():
    with (ROOT / "tests/facts/parameter_counts.csv").open() as stream:
        facts = {row["architecture"]: row for row in csv.DictReader(stream)}
    assert len(facts) == 22
    known = {a: cell for (a, _, _), cell in PAPER.cells.items()}
    for name, row in facts.items():
        cell = known[PAPER.aliases.get(name, name) if name in known or name in PAPER.aliases else f"ImageNet-{name}"]
        assert step_of(cell).parameters == int(row["total"]), name


@pytest.mark.parametrize(
    ("experiment", "flops", "digits"),
    [("cifar-depth", 1.1e19, 2), ("cifar-width", 9.9e19, 2), ("vgg", 1.2e18, 2), ("imagenet", 5.8e20, 2)],
)
def test_the_papers_groups(experiment, flops, digits):
    cells = [PAPER.cells[k] for k in set(PAPER.keys_of(PAPER.experiments[experiment]))]
    total = sum(count_training(c).train_flops for c in cells)
    assert float(f"{total:.{digits - 1}e}") == flops


def test_schedule():
    cell = PAPER.cell("ResNet-14", "bn", 0)
    done = count_training(cell)
    assert (done.iterations, done.images, done.evaluations) == (160 * 391, 160 * 50_000, 161)
    part = count_training(dataclasses.replace(cell, recipe=dataclasses.replace(cell.recipe, epochs=1.5, milestones=())))
    assert (part.iterations, part.images, part.evaluations) == (586, 50_000 + 195 * 128, 3)


@pytest.mark.parametrize(
    ("name", "bn", "everything"),
    [
        ("ResNet-56", 531e3, 379e3), ("ResNet-110", 271e3, 194e3), ("ResNet-866", 34.5e3, 24.7e3), ("ResNet-14", 2.10e6, 1.49e6),
        ("WRN-14-8", 118e3, 78e3), ("WRN-14-32", 7.4e3, 4.9e3), ("VGG-16", 632e3, 421e3), ("ImageNet-ResNet-18", 113e3, 74e3),
        ("ImageNet-ResNet-50", 26.6e3, 19.2e3), ("ImageNet-ResNet-200", 8.6e3, 6.2e3),
    ],
)  # fmt: skip
def test_the_limit_on_an_h200(name, bn, everything):
    """Counted by hand once, for 4.3 TB/s and 790 TFLOP/s, without the shortcuts of the second and third group."""
    for regime, expected in (("bn", bn), ("all", everything)):
        cell = dataclasses.replace(PAPER.cell(name, regime, 0), precision="bf16")
        assert limit_images_per_second(cell, find_gpu("H200"), 790e12) == pytest.approx(expected, rel=0.035)


def test_eager_moves_forty_elements_a_block_and_the_fast_engine_less():
    """A basic block more, and nothing else: what it adds, in elements of a convolution's output."""

    def moved(depth, regime, engine):
        one = count_step(Architecture("n", "cifar-resnet", depth, 16), REGIMES[regime], 10, 32, engine)
        return sum(p.elements * n for p, n in (*one.forward, *one.backward))

    block = 7 * 16 * 32 * 32 // 4  # one in each of the three groups
    for engine, expected in (("reference", (40, 44)), ("fast", (30, 34)), ("limit", (15, 21))):
        assert tuple((moved(20, r, engine) - moved(14, r, engine)) / block for r in ("bn", "all")) == expected


def test_the_fast_engine_saves_what_was_measured_on_resnet_110():
    saved = [
        count_step(Architecture("n", "cifar-resnet", 110, 16), REGIMES["bn"], 10, 32, e) for e in ("reference", "fast")
    ]
    stock, fused = (s.saved(1, 4) - s.saved_fixed for s in saved)
    assert stock / 1e6 == pytest.approx(8.44, abs=0.06) and fused / 1e6 == pytest.approx(4.76, abs=0.03)


@pytest.mark.parametrize("name", ["a100-40", "h200", "t4", "cpu"])
def test_estimates_are_ordered_as_the_work_is(name):
    gpu = find_gpu(name)
    seconds = [estimate(PAPER.cell("WRN-14-8", r, 0), gpu).seconds for r in ("out", "short_out", "bn", "all")]
    assert seconds == sorted(seconds)
    deep = [estimate(PAPER.cell(f"ResNet-{d}", "bn", 0), gpu).seconds for d in (14, 32, 56, 110, 218, 434, 866)]
    assert deep == sorted(deep)
    half = dataclasses.replace(PAPER.cell("WRN-14-32", "all", 0), engine="fast", precision="bf16")
    assert estimate(half, gpu).seconds < estimate(PAPER.cell("WRN-14-32", "all", 0), gpu).seconds


def test_an_estimate_holds_its_parts():
    cell, gpu = PAPER.cell("ResNet-110", "bn", 0), find_gpu("a100-80")
    found = estimate(cell, gpu)
    assert found.error_factor is None and not found.measured
    assert found.memory_bytes > 128 * 4 * step_of(cell).saved_elements


def test_photographs_wait_for_their_decoding():
    cell = PAPER.cell("ImageNet-ResNet-18", "out", 0)
    few, many = (estimate(cell, find_gpu("h200"), cores=c) for c in (1, 1000))
    assert few.seconds > 4 * many.seconds
    assert few.seconds > 90 * DATASETS["imagenet"].train_images * 0.6e-3


def test_disk_of_a_run(tmp_path_factory, bnonly):
    """Within a quarter of what a cell of the demo takes."""
    folder = tmp_path_factory.mktemp("disk")
    for command in (("train", "--quiet"), ("analyse",)):
        done = bnonly("--profile", "demo", "-C", folder, command[0], "ResNet-14", "bn_out", *command[1:])
        assert done.returncode == 0, done.stderr
    cell = load_grid(ROOT / "config.yaml", read_yaml(ROOT / "workflow/profiles/demo/grid.yaml")).cell(
        "ResNet-14", "bn_out", 0
    )
    size = sum(p.stat().st_size for p in (folder / "results/ResNet-14/bn_out/seed0").glob("[!.]*"))
    assert count_training(cell).disk_bytes == pytest.approx(size, rel=0.25)
