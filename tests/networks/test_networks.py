"""The ImageNet networks are torchvision's."""

import pytest
import torch
import torchvision
from torchvision.models.resnet import Bottleneck, ResNet

from bnonly.errors import UserError
from bnonly.grid import families
from bnonly.grid.cell import Architecture
from bnonly.networks import build


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 200])
def test_output_of_torchvision_for_the_same_weights(depth):
    torch.manual_seed(0)
    ours = build(Architecture("x", "imagenet-resnet", depth, 64), 1000).eval()
    if depth == 200:  # torchvision has the class, not the constructor
        theirs = ResNet(Bottleneck, [3, 24, 36, 3])
    else:
        theirs = getattr(torchvision.models, f"resnet{depth}")()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs.eval()(images))


@pytest.mark.parametrize("depth", [10, 50])
def test_narrow_networks_keep_torchvisions_form(depth):
    narrow = build(Architecture("x", "imagenet-resnet", depth, 16), 10)
    wide = build(Architecture("x", "imagenet-resnet", depth, 64), 10)
    shapes = {n: p.shape for n, p in wide.named_parameters()}
    for name, parameter in narrow.named_parameters():
        # Every width but those of images and classes is a quarter.
        assert all(a == b or 4 * a == b for a, b in zip(parameter.shape, shapes.pop(name), strict=True)), name
    assert not shapes
    assert narrow(torch.randn(2, 3, 32, 32)).shape == (2, 10)


SMALLEST = [("cifar-resnet", 8, 4), ("vgg", 19, 16), ("imagenet-resnet", 10, 8)]


@pytest.mark.parametrize(("family", "depth", "size"), SMALLEST)
def test_smallest_images(family, depth, size):
    model = build(Architecture("x", family, depth, 16), 10).eval()
    assert model(torch.randn(2, 3, size, size)).shape == (2, 10)


def test_smallest_images_are_those_the_configuration_is_checked_against():
    assert {family: size for family, _, size in SMALLEST} == {n: f.min_image for n, f in families.FAMILIES.items()}


def test_an_unknown_family_is_not_taken_for_another():
    with pytest.raises(UserError, match="x: no family 'mine'; one of: cifar-resnet, imagenet-resnet, vgg"):
        build(Architecture("x", "mine", 18, 64), 10)


def test_a_shortcut_is_only_where_the_image_shrinks():
    model = build(Architecture("x", "cifar-resnet", 20, 4), 10)
    assert [i for i, b in enumerate(model.blocks) if b.downsample is not None] == [3, 6]
