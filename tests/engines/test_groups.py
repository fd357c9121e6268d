"""`batchnorm_images`: BatchNorm statistics of groups of images, against plain PyTorch on each group."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from tests.engines.cells import CPU, RECIPE, cells
from tests.mini import mini
from torch import nn
from torch.nn import functional

from bnonly.data import open_source
from bnonly.engines.engine import make_engine
from bnonly.engines.fast import choice, fused
from bnonly.engines.fast.engine import FastEngine
from bnonly.engines.reference import GroupedBatchNorm, ReferenceEngine
from bnonly.errors import UserError
from bnonly.grid import compatibility
from bnonly.grid.resolve import resolve
from bnonly.networks import regimes

GROUPED = dataclasses.replace(RECIPE, batchnorm_images=RECIPE.batch_size // 4)


def by_groups(norm, x, residual, relu, groups):
    """The definition: torch's BatchNorm on each group, whose running statistics only the first one moves."""
    outputs = []
    for i, part in enumerate(x.tensor_split(groups)):
        mine = norm if i == 0 else copy.deepcopy(norm)
        y = functional.batch_norm(
            part, mine.running_mean, mine.running_var, norm.weight, norm.bias, True, 0.1, norm.eps
        )
        y = y if residual is None else y + residual.tensor_split(groups)[i]
        outputs.append(y.relu() if relu else y)
    return torch.cat(outputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(
    ("relu", "added", "kept"), [(True, False, False), (True, False, True), (True, True, False), (False, False, False)]
)
def test_a_layer_and_its_gradients(relu, added, kept, dtype):
    torch.manual_seed(0)
    x, residual, dy = (
        (torch.randn(12, 5, 4, 4) + torch.arange(12.0).view(12, 1, 1, 1)).contiguous(memory_format=torch.channels_last)
        for _ in range(3)
    )
    found = []
    for fast in (True, False):
        norm = nn.BatchNorm2d(5)
        nn.init.uniform_(norm.weight, generator=torch.Generator().manual_seed(1))
        leaves = [t.clone().to(dtype if fast else torch.float32).requires_grad_() for t in (x, residual)]
        if not fast:  # of the same rounded values
            leaves = [t.to(dtype).float().requires_grad_() for t in (x, residual)]
        other = leaves[1] if added else None
        if fast:
            y = fused.norm_act(leaves[0], norm, other, relu, kept, fused.Statistics(groups=3))[0]
            assert y.is_contiguous(memory_format=torch.channels_last)
        else:
            y = by_groups(norm, leaves[0], other, relu, 3)
        gradients = torch.autograd.grad((y.float() * dy).sum(), [*leaves[: 1 + added], norm.weight, norm.bias])
        found.append([y.detach(), norm.running_mean, norm.running_var, *gradients])
    for mine, theirs in zip(*found, strict=True):
        assert float((mine.float() - theirs).norm() / theirs.norm()) < (1e-5 if dtype == torch.float32 else 0.02)


def test_the_reference_engines_layer():
    torch.manual_seed(0)
    x = torch.randn(11, 5, 4, 4)
    plain, grouped = nn.BatchNorm2d(5), nn.BatchNorm2d(5)
    GroupedBatchNorm.take_over(grouped, 2)
    # 5 and 6 images: parts of a batch are as equal as can be.
    right = torch.cat([plain(x[:5]), copy.deepcopy(plain)(x[5:])])
    assert torch.allclose(grouped(x), right, atol=1e-6)
    assert torch.equal(grouped.running_mean, plain.running_mean)
    assert torch.equal(grouped.eval()(x), plain.eval()(x))


@pytest.mark.parametrize("regime", ["bn", "all"])
def test_both_engines_train_the_same_and_not_as_without_groups(regime):
    _, cell = cells("cifar-resnet", regime)
    source = open_source(RECIPE, Path(), CPU)
    found = {}
    for images in (0, GROUPED.batchnorm_images):
        recipe = dataclasses.replace(cell.recipe, batchnorm_images=images, lr=0.01)
        one = dataclasses.replace(cell, recipe=recipe)
        for engine in (ReferenceEngine(one, source, CPU), FastEngine(one, source, CPU)):
            engine.train(0, 0, 2, lambda: False)
            found[images, type(engine)] = [
                *regimes.trainable(engine.model).values(),
                *regimes.buffers(engine.model).values(),
            ]
    for mine, theirs in zip(found[images, FastEngine], found[images, ReferenceEngine], strict=True):
        assert float((mine - theirs).detach().norm() / theirs.detach().norm().clamp_min(1e-9)) < 1e-3
    first, without = found[images, ReferenceEngine][-1], found[0, ReferenceEngine][-1]
    assert float((first - without).norm() / without.norm()) > 0.003


def test_the_default_changes_no_digest_and_groups_do():
    _, cell = cells("cifar-resnet", "bn")
    assert "batchnorm_images" not in cell.canonical()
    grouped = dataclasses.replace(cell, recipe=GROUPED)
    assert f'"batchnorm_images":{GROUPED.batchnorm_images}' in grouped.canonical()
    assert choice.choose_backend(grouped, CPU) == "torch"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"batchnorm_images": 50},
            "batchnorm_images must be 0, or 2 or more and divide 128, the images of a batch on one GPU",
        ),
        ({"batchnorm_images": 1}, "batchnorm_images must be 0, or 2 or more and divide 128"),
        ({"batchnorm_images": 128, "gpus": 2}, "batchnorm_images must be 0, or 2 or more and divide 64"),
        ({"batchnorm_images": 32, "gpus": 2, "batchnorm": "synchronised"}, "must be 0 with batchnorm: synchronised"),
        ({"batchnorm_images": -1}, "batchnorm_images must be"),
    ],
)
def test_groups_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(UserError, match=message) as found:
        resolve(mini(engine="fast", **{f"recipes__digits__{k}": v for k, v in changes.items()}))
    assert "\n" not in str(found.value)


def test_a_last_batch_too_small_for_all_groups_is_refused():
    _, cell = cells("cifar-resnet", "bn")
    recipe = dataclasses.replace(cell.recipe, batch_size=8, batchnorm_images=2)  # 1,437 = 179 x 8 + 5
    with pytest.raises(UserError, match="each of 4 groups needs 2 or more; take another batchnorm_images"):
        make_engine(dataclasses.replace(cell, recipe=recipe), open_source(recipe, Path(), CPU), CPU)


def test_the_batch_proposed_instead_has_whole_groups():
    recipe = dataclasses.replace(RECIPE, batch_size=28, batchnorm_images=4)  # 1,437 = 51 x 28 + 9
    assert str(compatibility.batches(recipe, 1437)).endswith("each of 7 groups needs 2 or more; take 24 (got 28)")
    assert compatibility.batches(dataclasses.replace(recipe, batch_size=24), 1437) is None
