# SPDX-License-Identifier: Apache-2.0
"""What is special to the connection table: the published table, its dense twin, its errors."""

import pytest
import torch
import torch.nn.functional as F

import convsmith as cs
from convsmith.errors import ArgumentError, ShapeError


def test_the_table_of_lenet5_as_printed():
    printed = """
        X . . . X X X . . X X X X . X X
        X X . . . X X X . . X X X X . X
        X X X . . . X X X . . X . X X X
        . X X X . . X X X X . . X . X X
        . . X X X . . X X X X . X X . X
        . . . X X X . . X X X X . X X X
    """
    rows = [line.split() for line in printed.strip().splitlines()]
    pairs = {(i, o) for i, row in enumerate(rows) for o, mark in enumerate(row) if mark == "X"}
    assert set(cs.lenet5_table()) == pairs
    assert len(cs.lenet5_table()) == 60


def test_lenet5_c3_costs_what_is_published():
    layer = cs.TableConv2d(cs.lenet5_table(), 5)
    assert sum(p.numel() for p in layer.parameters()) == 1516
    assert layer.geometry.macs((1, 6, 14, 14)).all == 150_000
    assert cs.TableConv2d(cs.full_table(6, 16), 5).geometry.macs((1, 6, 14, 14)).all == 240_000


def test_it_is_the_masked_dense_convolution_with_gradient_on_the_pairs_alone():
    table = cs.lenet5_table()
    layer = cs.TableConv2d(table, 3, stride=2, padding=1)
    x = torch.randint(-4, 5, (2, 6, 7, 9)).float()
    with torch.no_grad():
        layer.weight.copy_(torch.randint(-4, 5, layer.weight.shape))
        layer.bias.copy_(torch.randint(-4, 5, layer.bias.shape))
    mask = torch.zeros(16, 6, 1, 1)
    dense = torch.randint(-4, 5, (16, 6, 3, 3)).float()
    for weight, (i, o) in zip(layer.weight.detach(), table, strict=True):
        mask[o, i], dense[o, i] = 1, weight
    dense.requires_grad_()
    expected = F.conv2d(x, dense * mask, layer.bias, 2, 1)
    actual = layer(x)
    assert torch.equal(actual, expected)
    actual.sum().backward()
    expected.sum().backward()
    assert torch.equal(layer.weight.grad, torch.stack([dense.grad[o, i] for i, o in table]))


def test_the_one_to_one_table_is_a_depthwise_convolution():
    x, weight = (torch.randint(-4, 5, shape).float() for shape in ((1, 5, 6, 6), (5, 3, 3)))
    actual = cs.table_conv2d(x, weight, cs.one_to_one_table(5))
    assert torch.equal(actual, F.conv2d(x, weight[:, None], groups=5))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes(mode: str):
    x = torch.randint(-4, 5, (1, 2, 5, 6)).float()
    layer = cs.TableConv2d(cs.full_table(2, 3), 3, padding=1, padding_mode=mode)
    padded = F.pad(x, (1, 1, 1, 1), mode=mode)
    assert torch.equal(layer(x), cs.table_conv2d(padded, layer.weight, layer.table, layer.bias))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([(0, 0), (1, 1), (0, 0)], r"\(0, 0\) stands more than once"),
        ([(0, 0), (-1, 1)], r"\(-1, 1\) has a negative channel"),
        ([(0, 0), (0, 2)], "no input feeds output 1, though outputs go up to 2"),
        ([(0, 0, 1)], r"\(0, 0, 1\) must be a pair of integers"),
        ([(0, 1.5)], r"\(0, 1.5\) must be a pair of integers"),
        ([], "0 pairs"),
    ],
)
def test_a_wrong_table_is_refused(table: list, message: str):
    with pytest.raises(ArgumentError, match=message):
        cs.TableConv2d(table, 3)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"weight \(3, 3, 3\) does not fit a table of 2 pairs"):
        cs.table_conv2d(torch.ones(1, 2, 5, 5), torch.ones(3, 3, 3), [(0, 0), (1, 0)])
    with pytest.raises(ShapeError, match="input 2 is read, but in_channels is 2"):
        cs.TableConv2d([(2, 0)], 3, in_channels=2)
    with pytest.raises(ShapeError, match="channels: 0 must be at least 1"):
        cs.one_to_one_table(0)
    with pytest.raises(ShapeError, match=r"\(0, 3\) must be at least 1"):
        cs.full_table(0, 3)
