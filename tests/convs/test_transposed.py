# SPDX-License-Identifier: Apache-2.0
"""Transposed convolution: stamps and gathering agree, 'same' and asymmetric crops, torch's API."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

import convsmith as cs
from convsmith.errors import ArgumentError, ShapeError


def integers(*shape: int) -> Tensor:
    return torch.randint(-4, 5, shape).float()


small = st.integers(1, 4)
two = st.tuples(small, small)


def test_two_by_two_stamps_seven_by_seven() -> None:
    x, kernel = torch.tensor([[[[1.0, 2], [3, 4]]]]), integers(1, 1, 4, 4)
    by_hand = torch.zeros(7, 7)
    for i in range(2):
        for j in range(2):
            by_hand[3 * i : 3 * i + 4, 3 * j : 3 * j + 4] += x[0, 0, i, j] * kernel[0, 0]
    for method in ("gather", "stamp"):
        y = cs.conv_transpose2d(x, kernel, stride=3, method=method)
        assert torch.equal(y[0, 0], by_hand)
    layer = cs.ConvTranspose2d(1, 1, 4, stride=3)
    assert layer.geometry.output_shape((1, 1, 2, 2)) == (1, 1, 7, 7)


def test_macs_are_of_the_size_of_the_input() -> None:
    geometry = cs.ConvTranspose2d(128, 128, 4, stride=2, padding=1, device="meta").geometry
    assert geometry.output_shape((1, 128, 56, 56)) == (1, 128, 112, 112)
    assert geometry.macs((1, 128, 56, 56)).all == 822_083_584


@given(two, two, two, two, two, two, st.sampled_from([1, 2]), st.data())
def test_stamping_is_gathering(sizes, kernel, stride, dilation, before, after, groups, data):
    limits = map(max, stride, dilation)
    added = [data.draw(st.integers(0, limit - 1)) for limit in limits]
    rows = zip(sizes, kernel, stride, dilation, before, after, added, strict=True)
    assume(all((n - 1) * s + d * (k - 1) + 1 + e > b + a for n, k, s, d, b, a, e in rows))
    x, weight, bias = integers(2, 2, *sizes), integers(2, 3, *kernel), integers(3 * groups)
    options = {
        "stride": stride,
        "padding": tuple(zip(before, after, strict=True)),
        "output_padding": tuple(added),
        "groups": groups,
        "dilation": dilation,
    }
    stamped = cs.conv_transpose2d(x, weight, bias, **options, method="stamp")
    assert torch.equal(cs.conv_transpose2d(x, weight, bias, **options), stamped)


@given(st.integers(1, 12), small, small, small, st.integers(0, 3), st.integers(0, 3))
def test_it_is_the_gradient_of_the_convolution(size, kernel, stride, dilation, before, after):
    span = dilation * (kernel - 1) + 1
    assume(size + before + after >= span)
    padding = ((before, after),)
    image = integers(1, 2, size).requires_grad_()
    weight = integers(3, 2, kernel)
    y = cs.conv1d(image, weight, None, stride, padding, dilation)
    x = integers(*y.shape)
    y.backward(x)
    layer = cs.ConvTranspose1d(3, 2, kernel, stride, padding, bias=False, dilation=dilation)
    with torch.no_grad():
        layer.weight.copy_(weight)
    assert torch.equal(layer(x, output_size=[size]), image.grad)


@given(st.integers(1, 13), small, small, small)
def test_same_is_the_gradient_of_the_same_convolution(size, kernel, stride, dilation):
    """For every size that the 'same' convolution brings to the input's; input * stride unless
    told.
    """
    image = integers(1, 2, size).requires_grad_()
    weight = integers(3, 2, kernel)
    y = cs.conv1d(image, weight, None, stride, "same", dilation)
    x = integers(*y.shape)
    y.backward(x)
    layer = cs.ConvTranspose1d(3, 2, kernel, stride, "same", bias=False, dilation=dilation)
    with torch.no_grad():
        layer.weight.copy_(weight)
    assert torch.equal(layer(x, output_size=[size]), image.grad)
    assert layer(x).shape[-1] == y.shape[-1] * stride
    if size == y.shape[-1] * stride:
        assert torch.equal(layer(x), image.grad)


@given(two, small, two, small)
def test_same_makes_input_times_stride(sizes, kernel, stride, dilation):
    layer = cs.ConvTranspose2d(1, 1, kernel, stride, "same", dilation=dilation)
    expected = tuple(n * s for n, s in zip(sizes, stride, strict=True))
    shape = (1, 1, *sizes)
    assert layer(torch.zeros(shape)).shape[2:] == expected
    assert layer.geometry.output_shape(shape)[2:] == expected
    assert (
        cs.conv_transpose2d(
            torch.zeros(shape), layer.weight, None, stride, "same", 0, 1, dilation
        ).shape[2:]
        == expected
    )


def test_an_asymmetric_crop_is_a_part_of_the_whole() -> None:
    x, weight, bias = integers(2, 3, 4, 5), integers(3, 2, 3, 4), integers(2)
    whole = cs.conv_transpose2d(x, weight, bias, 2)
    y = cs.conv_transpose2d(x, weight, bias, 2, ((2, 0), (1, 3)))
    assert torch.equal(y, whole[..., 2:, 1:-3])


@pytest.mark.parametrize("method", ["gather", "stamp"])
def test_gradients_of_both_methods(method: str) -> None:
    layer = cs.ConvTranspose2d(2, 3, (3, 2), 2, ((0, 1), 1), dtype=torch.float64, method=method)
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,), fast_mode=True)
    assert ("method=stamp" in repr(layer)) == (method == "stamp")


@pytest.mark.parametrize("output_size", [(9, 8), (10, 7), (2, 4, 9, 9)])
def test_output_size_is_torchs(output_size: tuple[int, ...]) -> None:
    layer = cs.ConvTranspose2d(3, 4, 3, (2, 3), 1)
    assert isinstance(layer, nn.ConvTranspose2d)
    twin = nn.ConvTranspose2d(3, 4, 3, (2, 3), 1)
    for parameter in layer.parameters():
        nn.init.constant_(parameter, 3)
    twin.load_state_dict(layer.state_dict())
    x = integers(2, 3, 5, 3)
    y = layer(x, output_size=output_size)
    assert torch.equal(y, twin(x, output_size=output_size))
    assert y.shape[2:] == output_size[-2:]
    assert torch.equal(layer(x[0], output_size=output_size[-2:]), y[0])


@pytest.mark.parametrize(
    ("padding", "output_size", "message"),
    [
        (1, (8, 9), r"requested an output size of \[8, 9\], but valid sizes range from \[9, 9\]"),
        (1, (11, 9), r"to \[10, 10\] \(for an input of \[5, 5\]\)"),
        ("same", (8, 10), r"valid sizes range from \[9, 9\] to \[10, 10\]"),
        (((0, 1), 2), (10, 9), r"valid sizes range from \[10, 7\] to \[11, 8\]"),
        (1, (9,), r"output_size must have 2 or 4 elements \(got 1\)"),
    ],
)
def test_output_sizes_out_of_range(padding, output_size, message: str) -> None:
    layer = cs.ConvTranspose2d(3, 4, 3, 2, padding)
    with pytest.raises(ShapeError, match=message):
        layer(torch.zeros(2, 3, 5, 5), output_size=output_size)
    if isinstance(padding, int):  # torch refuses the same ones, with the same type
        with pytest.raises(ValueError, match=r"output_size|output size"):
            nn.ConvTranspose2d(3, 4, 3, 2, padding)(torch.zeros(2, 3, 5, 5), list(output_size))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"output_padding": 2}, ShapeError, r"output_padding \(2, 2\) must be smaller than"),
        ({"output_padding": -1}, ShapeError, "output_padding: -1 must be at least 0"),
        ({"padding": -1}, ShapeError, "padding: -1 must be at least 0"),
        (
            {"padding": "same", "output_padding": 1},
            ShapeError,
            r"\(1, 1\) must be 0 beside padding 'same'",
        ),
        ({"padding": "full"}, ArgumentError, "padding: 'full' must be"),
        ({"groups": 2}, ShapeError, "in_channels 3 must be divisible by groups 2"),
        ({"method": "scatter"}, ArgumentError, "method: 'scatter' must be one of"),
        ({"padding_mode": "reflect"}, ValueError, 'Only "zeros" padding mode'),
    ],
)
def test_wrong_options(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cs.ConvTranspose2d(3, 4, 3, 2, **arguments)


@pytest.mark.parametrize("method", ["gather", "stamp"])
def test_a_crop_that_leaves_nothing(method: str) -> None:
    x, weight = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 3, 3)
    with pytest.raises(ShapeError, match="crop less"):
        cs.conv_transpose2d(x, weight, padding=((0, 4), 0), method=method)


def test_same_with_an_output_padding() -> None:
    with pytest.raises(ShapeError, match=r"\(0, 1\) must be 0 beside padding 'same'"):
        cs.conv_transpose2d(
            torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 3, 3), None, 2, "same", (0, 1)
        )


def test_errors_of_torch_are_kept() -> None:
    x = torch.zeros(1, 2, 4, 4)
    for function in (cs.conv_transpose2d, F.conv_transpose2d):
        with pytest.raises(RuntimeError, match=r"to have 3 channels, but got 2 channels"):
            function(x, torch.zeros(3, 1, 3, 3))
        with pytest.raises(RuntimeError, match="output padding must be smaller than"):
            function(x, torch.zeros(2, 1, 3, 3), None, 2, 0, 2)
    with pytest.raises(ShapeError, match=r"weight \(2, 1, 3\) has 3 dimensions"):
        cs.conv_transpose2d(x, torch.zeros(2, 1, 3))


class UpTo(nn.Module):
    """A decoder asks for the size of the encoder's map, whatever it is."""

    def __init__(self) -> None:
        super().__init__()
        self.up = cs.ConvTranspose2d(2, 1, 3, 2, "same")

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.up(x, output_size=skip.shape[-2:]) + skip


SKIP = ((1, 2, 4, 5), (1, 1, 7, 10))


def test_the_size_of_another_tensor_exports() -> None:
    model, inputs = UpTo(), tuple(torch.randn(shape) for shape in SKIP)
    program = torch.export.export(model, inputs, strict=False)
    assert torch.equal(program.module()(*inputs), model(*inputs))


@pytest.mark.slow
def test_the_size_of_another_tensor_compiles_for_any_size() -> None:
    model, inputs = UpTo(), tuple(torch.randn(shape) for shape in SKIP)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    assert torch.equal(compiled(*inputs), model(*inputs))
