# SPDX-License-Identifier: Apache-2.0
"""What is special to involution: sizes, groups, generators, and attention as one of them."""

from itertools import product
from math import ceil

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convsmith as cs
from convsmith.capture import capture
from convsmith.errors import ShapeError, UnsupportedError
from convsmith.geometry import same_padding


def test_one_kernel_for_all_places_is_a_depthwise_convolution():
    x, kernel = torch.randint(-4, 5, (2, 4, 7, 6)).float(), torch.randint(-4, 5, (2, 3, 3)).float()
    kernels = kernel.reshape(1, 2, 9, 1, 1).expand(2, -1, -1, 7, 6)
    expected = F.conv2d(x, kernel.repeat_interleave(2, 0)[:, None], padding=1, groups=4)
    assert torch.equal(cs.involution2d(x, kernels), expected)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_any_size_any_stride_gives_the_ceiling(axes: int):
    layer_of = {1: cs.Involution1d, 2: cs.Involution2d, 3: cs.Involution3d}[axes]
    for stride, kernel in ((1, 3), (2, 3), (3, 2), (4, 1), (2, 5)):
        layer = layer_of(4, kernel, stride=stride, group_channels=2).eval()
        for size in range(1, 8 if axes < 3 else 5):
            shape = (1, 4, size, 3, 2)[: axes + 2]
            expected = (1, 4, *(ceil(n / stride) for n in shape[2:]))
            assert layer(torch.zeros(shape)).shape == expected
            assert layer.geometry.output_shape(shape) == expected


def test_the_parameters_are_those_of_the_two_1x1_and_the_norm():
    channels, kernel, reduction, groups = 64, 7, 4, 4
    layer = cs.Involution2d(channels, kernel)
    reduced = channels // reduction
    taps = kernel**2 * groups
    weights = channels * channels // reduction + reduced * taps
    assert sum(p.numel() for p in layer.parameters()) == weights + taps + 2 * reduced
    macs = layer.geometry.macs((1, channels, 14, 14))
    assert macs.all == 14 * 14 * (weights + channels * kernel**2)


def test_the_numbers_of_the_readme():
    geometry = cs.Involution2d(128, 7).geometry
    shape = (1, 128, 56, 56)
    assert geometry.multiply_add(shape).all == 19_668_992
    assert geometry.macs(shape).all == 19_668_992 + 52_183_040


def test_a_given_generator_in_either_layout():
    x = torch.randint(-4, 5, (2, 6, 5, 4)).float()
    flat = nn.Conv2d(6, 2 * 9, 1)
    with torch.no_grad():
        for parameter in flat.parameters():
            parameter.copy_(torch.randint(-4, 5, parameter.shape))
    split = nn.Sequential(flat, nn.Unflatten(1, (2, 9)))
    expected = cs.involution2d(x, split(x))
    for generator in (flat, split):
        layer = cs.Involution2d(6, 3, group_channels=3, generator=generator)
        assert torch.equal(layer(x), expected)
        assert torch.equal(layer(x[1]), expected[1])
        assert layer.geometry.macs(x.shape) == layer.geometry.multiply_add(x.shape)
        with pytest.raises(UnsupportedError, match=r"generator of a \(3, 3\) kernel reaches"):
            layer.geometry.cone(x.shape)


def test_a_given_generator_that_tells_its_geometry_is_counted():
    built = cs.Involution2d(8, 3, group_channels=4, stride=2)
    given = cs.Involution2d(8, 3, group_channels=4, stride=2, generator=built.generator)
    assert given.geometry == built.geometry
    assert given.geometry.macs((1, 8, 5, 5)).all > given.geometry.multiply_add((1, 8, 5, 5)).all


def test_a_kernel_that_is_not_square_needs_its_size():
    x = torch.randint(-4, 5, (1, 2, 4, 5)).float()
    wide, tall = torch.randint(-4, 5, (2, 1, 1, 3, 4, 5)).float()
    assert torch.equal(
        cs.involution2d(x, wide, kernel_size=(1, 3)),
        cs.involution2d(x.mT, wide.mT, kernel_size=(3, 1)).mT,
    )
    with pytest.raises(ShapeError, match=r"3 taps, but a kernel of \(2, 2\) has 4"):
        cs.involution2d(x, tall)
    with pytest.raises(ShapeError, match=r"9 taps, but a kernel of \(3, 2\) has 6"):
        cs.involution2d(x, tall.repeat(1, 1, 3, 1, 1), kernel_size=(3, 2))


def test_what_does_not_fit_is_refused_by_its_numbers():
    x = torch.zeros(2, 6, 5, 4)
    with pytest.raises(ShapeError, match="6 channels must be divisible by 4 groups"):
        cs.involution2d(x, torch.zeros(2, 4, 9, 5, 4))
    with pytest.raises(ShapeError, match=r"stride \(2, 2\).* 2 images and 3 x 2 places"):
        cs.involution2d(x, torch.zeros(2, 2, 9, 5, 4), stride=2)
    with pytest.raises(ShapeError, match=r"kernels \(1, 2, 9, 5, 4\) do not fit x \(2, 6, 5, 4\)"):
        cs.involution2d(x, torch.zeros(1, 2, 9, 5, 4))
    with pytest.raises(ShapeError, match="2 spatial axes need x"):
        cs.involution2d(x[0], torch.zeros(1, 2, 9, 5, 4))
    with pytest.raises(ShapeError, match="24 channels must be divisible by group_channels 16"):
        cs.Involution2d(24, 3)
    with pytest.raises(ShapeError, match="reduction 8 leaves none of 4 channels"):
        cs.Involution2d(4, 3, group_channels=4, reduction=8)
    with pytest.raises(ShapeError, match=r"\(8, 0, 4\) must be at least 1"):
        cs.Involution2d(8, 3, group_channels=0)
    with pytest.raises(ShapeError, match="12 channels must be divisible by 2 x 4"):
        cs.LocalSelfAttention2d(12, 3, num_heads=4)


