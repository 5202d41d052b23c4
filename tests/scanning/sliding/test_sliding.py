# SPDX-License-Identifier: Apache-2.0
"""How networks slide, in numbers; and the words with which those that cannot are refused."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convsmith as cs
from convsmith.errors import CaptureError, UnsupportedError
from convsmith.scanning.sliding import AxisSliding, sliding

from ..running_tiles import plan_of, run_tiles


class Does(nn.Module):
    """A function of an image, with a convolution before it."""

    def __init__(self, then: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.then = nn.Conv2d(3, 4, 3, padding=1), then

    def forward(self, x: Tensor) -> Any:
        return self.then(self.conv(x))


def numbers(axis: AxisSliding) -> tuple[Fraction, Fraction, Fraction, int]:
    return axis.stride, axis.cone.a, axis.cone.b, axis.period


def test_a_convolution() -> None:
    found = sliding(nn.Conv2d(3, 8, (3, 5), stride=(2, 1), padding=(1, 0)), 3, [512, 512])
    assert (found.in_channels, found.out_channels) == (3, 8)
    assert numbers(found.axes[0]) == (2, -1, 1, 2)
    assert numbers(found.axes[1]) == (1, 0, 4, 1)


def test_published_receptive_fields() -> None:
    """Of VGG-16's convolutions 212, of MobileNet v2's last map 491, every 32 pixels."""
    trunk = cs.models.create("vgg16", width=0.125).features
    (axis, _) = sliding(trunk, 3, [512, 512]).axes
    assert (axis.cone.size, axis.stride, axis.period) == (212, 32, 32)
    trunk = cs.models.create("mobilenet_v2", width=0.25).features
    assert sliding(trunk, 3, [512, 512]).axes[0].cone.size == 491


def test_up_sampling_has_a_fraction_for_a_stride() -> None:
    (axis,) = sliding(nn.Sequential(nn.ConvTranspose1d(2, 2, 2, stride=2)), 2, [512]).axes
    assert numbers(axis) == (Fraction(1, 2), Fraction(-1, 2), 0, 1)


def test_the_period_is_that_of_the_deepest_layer_though_the_map_comes_back() -> None:
    net = cs.models.create("unet_small", width=0.25)
    (axis, _) = sliding(net, 1, [512, 512]).axes
    assert (axis.stride, axis.period) == (1, 8)


def test_what_a_layer_cuts_off_must_be_in_the_window() -> None:
    """Nine pixels wide is the cone; a window must hold three more before and after it."""
    net = nn.Sequential(
        nn.Conv1d(1, 1, 3), nn.ConstantPad1d(-3, 0.0), nn.Conv1d(1, 1, 7, padding=3)
    )
    (axis,) = sliding(net, 1, [512]).axes
    assert (axis.cone.a, axis.cone.b) == (0 - 3, 3 + 8)


def test_a_map_with_places_that_nothing_reaches() -> None:
    """Of stride 2 and size 1: it gives its bias at odd places, but not past the end."""
    net = nn.Sequential(nn.ConvTranspose1d(1, 1, 1, stride=2), nn.Conv1d(1, 1, 3, padding=1))
    (axis,) = sliding(net, 1, [512]).axes
    assert axis.cone.a < Fraction(-1, 2)


@pytest.mark.parametrize(("mode", "least"), [("reflect", 8), ("replicate", 4), ("zeros", 1)])
def test_a_mirrored_edge_asks_for_a_longer_window(mode: str, least: int) -> None:
    """The mirror of 4 at stride 1 reads pixel 4 of a map that reads 1 + 4 pixels."""
    net = nn.Sequential(
        nn.Conv1d(1, 1, 7, padding=3), nn.Conv1d(1, 1, 9, padding=4, padding_mode=mode)
    )
    assert sliding(net, 1, [512]).axes[0].least == least


def test_padding_is_seen_where_it_is_felt() -> None:
    (axis,) = sliding(nn.Conv1d(1, 1, 3, stride=2), 1, [512]).axes
    assert not axis.is_padded(8, 3)
    (axis,) = sliding(nn.Conv1d(1, 1, 3, stride=2, padding=1), 1, [512]).axes
    assert axis.is_padded(9, 5)
    (axis,) = sliding(nn.MaxPool1d(2, ceil_mode=True), 1, [512]).axes
    assert not axis.is_padded(8, 4)
    assert axis.is_padded(9, 5)


REFUSED: list[tuple[str, Callable[[Tensor], Any], str]] = [
    ("global pool", lambda x: F.adaptive_avg_pool2d(x, 1), "pools the whole map; a tile does not"),
    (
        "gate",
        lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
        "takes the mean over all places",
    ),
    ("group norm", lambda x: F.group_norm(x, 2), "normalises by the mean over all places"),
    ("instance norm", lambda x: F.instance_norm(x), "normalises by the mean over all places"),
    ("batch norm", lambda x: F.batch_norm(x, None, None, training=True), "normalises by the mean"),
    ("softmax", lambda x: x.flatten(2).softmax(-1).view_as(x), "takes the softmax over all places"),
    (
        "attention",
        lambda x: F.scaled_dot_product_attention(*[x.flatten(2).mT] * 3).mT.reshape(x.shape),
        "over all places|attends to all places",
    ),
    ("circular", lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"), "pads with the opposite edge"),
    ("roll", lambda x: x.roll(1, 2), "carries one edge of the map to the other"),
    ("flip", lambda x: x.flip(3), "turns the map round"),
    (
        "corners",
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
        "aligns the corners of the whole map; resize with align_corners=False",
    ),
    ("three", lambda x: F.interpolate(x, scale_factor=3), "resizes by 3; positions are rounded"),
    ("half", lambda x: F.interpolate(x, scale_factor=1.5), "resizes by 1.5; positions are rounded"),
    (
        "fixed size",
        lambda x: F.interpolate(x, size=(64, 64)),
        r"scale_factors .* a tile cannot know",
    ),
    ("adaptive", lambda x: F.adaptive_avg_pool2d(x, 7), r"pools any map to \(7, 7\)"),
    ("one row", lambda x: x - x[:, :, :1], "reads fixed places of the image"),
    (
        "strides",
        lambda x: x[..., : x.shape[-1] // 2] + x[..., ::2],
        "joins maps of strides 1 and 2",
    ),
    (
        "coordinates",
        lambda x: x + torch.linspace(0, 1, x.shape[-1]),
        "that has a number for each place of the image",
    ),
    (
        "coordinates beside it",
        lambda x: torch.cat([x, torch.ones(1, 1, *x.shape[2:])], 1),
        "that has a number for each place of the image",
    ),
    (
        "a size",
        lambda x: x / x.shape[-1],
        r"does not do the same on an image of .* \(other 12032 and 23552\)",
    ),
    (
        "unpooling",
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 3, 2, return_indices=True), 2),
        "overl",
    ),
    ("two", lambda x: (x, x + 1), "Does returns 2 tensors, of which 2 depend on the image"),
    ("none", lambda x: torch.ones(1, 2, 3, 3), "Does returns 1 tensors, of which 0 depend on"),
    ("turned", lambda x: x.mT, "gives a result of .* with the axes of the image"),
    ("flat", lambda x: x.mean(2), "gives a result of|takes the mean over all places"),
]


@pytest.mark.parametrize(
    ("then", "words"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_what_does_not_slide_is_refused_by_name(then: Callable[[Tensor], Any], words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        sliding(Does(then), 3, [512, 512])


def test_a_refusal_names_the_module_and_the_remedy() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.GroupNorm(2, 8), nn.ReLU()))
    with pytest.raises(
        UnsupportedError, match=r"scan: 1\.0 \(group_norm.* two_pass=True \(--two-pass\) finds such"
    ):
        sliding(net, 3, [512, 512])


def test_a_model_of_several_images_is_refused() -> None:
    class Two(nn.Module):
        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return left + right

    with pytest.raises(CaptureError, match=r"Two stops at .* missing 1 required positional"):
        sliding(Two(), 3, [64, 64])


def test_other_steps_on_other_sizes_are_refused() -> None:
    def deeper(x: Tensor) -> Tensor:
        return x.relu() if x.shape[-1] > 20_000 else x.relu().relu()

    with pytest.raises(
        UnsupportedError,
        match="must run the same on every size: compute nothing",
    ):
        sliding(Does(deeper), 3, [512, 512])


def test_a_classifier_is_no_sliding_network() -> None:
    with pytest.raises(CaptureError, match="does not run on inputs of shape"):
        sliding(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), 3, [512, 512])


@pytest.mark.parametrize("size", [64, 65, 66, 67])
def test_padding_that_follows_the_size_is_the_same_on_every_tile(size: int) -> None:
    """TensorFlow's 'same' at stride 2 pads before an odd map, and not before an even one."""
    net = nn.Sequential(*(cs.Conv1d(1, 1, 3, stride=2, padding="same") for _ in range(2)))
    for weight in net.parameters():
        weight.data = weight.data.mul(8).round()
    found = sliding(net, 1, [size])
    (outputs,) = found.outputs([size])
    plan = plan_of([found.axes[0].cut(size, outputs, 3)], 1)
    found.check(plan.axes)
    image = torch.randint(-8, 9, (1, 1, size)).float()
    with torch.no_grad():
        assert torch.equal(run_tiles(net, plan, image), net(image))


