# SPDX-License-Identifier: Apache-2.0
"""What is special to unpooling: values return to their places, and a wrong index is an error."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F

import convsmith as cs
from convsmith.errors import ArgumentError, ShapeError

IDENTITY = torch.ones(1, 1, 1, 1)


@pytest.mark.parametrize(
    "window", [(2,), (3, 2), (2, 3), (3, 2, 1), ((2, 3), (2, 1), (1, 0))], ids=str
)
def test_the_maxima_return_to_where_they_were(window: tuple):
    names = ("pool", "pool_stride", "pool_padding")
    image = torch.rand(2, 3, 11, 13)
    x, indices = F.max_pool2d(image, *window, return_indices=True)
    unpooled = cs.unpool_conv2d(
        x,
        indices,
        IDENTITY.expand(3, 1, 1, 1),
        groups=3,
        output_size=image.shape,
        **dict(zip(names, window, strict=False)),
    )
    is_maximum = torch.zeros_like(image, dtype=torch.bool)
    is_maximum.flatten(2).scatter_(2, indices.flatten(2), True)
    assert torch.equal(unpooled, torch.where(is_maximum, image, 0))
    assert torch.equal(unpooled, F.max_unpool2d(x, indices, *window, output_size=image.shape))


def test_a_decoder_stage_is_unpooling_then_convolution():
    x, indices = F.max_pool2d(torch.randint(-9, 10, (2, 4, 6, 8)).float(), 2, return_indices=True)
    layer = cs.UnpoolConv2d(4, 3, 3, padding="same")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randint(-4, 5, parameter.shape))
    expected = layer.convolution(F.max_unpool2d(x, indices, 2))
    assert torch.equal(layer(x, indices), expected)


def test_the_numbers_of_the_readme():
    geometry = cs.UnpoolConv2d(16, 8, 3, padding=1).geometry
    assert geometry.output_shape((1, 16, 4, 4)) == (1, 8, 8, 8)
    assert geometry.macs((1, 16, 4, 4)).all == 73_728


def test_the_gradient_goes_through_the_places():
    image = torch.rand(1, 1, 4, 4)
    x, indices = F.max_pool2d(image, 2, return_indices=True)
    x.requires_grad_()
    factors = torch.arange(16.0).reshape(1, 1, 4, 4)
    (cs.unpool_conv2d(x, indices, IDENTITY) * factors).sum().backward()
    assert torch.equal(x.grad, indices.float())


def test_the_cone_of_a_3x3_over_pools_of_2_has_a_fractional_stride():
    rows, _ = cs.UnpoolConv2d(1, 1, 3, padding=1).geometry.cone((1, 1, 4, 4))
    assert rows.stride == 0.5
    assert [rows.inputs(j) for j in range(4)] == [(-1, 0), (0, 1), (0, 1), (1, 2)]


X = torch.ones(1, 2, 2, 3)
RIGHT = torch.tensor([0, 2, 4, 12, 14, 16]).reshape(1, 1, 2, 3).repeat(1, 2, 1, 1)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (24, r"indices\[0, 1, 1, 0\] is 24, but a plane of 4 x 6 has the places 0 to 23"),
        (-1, r"indices\[0, 1, 1, 0\] is -1, but a plane of 4 x 6 has the places 0 to 23"),
        (2**62, rf"is {2**62}, but a plane"),
    ],
)
def test_an_index_outside_the_plane_is_named(bad: int, message: str):
    indices = RIGHT.clone()
    indices[0, 1, 1, 0] = bad
    with pytest.raises(ShapeError, match=message):
        cs.unpool_conv2d(X, indices, torch.ones(1, 2, 1, 1))
    with pytest.raises(ShapeError, match=message):
        cs.UnpoolConv2d(2, 3, 3)(X, indices)


@pytest.mark.parametrize(
    ("bad", "found"),
    [(6, "row 1, column 0"), (11, "row 1, column 5"), (14, "row 2, column 2")],
)
def test_an_index_outside_its_own_pool_is_named(bad: int, found: str):
    indices = RIGHT.clone()
    indices[0, 1, 1, 0] = bad
    message = (
        rf"indices\[0, 1, 1, 0\] is {bad}, {found} of a plane of 4 x 6, but its pool covers "
        "rows 2 to 3, columns 0 to 1;"
    )
    with pytest.raises(ShapeError, match=message):
        cs.unpool_conv2d(X, indices, torch.ones(1, 2, 1, 1))
    with pytest.raises(ShapeError, match=message):
        cs.UnpoolConv2d(2, 3, 3)(X, indices)
    compiled = torch.compile(cs.UnpoolConv2d(2, 3, 3), backend="eager", fullgraph=True)
    assert compiled(X, indices).shape == (1, 3, 2, 4)  # not read there


def test_every_place_of_an_overlapping_pool_is_its_own_and_no_other():
    """Five 3-wide pools every 2, padded by 1, over 9 places: pool p covers 2p - 1 to 2p + 1."""
    own = 2 * torch.arange(5)
    options = {"pool": 3, "pool_stride": 2, "pool_padding": 1}
    for place, pool in product(range(9), range(5)):
        indices = own.clone()
        indices[pool] = place
        arguments = (torch.ones(1, 5), indices[None], torch.ones(1, 1, 1))
        if abs(place - 2 * pool) <= 1:
            assert cs.unpool_conv1d(*arguments, **options)[0, place] == 1
            continue
        covers = rf"column {place} of .*covers columns {2 * pool - 1} to {2 * pool + 1};"
        with pytest.raises(ShapeError, match=rf"indices\[0, {pool}\] is {place}, {covers}"):
            cs.unpool_conv1d(*arguments, **options)


def test_a_pool_of_a_volume_is_named_along_its_three_axes():
    x, indices = torch.ones(1, 2, 1, 1), torch.tensor([7, 7]).reshape(1, 2, 1, 1)
    message = "depth 1, row 1, column 1 of .*covers depths 2 to 3, rows 0 to 1, columns 0 to 1"
    with pytest.raises(ShapeError, match=message):
        cs.unpool_conv3d(x, indices, torch.ones(1, 1, 1, 1, 1))


def test_indices_that_do_not_belong_to_x_are_refused():
    weight = torch.ones(1, 2, 1, 1)
    with pytest.raises(ShapeError, match=r"indices \(1, 2, 2, 2\) and x \(1, 2, 2, 3\)"):
        cs.unpool_conv2d(X, RIGHT[..., :2], weight)
    with pytest.raises(ArgumentError, match=r"indices are torch\.int32"):
        cs.unpool_conv2d(X, RIGHT.int(), weight)
    with pytest.raises(ArgumentError, match=r"indices are torch\.float32"):
        cs.unpool_conv2d(X, RIGHT.float(), weight)


def test_an_output_size_no_pooling_came_from_is_refused():
    weight = torch.ones(1, 2, 1, 1)
    wider = RIGHT + RIGHT // 6  # a column more in each row before
    assert cs.unpool_conv2d(X, wider, weight, output_size=(5, 7)).shape == (1, 1, 5, 7)
    for size in ((6, 6), (4, 8), (2, 6), (4,)):
        with pytest.raises(ShapeError, match=r"output_size \(.*away from \(4, 6\)"):
            cs.unpool_conv2d(X, RIGHT, weight, output_size=size)


def test_pool_integers_are_checked():
    with pytest.raises(ShapeError, match="pool: 0 must be at least 1"):
        cs.UnpoolConv2d(2, 3, 3, pool=0)
    with pytest.raises(ShapeError, match="pool_stride: 0 must be at least 1"):
        cs.UnpoolConv2d(2, 3, 3, pool_stride=0)
    with pytest.raises(ShapeError, match="pool_padding: -1 must be at least 0"):
        cs.UnpoolConv2d(2, 3, 3, pool_padding=-1)


def test_a_weight_without_spatial_axes_is_refused():
    with pytest.raises(ShapeError, match=r"weight \(4,\) has 1 dimensions"):
        cs.unpool_conv2d(X, RIGHT, torch.ones(4))


def test_under_vmap():
    weight = torch.ones(1, 2, 1, 1)
    many = torch.vmap(cs.unpool_conv2d, in_dims=(0, 0, None))(X[None], RIGHT[None], weight)
    assert torch.equal(many[0], cs.unpool_conv2d(X, RIGHT, weight))


def test_nothing_to_place():
    empty = torch.ones(0, 2, 2, 3)
    indices = torch.empty(0, 2, 2, 3, dtype=torch.int64)
    assert cs.unpool_conv2d(empty, indices, torch.ones(1, 2, 1, 1)).shape == (0, 1, 4, 6)
