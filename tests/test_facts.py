# SPDX-License-Identifier: Apache-2.0
"""The worked examples that papers and courses print, number for number, through the public face.

VGG-16 on a 384 x 384 image, 6x6 positions, stands with the rewrite that makes it fully
convolutional.
"""

from collections.abc import Callable
from math import prod

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import convsmith as cs
from convsmith.family import recognize
from convsmith.geometry import Axis, Macs, hybrid_dilation, touched


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def weights(module: nn.Module) -> int:
    """Without the biases."""
    return sum(p.numel() for name, p in module.named_parameters() if not name.endswith("bias"))


def macs(layer: nn.Module, input_shape: tuple[int, ...]) -> Macs:
    return recognize(layer.geometry).macs(layer.geometry, input_shape)


def shape(layer: nn.Module, *input_shape: int) -> tuple[int, ...]:
    """Of a real result, which the integers must foretell."""
    y = layer(torch.zeros(input_shape))
    assert tuple(y.shape) == layer.geometry.output_shape(input_shape)
    return tuple(y.shape)


def integers(*size: int) -> Tensor:
    return torch.randint(-4, 5, size).float()


def with_integers(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(integers(*p.shape))
    return module


# Fully connected layers are convolutions


def test_a_fully_connected_layer_is_two_1x1x3_kernels() -> None:
    weight = torch.tensor([[0.0, 1, 1], [2, 3, 5]])
    bias = torch.tensor([8.0, 13])
    layer = cs.PointwiseConv2d(3, 2)
    assert parameters(layer) == weight.numel() + bias.numel() == 8
    layer.load_state_dict({"weight": weight.reshape(2, 3, 1, 1), "bias": bias})
    x = integers(1000, 3)
    connected = F.relu(F.linear(x, weight, bias))
    assert torch.equal(F.relu(layer(x[:, :, None, None])).flatten(1), connected)


@pytest.mark.parametrize(("n", "i", "m"), [(1, 3, 2), (2, 5, 7), (5, 16, 120), (7, 4, 6)])
def test_a_fully_connected_layer_after_a_flatten_is_one_n_x_n_convolution(
    n: int, i: int, m: int
) -> None:
    linear = with_integers(nn.Linear(n * n * i, m))
    layer = cs.Conv2d(i, m, n)
    assert weights(layer) == n * n * i * m
    assert parameters(layer) == n * n * i * m + m == parameters(linear)
    layer.load_state_dict({"weight": linear.weight.reshape(m, i, n, n), "bias": linear.bias})
    x = integers(2, i, n, n)
    assert torch.equal(layer(x).flatten(1), linear(x.flatten(1)))


def test_the_heads_of_vgg_lenet_and_alexnet() -> None:
    fc6 = cs.Conv2d(512, 4096, 7, device="meta")
    assert parameters(fc6) == 102_764_544
    assert fc6.geometry.output_shape((1, 512, 7, 7)) == (1, 4096, 1, 1)
    fc7 = cs.PointwiseConv2d(4096, 4096, device="meta")
    assert parameters(fc7) == 4096 * 4096 + 4096
    c5 = cs.Conv2d(16, 120, 5)
    assert shape(c5, 1, 16, 5, 5) == (1, 120, 1, 1)
    assert parameters(c5) == 5 * 5 * 16 * 120 + 120
    last = cs.PointwiseConv2d(4096, 1000, device="meta")
    assert last.weight.shape == (1000, 4096, 1, 1)
    assert last.geometry.output_shape((1, 4096, 1, 1)) == (1, 1000, 1, 1)


# Pointwise and standard


def test_pointwise_shapes() -> None:
    assert shape(cs.PointwiseConv2d(64, 128), 2, 64, 32, 32) == (2, 128, 32, 32)
    assert shape(cs.PointwiseConv2d(100, 20), 1, 100, 500, 500) == (1, 20, 500, 500)
    first = cs.Conv2d(3, 32, 3, padding=1)
    second = cs.PointwiseConv2d(32, 1)
    assert shape(first, 1, 3, 36, 36) == (1, 32, 36, 36)
    assert shape(second, 1, 32, 36, 36) == (1, 1, 36, 36)


IMAGE = [[3, 3, 2, 1, 0], [0, 0, 1, 3, 1], [3, 1, 2, 2, 3], [2, 0, 0, 2, 2], [2, 0, 0, 0, 1]]
KERNEL = [[0, 1, 2], [2, 2, 0], [0, 1, 2]]


def test_one_channel_and_the_kernel_is_not_flipped() -> None:
    x, kernel = torch.tensor([[IMAGE]]).float(), torch.tensor([[KERNEL]]).float()
    expected = [[12, 12, 17], [10, 17, 19], [9, 6, 14]]
    assert cs.conv2d(x, kernel)[0, 0].tolist() == expected
    assert cs.conv2d(x, kernel.flip(-1, -2))[0, 0].tolist() != expected


def test_three_channels() -> None:
    one = cs.Conv2d(3, 1, 3)
    assert one.weight[0].shape == (3, 3, 3)
    assert shape(one, 3, 5, 5) == (1, 3, 3)
    assert shape(cs.Conv2d(3, 128, 3), 3, 7, 7) == (128, 5, 5)


def test_a_filter_thinner_than_the_input_slides_along_depth_too() -> None:
    thin, thick = cs.Conv3d(1, 1, (2, 3, 3)), cs.Conv3d(1, 1, (4, 3, 3))
    assert shape(thin, 1, 1, 4, 5, 5) == (1, 1, 3, 3, 3)
    assert shape(thick, 1, 1, 4, 5, 5) == (1, 1, 1, 3, 3)


# Separable, grouped, dilated


def test_sobel_is_a_column_times_a_row() -> None:
    sobel = torch.tensor([1.0, 2, 1])[:, None] * torch.tensor([1.0, 0, -1])
    dense = cs.Conv2d(1, 1, 3, bias=False)
    dense.load_state_dict({"weight": sobel[None, None]})
    separable = cs.SpatiallySeparableConv2d.from_kernel(sobel[None, None])
    assert (parameters(dense), parameters(separable)) == (9, 6)
    assert separable.vertical_weight.flatten().tolist() == [1, 2, 1]
    assert separable.horizontal_weight.flatten().tolist() == [1, 0, -1]
    x = integers(1, 1, 9, 11)
    assert torch.equal(separable(x), dense(x))
    # Per position of the rows that both passes reach: 3 + 3 multiplications instead of 9.
    one_row = (1, 1, 3, 1002)
    assert macs(dense, one_row).all == 9 * 1000
    assert macs(separable, one_row).all == 3 * 1002 + 3 * 1000


def test_depthwise_separable_counts() -> None:
    """22.8 times fewer multiplications (one source prints 52,952 and 12x12x256: both are slips)."""
    dense = cs.Conv2d(3, 256, 5, bias=False)
    separable = cs.DepthwiseSeparableConv2d(3, 256, 5, bias=False)
    image = (1, 3, 12, 12)
    assert shape(dense, *image) == shape(separable, *image) == (1, 256, 8, 8)
    assert macs(dense, image).all == 1_228_800
    depthwise, pointwise = cs.DepthwiseConv2d(3, 5, bias=False), cs.PointwiseConv2d(3, 256)
    assert macs(depthwise, image).all == 4_800
    assert macs(pointwise, (1, 3, 8, 8)).all == 49_152
    assert macs(separable, image).all == 53_952
    assert round(1_228_800 / 53_952, 1) == 22.8


def test_depthwise_separable_weights_and_shapes() -> None:
    assert weights(cs.Conv2d(16, 32, 3)) == 4_608
    separable = cs.DepthwiseSeparableConv2d(16, 32, 3)
    assert weights(separable.depthwise) == 144
    assert weights(separable.pointwise) == 512
    assert weights(separable) == 656
    assert shape(cs.DepthwiseConv2d(3, 3), 3, 7, 7) == (3, 5, 5)
    assert shape(cs.PointwiseConv2d(3, 128), 3, 5, 5) == (128, 5, 5)
    assert shape(cs.DepthwiseSeparableConv2d(3, 128, 3), 3, 7, 7) == (128, 5, 5)


def test_a_depth_multiplier_of_2_doubles_the_channels_before_the_pointwise_step() -> None:
    layer = cs.DepthwiseSeparableConv2d(3, 10, 3, padding=1, depth_multiplier=2)
    assert shape(layer.depthwise, 3, 8, 8) == (6, 8, 8)
    assert shape(layer, 3, 8, 8) == (10, 8, 8)


def test_four_groups_have_a_quarter_of_the_weights() -> None:
    dense, grouped = cs.Conv2d(64, 64, 3, padding=1), cs.Conv2d(64, 64, 3, padding=1, groups=4)
    assert grouped.weight.shape == (64, 16, 3, 3)
    assert 4 * weights(grouped) == weights(dense)
    assert shape(grouped, 1, 64, 32, 32) == (1, 64, 32, 32)
    image = (1, 64, 32, 32)
    assert 4 * macs(grouped, image).all == macs(dense, image).all


@pytest.mark.parametrize(("dilation", "covers"), [(1, 3), (2, 5), (4, 9)])
def test_a_dilated_kernel_covers_more(dilation: int, covers: int) -> None:
    layer = cs.Conv2d(1, 1, 3, dilation=dilation)
    cone, _ = layer.geometry.cone((1, 1, 20, 20))
    assert cone.size == covers
    for size in range(covers, 20):
        for stride in (1, 2, 3):
            strided = cs.Conv2d(1, 1, 3, stride=stride, dilation=dilation)
            side = (size - covers) // stride + 1
            assert shape(strided, 1, 1, size, size) == (1, 1, side, side)


def test_dilation_2_over_7x7() -> None:
    assert shape(cs.Conv2d(1, 1, 3, dilation=2), 1, 1, 7, 7) == (1, 1, 3, 3)


@pytest.mark.parametrize(
    ("dilations", "seen", "positions", "hdc_distance", "hdc_passes"),
    [
        ((2, 2, 2), 7, 13, 2, False),
        ((2, 4, 8), 15, 29, 4, False),
        ((1, 2, 5), 17, 17, 2, True),
        ((1, 2, 3), 13, 13, 2, True),
        ((2, 3), 9, 11, 3, False),
        ((1, 3, 1), 11, 11, 5, False),
    ],
)
def test_gridding(
    dilations: tuple[int, ...], seen: int, positions: int, hdc_distance: int, hdc_passes: bool
) -> None:
    """The touched set against the gradient of real layers; the HDC rule beside it.

    By its distance alone the rule would pass (2,2,2) and (2,3), which have holes, and it fails
    (1,3,1), which has none.
    """
    layers = nn.Sequential(*(cs.Conv1d(1, 1, 3, dilation=d, bias=False) for d in dilations))
    for p in layers.parameters():
        nn.init.ones_(p)
    x = torch.ones(1, 1, positions, requires_grad=True)
    (gradient,) = torch.autograd.grad(layers(x).sum(), x)
    exact = touched([Axis(3, dilation=d) for d in dilations])
    assert gradient.flatten().nonzero().flatten().tolist() == list(exact)
    assert len(exact) == seen
    assert exact[-1] - exact[0] + 1 == positions
    rule = hybrid_dilation(3, dilations)
    assert rule.max_distances[1] == hdc_distance
    assert rule.passes is hdc_passes


# Transposed, unpooling, involution


def test_transposed_stamps_are_added_where_they_overlap() -> None:
    layer = cs.ConvTranspose2d(1, 1, 4, stride=3, bias=False)
    assert shape(layer, 1, 1, 2, 2) == (1, 1, 7, 7)
    nn.init.ones_(layer.weight)
    x = torch.tensor([[1.0, 10], [100, 1000]])
    expected = torch.zeros(7, 7)
    for i in range(2):
        for j in range(2):
            expected[3 * i : 3 * i + 4, 3 * j : 3 * j + 4] += x[i, j]
    y = layer(x[None, None])[0, 0]
    assert torch.equal(y, expected)
    assert y[3, 3] == 1111  # where all four patches overlap


def test_unpooling_puts_each_value_back_and_a_convolution_fills_in() -> None:
    image = torch.tensor([[[[1.0, 2, 0, 4], [3, 9, 5, 6], [7, 1, 2, 8], [0, 3, 1, 2]]]])
    x, indices = F.max_pool2d(image, 2, return_indices=True)
    identity = torch.ones(1, 1, 1, 1)
    sparse = cs.unpool_conv2d(x, indices, identity)
    assert sparse[0, 0].tolist() == [[0, 0, 0, 0], [0, 9, 0, 6], [7, 0, 0, 8], [0, 0, 0, 0]]
    layer = with_integers(cs.UnpoolConv2d(1, 1, 3, padding=1))
    assert torch.equal(layer(x, indices), layer.convolution(sparse))


def test_involution_reduces_spans_and_multiplies() -> None:
    layer = cs.Involution2d(64, 7, group_channels=16, reduction=4)
    assert parameters(layer) == involution_parameters(64, 7)
    kernels = layer.generator(torch.randn(2, 64, 9, 10))
    assert kernels.numel() == 2 * 4 * 7 * 7 * 9 * 10  # k k G numbers at each place
    multiply_add = 64 * 7 * 7 * 9 * 10
    generator = (64 * 16 + 16 * 4 * 49) * 9 * 10
    assert macs(layer, (1, 64, 9, 10)).all == multiply_add + generator


def involution_parameters(channels: int, kernel: int) -> int:
    """Reduce (1x1, no bias), batch-norm, span (1x1 with bias), groups of 16, reduction 4."""
    reduced, spanned = channels // 4, kernel**2 * channels // 16
    return channels * reduced + 2 * reduced + (reduced + 1) * spanned


@pytest.mark.parametrize(
    ("blocks", "millions"),
    [
        ((1, 2, 4, 1), 9.23),
        ((2, 3, 5, 2), 12.39),
        ((3, 4, 6, 3), 15.54),
        ((3, 4, 23, 3), 25.65),
        ((3, 8, 36, 3), 33.99),
    ],
)
def test_rednet_26_38_50_101_152(blocks: tuple[int, ...], millions: float) -> None:
    """From the layer's own formula: the network itself is not among the models yet.

    A ResNet whose 3x3 convolutions are 7x7 involutions, behind a stem of a 3x3 convolution, a 3x3
    involution and a 3x3 convolution (Li et al., 2021, section 4).
    """

    first, second = 27 * 32 + norm(32), 9 * 32 * 64 + norm(64)
    stem = first + involution_parameters(32, 3) + norm(32) + second
    total = bottleneck_network(stem, blocks, lambda width: involution_parameters(width, 7))
    assert abs(total / 1e6 - millions) < 0.01


def test_resnet_50() -> None:
    """The same count with the 3x3 convolutions that ResNet has; not among the models yet either."""
    stem = 49 * 3 * 64 + norm(64)
    assert bottleneck_network(stem, (3, 4, 6, 3), lambda width: 9 * width**2) == 25_557_032


def bottleneck_network(stem: int, blocks: tuple[int, ...], spatial: Callable[[int], int]) -> int:
    """Parameters of 1x1, spatial, 1x1 blocks with batch-norm after each, and 1000 classes."""
    total, inputs = stem, 64
    for stage, repeats in enumerate(blocks):
        width, outputs = 64 * 2**stage, 256 * 2**stage
        total += inputs * outputs + norm(outputs)  # the shortcut of the stage's first block
        for _ in range(repeats):
            total += inputs * width + norm(width)
            total += spatial(width) + norm(width)
            total += width * outputs + norm(outputs)
            inputs = outputs
    return total + inputs * 1000 + 1000


def norm(channels: int) -> int:
    return 2 * channels


# Networks


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("mobilenet_v1", 4_231_976),
        ("mobilenet_v2", 3_504_872),
        ("resnet20", 269_722),
        ("resnet32", 464_154),
        ("resnet44", 658_586),
        ("resnet56", 853_018),
        ("lenet5", 60_000),
        ("vgg16", 138_357_544),
        ("resnet50", 25_557_032),
        ("resnext50_32x4d", 25_028_904),
        ("densenet121", 7_978_856),
    ],
)
def test_published_parameter_counts(name: str, count: int) -> None:
    assert parameters(cs.models.create(name, device="meta")) == count