def test_padding_that_follows_the_size_is_felt() -> None:
    found = sliding(cs.Conv1d(1, 1, 3, stride=2, padding="same"), 1, [65])
    assert found.is_padded([64])
    assert found.is_padded([65])


class Skip(nn.Module):
    """Resized to its neighbour's size: twice as large, unless that size is odd."""

    def forward(self, x: Tensor) -> Tensor:
        return x + F.interpolate(F.max_pool1d(x, 2), size=x.shape[2:])


def test_a_skip_that_fits_at_some_sizes_alone() -> None:
    found = sliding(Skip(), 1, [64])
    found.check([found.axes[0].cut(64, 64, 8)])
    with pytest.raises(UnsupportedError, match=r"scale_factors .* and .* a tile cannot know"):
        sliding(Skip(), 1, [65])
    with pytest.raises(UnsupportedError, match="a tile cannot know the size of the image"):
        found.outputs([65])


def test_halving_an_odd_map_is_refused() -> None:
    halve = Does(lambda x: F.interpolate(x, scale_factor=0.5))
    assert sliding(halve, 3, [64, 64]).axes[0].stride == 2
    with pytest.raises(UnsupportedError, match=r"resizes a map of .* so that nothing is left over"):
        sliding(halve, 3, [64, 65])


def test_maps_that_do_not_lie_in_the_whole_as_windows() -> None:
    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[..., : 512 * (x.shape[-1] // 512)]

    found = sliding(Rounded(), 1, [700])
    with pytest.raises(UnsupportedError, match="on a tile, which is no window of the one"):
        found.check([found.axes[0].cut(700, 512, 8)])