def plain_attention(layer: cs.LocalSelfAttention2d, x: Tensor) -> Tensor:
    """y_p = sum over the neighbours t inside the image of softmax(q_p . (k_t + r_t)) v_t, one
    place and head at a time.
    """
    comparison = layer.generator
    project = {
        name: torch.einsum("oi,nihw->nohw", conv.weight[..., 0, 0], x)
        for name, conv in (
            ("q", comparison.queries),
            ("k", comparison.keys),
            ("v", layer.value_projection),
        )
    }
    (kh, kw), (sh, sw) = layer.kernel_size, layer.stride
    n, c, h, w = x.shape
    top, left = same_padding(h, kh, sh)[0], same_padding(w, kw, sw)[0]
    d = c // comparison.num_heads
    y = x.new_zeros(n, c, ceil(h / sh), ceil(w / sw))
    for image, head, p, q in product(range(n), range(c // d), *map(range, y.shape[2:])):
        part = slice(head * d, (head + 1) * d)
        query = project["q"][
            image, part, p * sh - top + (kh - 1) // 2, q * sw - left + (kw - 1) // 2
        ]
        scores, values = [], []
        for r, s in product(range(kh), range(kw)):
            i, j = p * sh - top + r, q * sw - left + s
            if 0 <= i < h and 0 <= j < w:
                rows, columns = comparison.relative_rows, comparison.relative_columns
                position = torch.cat([rows[head, :, r], columns[head, :, s]])
                scores.append(query @ (project["k"][image, part, i, j] + position))
                values.append(project["v"][image, part, i, j])
        y[image, part, p, q] = torch.stack(scores).softmax(0) @ torch.stack(values)
    return y


@pytest.mark.parametrize(
    ("kernel_size", "num_heads", "stride", "shape"),
    [
        (3, 2, 1, (2, 8, 5, 4)),
        ((5, 3), 1, 2, (1, 4, 7, 6)),
        ((2, 4), 2, (1, 3), (1, 4, 4, 7)),
        (7, 1, 1, (1, 2, 3, 2)),
    ],
)
def test_local_self_attention_is_the_plain_loop(
    kernel_size: int | tuple, num_heads: int, stride: int | tuple, shape: tuple
):
    layer = cs.LocalSelfAttention2d(shape[1], kernel_size, num_heads, stride, dtype=torch.float64)
    x = torch.randn(shape, dtype=torch.float64)
    with torch.no_grad():
        actual, expected = layer(x), plain_attention(layer, x)
    torch.testing.assert_close(actual, expected)
    weights = layer.kernels(x)
    torch.testing.assert_close(weights.sum(2), torch.ones_like(weights[:, :, 0]))


def test_attention_to_an_image_of_one_pixel_is_its_value():
    layer = cs.LocalSelfAttention2d(4, 5, num_heads=2).eval()
    x = torch.randn(1, 4, 1, 1)
    assert torch.equal(layer(x), layer.value_projection(x))


STRIDED = {
    "1-D": (cs.Involution1d, 1),
    "2-D": (cs.Involution2d, 2),
    "3-D": (cs.Involution3d, 3),
    "attention": (cs.LocalSelfAttention2d, 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("exported_at", [9, 8])
@pytest.mark.parametrize(("layer_type", "axes"), STRIDED.values(), ids=STRIDED)
def test_exported_with_a_stride_it_takes_odd_and_even_sizes(
    layer_type: type[nn.Module], axes: int, exported_at: int
):
    per_group = {"num_heads" if layer_type is cs.LocalSelfAttention2d else "group_channels": 2}
    layer = layer_type(4, 3, stride=2, **per_group).eval()
    example = torch.randn(2, 4, *[exported_at] * axes)
    free = {axis + 2: torch.export.Dim.AUTO for axis in range(axes)}
    exported = torch.export.export(layer, (example,), dynamic_shapes=(free,)).module()
    for sizes in product((6, 7), repeat=axes):
        x = torch.randn(2, 4, *sizes)
        assert torch.equal(exported(x), layer(x)), sizes


@pytest.mark.slow
@pytest.mark.parametrize("captured_at", [17, 16])
def test_captured_with_a_stride_it_takes_odd_and_even_sizes(captured_at: int):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        cs.Involution2d(4, 3, 2, group_channels=2),
        cs.LocalSelfAttention2d(4, 3, 2, stride=2),
    ).eval()
    captured = capture(model, torch.randn(1, 3, captured_at, captured_at))
    assert str(captured.dynamic) == "batch, height, width"
    for sizes in product((18, 19, 20, 21), repeat=2):
        x = torch.randn(1, 3, *sizes)
        assert torch.equal(captured.module(x), model(x)), sizes
