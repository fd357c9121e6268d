"""Every count of the paper's architectures and regimes, by building them (Table 1, Appendix C.1)."""

import csv
import math
from pathlib import Path

import pytest
import torch

from bnonly.grid import families
from bnonly.grid.cell import Architecture
from bnonly.grid.resolve import load_grid
from bnonly.networks import build, regimes

ROOT = Path(__file__).parents[2]
FACTS = {r["architecture"]: r for r in csv.DictReader((ROOT / "tests/facts/parameter_counts.csv").open())}
GRID = load_grid(ROOT / "config.yaml")
CIFAR = [n for n, r in FACTS.items() if r["family"].startswith("CIFAR")]

#: Regime to the column of the facts that counts what it trains.
TRAINED = {
    "all": "total",
    "all_noaffine": "all_minus_bn",
    "all_affine_frozen": "all_minus_bn",
    "bn": "bn",
    "bn_alt": "bn",
    "out": "output",
    "bn_out": "bn_out",
    "short_out": "short_out",
    "bn_short_out": "bn_short_out",
}


def architecture(name):
    name = GRID.aliases.get(name, name)
    return next(c.architecture for c in GRID.cells.values() if c.architecture.name == name)


def regime(name):
    return next(c.regime for c in GRID.cells.values() if c.regime.name == name)


def on_meta(name):
    with torch.device("meta"):
        return build(architecture(name), 1000 if name.startswith("ImageNet") else 10)


@pytest.mark.parametrize("name", FACTS)
def test_parts(name):
    facts = FACTS[name]
    found = regimes.count(on_meta(name))
    columns = {
        "total": "total",
        "batchnorm": "bn",
        "output": "output",
        "shortcut": "shortcut",
        "conv_weights": "conv_w",
        "conv_biases": "conv_bias",
        "features": "features",
        "min_fan_in": "min_fanin",
    }
    assert {k: found[k] for k in columns} == {k: int(facts[c]) for k, c in columns.items()}


@pytest.mark.parametrize("name", FACTS)
def test_trained(name):
    facts = FACTS[name]
    model = on_meta(name)
    groups = regimes.find_groups(model)
    for which, column in TRAINED.items():
        if which.endswith("alt") and name.startswith("VGG"):
            continue
        regimes.freeze(model, groups, regime(which), seed=0)
        assert regimes.count(model)["trainable"] == int(facts[column]), which


@pytest.mark.slow
@pytest.mark.parametrize("name", FACTS)
def test_random_two(name):
    """Two weights of every filter of every convolution, shortcuts included: as many as BatchNorm has."""
    facts = FACTS[name]
    groups = regimes.find_groups(on_meta(name))
    counts = {False: 0, True: 0}
    for shortcut, convs in ((False, groups.convs), (True, groups.shortcuts)):
        for layer, conv in convs:
            filters, fan_in = conv.weight.shape[0], conv.weight[0].numel()
            index = regimes.choose(regime("rand2"), 0, layer, filters, fan_in)
            assert torch.all(index[1:] > index[:-1])
            assert torch.equal(torch.div(index, fan_in, rounding_mode="floor").bincount(), torch.full((filters,), 2))
            counts[shortcut] += len(index)
    assert sum(counts.values()) == int(facts["rand2"]) == int(facts["bn"])
    assert counts[False] == int(facts["rand2_noshort"])
    assert sum(counts.values()) + int(facts["output"]) == int(facts["rand2_out"])


@pytest.mark.parametrize("k", [4, 8, 16])
@pytest.mark.parametrize("name", [n for n in CIFAR if n not in ("WRN-14-16", "WRN-14-32", "ResNet-866")])
def test_random_more(name, k):
    groups = regimes.find_groups(on_meta(name))
    convs = [*groups.convs, *groups.shortcuts]
    index = [
        regimes.choose(regime(f"rand{k}"), 0, n, c.weight.shape[0], c.weight[0].numel()).unique() for n, c in convs
    ]
    assert sum(map(len, index)) == int(FACTS[name][f"rand{k}"])


def test_spread_over_the_layer_is_as_many():
    groups = regimes.find_groups(on_meta("ResNet-14"))
    for name, conv in [*groups.convs, *groups.shortcuts]:
        index = regimes.choose(regime("rand2_layer"), 0, name, conv.weight.shape[0], conv.weight[0].numel())
        assert len(index.unique()) == 2 * conv.weight.shape[0]
        assert index.max() < conv.weight.numel()


@pytest.mark.parametrize("name", sorted(GRID.architecture_labels))
def test_families_know_the_smallest_fan_in(name):
    spec = architecture(name)
    assert families.min_fan_in(spec) == regimes.count(on_meta(name))["min_fan_in"]


@pytest.mark.parametrize("name", ["ResNet-14", "WRN-14-4", "VGG-11", "ImageNet-ResNet-18", "ImageNet-ResNet-50"])
def test_multiply_accumulates(name):
    """Shapes, not only counts: strides and pools are where they should be."""
    model = on_meta(name)
    macs = 0

    def add(module, inputs, output):
        nonlocal macs
        macs += output.numel() * math.prod(module.weight.shape[1:])

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(add)
    size = 224 if name.startswith("ImageNet") else 32
    model(torch.empty(1, 3, size, size, device="meta"))
    assert macs == int(FACTS[name]["macs"])


def test_small_resnets_are_nearest_to_the_batchnorm_counts():
    """Appendix D, as decided: for every BatchNorm count and base width, the depth whose total is nearest."""

    def total(depth, channels):
        with torch.device("meta"):
            return regimes.count(build(Architecture("x", "cifar-resnet", depth, channels), 10))["total"]

    counts = {int(FACTS[n]["bn"]) for n in CIFAR}
    nearest = set()
    for channels in (2, 4, 8):
        # Totals grow by the same number with each 6 layers, so those of two depths tell all.
        first = total(8, channels)
        step = total(14, channels) - first
        assert total(32, channels) == first + 4 * step
        depths = range(8, 8 + 6 * (max(counts) // step + 2), 6)
        totals = {depth: first + (depth - 8) // 6 * step for depth in depths}
        nearest |= {(min(depths, key=lambda d: abs(totals[d] - count)), channels) for count in counts}
    small = [architecture(n) for n in GRID.experiments["small"].architectures]
    assert {(a.depth, a.channels) for a in small} == nearest and len(small) == len(nearest) == 19
    assert {a.family for a in small} == {"cifar-resnet"}
    assert all(a.name == f"ResNet-{a.depth}-c{a.channels}" for a in small), "each is what its name says"