@pytest.mark.parametrize(
    ("name", "millions", "within"), [("mobilenet_v1", 569, 0.5), ("mobilenet_v2", 300, 1)]
)
def test_published_macs(name: str, millions: float, within: float) -> None:
    """Of convolutions and linear layers, at 224 x 224."""
    model = cs.models.create(name, device="meta").eval()
    with FlopCounterMode(display=False) as counted:
        model(torch.empty(1, 3, 224, 224, device="meta"))
    assert abs(counted.get_total_flops() / 2e6 - millions) < within


def test_lenet_5_s_connection_table() -> None:
    """60 of the 96 pairs of the third layer, C3, are joined: 1,516 parameters with the biases."""
    table = cs.lenet5_table()
    assert len(table) == 60
    assert len(cs.full_table(6, 16)) == 96
    assert parameters(cs.TableConv2d(table, 5)) == 60 * 25 + 16 == 1_516


@pytest.mark.parametrize(
    ("build", "image"),
    [
        (lambda: cs.Conv2d(6, 8, 3, padding=1), (2, 6, 9, 7)),
        (lambda: cs.Conv2d(6, 9, (3, 1), groups=3), (2, 6, 9, 7)),
        (lambda: cs.PointwiseConv2d(6, 8), (2, 6, 9, 7)),
        (lambda: cs.DepthwiseConv2d(6, 3, depth_multiplier=2), (2, 6, 9, 7)),
    ],
)
def test_macs_are_the_weights_at_every_output(
    build: Callable[[], nn.Module], image: tuple[int, ...]
) -> None:
    layer = build()
    outputs = prod(layer.geometry.output_shape(image)) // layer.out_channels
    assert macs(layer, image).all == outputs * weights(layer)
