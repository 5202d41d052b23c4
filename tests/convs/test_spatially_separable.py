# SPDX-License-Identifier: Apache-2.0
"""What is special to spatially separable convolution: how a given kernel falls into factors."""

import pytest
import torch
import torch.nn.functional as F

import convsmith as cs
from convsmith.errors import ArgumentError, ShapeError

from_kernel = cs.SpatiallySeparableConv2d.from_kernel

SOBEL = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])


def weight_of(layer: cs.SpatiallySeparableConv2d) -> torch.Tensor:
    """The kernel (o, i/g, kh, kw) that the two passes are together."""
    vertical, horizontal = (
        w.detach().double().unflatten(0, (layer.groups, -1)) for w in layer.weights
    )
    return torch.einsum("gojs,gjir->goirs", horizontal[..., 0, :], vertical[..., 0]).flatten(0, 1)


def test_sobel_takes_6_multiplications_in_place_of_9():
    layer = from_kernel(SOBEL, padding="same")
    assert layer.vertical_weight.flatten().tolist() == [1, 2, 1]
    assert layer.horizontal_weight.flatten().tolist() == [1, 0, -1]
    assert layer.relative_error == 0
    assert sum(p.numel() for p in layer.parameters()) == 6
    full = cs.Conv2d(1, 1, 3, padding="same", bias=False)
    assert full.geometry.macs((1, 1, 5, 5)).all == 9 * 25
    assert layer.geometry.macs((1, 1, 5, 5)).all == 6 * 25
    x = torch.randint(-9, 10, (2, 1, 7, 8)).float()
    assert torch.equal(layer(x), F.conv2d(x, SOBEL[None, None], padding=1))


@pytest.mark.parametrize(
    "kernel",
    [
        SOBEL.int(),
        -3 * SOBEL.T,
        torch.outer(torch.tensor([1.0, 4, 6, 4, 1]), torch.tensor([1.0, 4, 6, 4, 1])) / 256,
        torch.full((3, 5), 1 / 15),
        torch.full((7, 7), 0.1, dtype=torch.float64),
        torch.outer(torch.tensor([0.0, 0, 6]), torch.tensor([0.0, -15, 10, 0])),
        torch.zeros(3, 3),
    ],
    ids=["Sobel as int", "Sobel turned", "Gaussian", "box", "float64 box", "zeros ahead", "zero"],
)
def test_a_column_times_a_row_is_exact(kernel: torch.Tensor):
    layer = from_kernel(kernel)
    assert layer.rank == 1
    assert layer.relative_error == 0
    assert torch.equal(weight_of(layer)[0, 0], kernel.double())


def test_per_channel_kernels():
    gaussian = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1]))
    weight, bias = torch.stack([SOBEL, gaussian, SOBEL.T])[:, None], torch.tensor([1.0, 2, 3])
    layer = from_kernel(weight, bias=bias, stride=2, padding=1)
    assert (layer.groups, layer.rank, layer.relative_error) == (3, 1, 0)
    x = torch.randint(-9, 10, (2, 3, 7, 8)).float()
    assert torch.equal(layer(x), F.conv2d(x, weight, bias, 2, 1, groups=3))


def as_matrix(weight: torch.Tensor) -> torch.Tensor:
    o, i, kh, kw = weight.shape
    return weight.permute(1, 2, 0, 3).reshape(i * kh, o * kw)


@pytest.mark.parametrize("rank", [1, 3, 7, 12])
def test_the_best_of_a_rank_is_that_of_the_singular_values(rank: int):
    weight = torch.randn(5, 4, 3, 3, dtype=torch.float64)
    layer = from_kernel(weight, rank)
    s = torch.linalg.svdvals(as_matrix(weight))
    best = (s[rank:].norm() / s.norm()).item()
    # Two products of orthogonal matrices of side 15 round by less than 15 * 16 eps.
    assert layer.relative_error == pytest.approx(best, abs=15 * 16 * 2**-52)
    difference = (weight_of(layer) - weight).norm() / weight.norm()
    assert difference.item() == pytest.approx(layer.relative_error, abs=15 * 16 * 2**-52)
    assert layer.rank == rank


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_without_a_rank_the_smallest_that_reproduces_the_kernel(rank: int):
    vertical, horizontal = torch.randn(rank, 4, 3), torch.randn(6, rank, 3)
    weight = torch.einsum("ojs,jir->oirs", horizontal, vertical)
    layer = from_kernel(weight)
    assert layer.rank == rank
    # float32: the product of 18 columns, and both factors, are rounded to 24 bits.
    assert layer.relative_error <= 18 * 2**-24
    x = torch.randn(1, 4, 6, 6)
    expected = F.conv2d(x, weight)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5 * expected.abs().max())


def test_groups_share_the_rank():
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    layer = from_kernel(weight, groups=2)
    assert layer.vertical_weight.shape == (2 * layer.rank, 3, 3, 1)
    x = torch.randn(1, 6, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x), F.conv2d(x, weight, groups=2))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes(mode: str):
    x = torch.randint(-4, 5, (1, 1, 5, 6)).float()
    layer = from_kernel(SOBEL, padding=1, padding_mode=mode)
    padded = F.pad(x, (1, 1, 1, 1), mode=mode)
    assert torch.equal(layer(x), F.conv2d(padded, SOBEL[None, None]))
    same = from_kernel(SOBEL, padding="same", padding_mode=mode)
    assert torch.equal(same(x), layer(x))


@pytest.mark.parametrize("stride", [1, 2])
def test_same_padding_exports_for_any_size(stride: int):
    layer = cs.SpatiallySeparableConv2d(2, 3, 3, stride, "same").eval()
    sizes = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    x, other = torch.randn(2, 2, 9, 10), torch.randn(3, 2, 12, 7)
    exported = torch.export.export(layer, (x,), dynamic_shapes=(sizes,), strict=False).module()
    assert torch.equal(exported(other), layer(other))


def test_wrong_kernels_are_refused():
    with pytest.raises(
        ArgumentError, match=r"rank 4 must be an integer between 1 and 3, .* \(3, 3\)"
    ):
        from_kernel(SOBEL, 4)
    with pytest.raises(ArgumentError, match=r"rank 1\.5 must be an integer"):
        from_kernel(SOBEL, 1.5)
    with pytest.raises(ArgumentError, match="2 of 9 weights are not finite"):
        from_kernel(torch.tensor([1.0, 2, float("nan"), 1, 1, float("inf"), 1, 1, 1]).view(3, 3))
    with pytest.raises(ShapeError, match=r"\(3, 3, 3\) has 3 dimensions"):
        from_kernel(SOBEL.expand(3, 3, 3))
    with pytest.raises(ShapeError, match="4 outputs must be divisible by groups 3"):
        from_kernel(torch.ones(4, 2, 3, 3), groups=3)
    with pytest.raises(ShapeError, match="rank: 0 must be at least 1"):
        cs.SpatiallySeparableConv2d(2, 2, 3, rank=0)
    column, row = torch.ones(1, 1, 3, 1), torch.ones(1, 1, 1, 3)
    with pytest.raises(ShapeError, match=r"weight 0 is \(1, 1, 1, 3\)"):
        cs.spatially_separable_conv2d(torch.ones(1, 1, 5, 5), row, column)
