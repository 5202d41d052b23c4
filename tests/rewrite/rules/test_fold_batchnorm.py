# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from convsmith.convs import ConvTranspose2d
from convsmith.rewrite.rules.fold_batchnorm import RULE

U32 = torch.finfo(torch.float32).eps / 2
BEHIND = [
    (nn.Conv1d(4, 6, 3, padding=1), nn.BatchNorm1d(6), (2, 4, 7)),
    (
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False),
        nn.BatchNorm2d(6),
        (2, 4, 7, 5),
    ),
    (nn.Conv2d(4, 6, 3, padding="same", dilation=2), nn.BatchNorm2d(6, affine=False), (2, 4, 7, 5)),
    (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4), (2, 4, 7, 5)),
    (nn.Conv3d(2, 4, 2), nn.BatchNorm3d(4), (2, 2, 3, 4, 5)),
    (nn.ConvTranspose1d(4, 6, 3, stride=2), nn.BatchNorm1d(6), (2, 4, 7)),
    (
        nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, output_padding=1),
        nn.BatchNorm2d(6),
        (2, 4, 5, 4),
    ),
    (nn.ConvTranspose2d(4, 4, 4, stride=2, groups=4, bias=False), nn.BatchNorm2d(4), (2, 4, 5, 4)),
    (nn.ConvTranspose3d(2, 4, 2, stride=2), nn.BatchNorm3d(4), (2, 2, 3, 2, 3)),
    (nn.Linear(5, 3), nn.BatchNorm1d(3), (2, 5)),
    (nn.Linear(5, 3, bias=False), nn.BatchNorm1d(3), (2, 5)),
]
BEFORE = [
    (nn.BatchNorm1d(4), nn.Conv1d(4, 6, 3), (2, 4, 7)),
    (nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False), (2, 4, 7, 5)),
    (nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, padding="valid"), (2, 4, 7, 5)),
    (nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1, padding="same"), (2, 4, 7, 5)),
    (nn.BatchNorm3d(2, affine=False), nn.Conv3d(2, 4, 2), (2, 2, 3, 4, 5)),
    (nn.BatchNorm1d(5), nn.Linear(5, 3), (2, 5)),
]


def _name(value):
    return type(value).__name__ if isinstance(value, nn.Module) else None


@pytest.mark.parametrize(("first", "second", "shape"), BEHIND + BEFORE, ids=_name)
def test_folds_bit_equal_on_small_integers(
    first, second, shape, rewritten, integers, whole_numbers
):
    model, x = integers(nn.Sequential(first, second)), whole_numbers(*shape)
    result = rewritten(model, x, RULE)
    assert "batch_norm" not in result.operators
    assert result.refused == []
    assert torch.equal(result.captured.module(x), model(x))
    assert result.certificates[0].where in {("0", "1"), ("1", "0")}


@pytest.mark.parametrize(("first", "second", "shape"), BEHIND, ids=_name)
def test_random_data_stays_within_the_rounding_bound(first, second, shape, rewritten):
    # |before - after| <= (gamma_k of each) * (|s W| * |x| + |s b| + |t|), k = taps + 8: the sum
    # itself on both sides, and the handful of roundings in s, s W, s b + t and in applying the
    # batch-norm.
    torch.manual_seed(0)
    model = nn.Sequential(first, second)
    for tensor in [*model.parameters(), second.running_mean]:
        tensor.data.normal_()
    second.running_var.uniform_(0.1, 4)
    x = torch.randn(shape)
    before, folded = model.eval()(x), rewritten(model, x, RULE).captured.module
    layer = type(first)
    large = nn.Sequential(first, second).double()
    with torch.no_grad():
        scale = 1 / (large[1].running_var + large[1].eps).sqrt()
        scale = scale * (large[1].weight if large[1].affine else 1)
        shift = scale.abs() * large[1].running_mean.abs() + (
            large[1].bias.abs() if large[1].affine else 0
        )
        for parameter in large[0].parameters():
            parameter.abs_()
        magnitude = large[0](x.double().abs())
        view = (1, -1, *[1] * (magnitude.dim() - 2))
        magnitude = magnitude * scale.abs().view(view) + shift.view(view)
    k = large[0].weight.numel() + 8
    first.float(), second.float()
    gamma = k * U32 / (1 - k * U32)
    assert issubclass(layer, nn.Module)
    assert ((before.double() - folded(x).double()).abs() <= 2 * gamma * magnitude).all()


class Cut(nn.Module):
    """A convolution, a part of its output, and a batch-norm of that part."""

    def __init__(self, cut, read_twice=False):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.cut, self.read_twice = cut, read_twice

    def forward(self, x):
        y = self.convolution(x)
        z = self.norm(self.cut(y))
        return z + y.sum() if self.read_twice else z


CUTS = [
    nn.Sequential(ConvTranspose2d(3, 4, 3, 2, padding="same"), nn.BatchNorm2d(4)),
    nn.Sequential(ConvTranspose2d(3, 4, 5, 3, padding="same", bias=False), nn.BatchNorm2d(4)),
    Cut(lambda y: y[:, :, 1:-1, ::2]),
    Cut(lambda y: y.narrow(-1, 1, 2)),
]


@pytest.mark.parametrize("model", CUTS)
def test_folds_through_cuts_of_space(model, rewritten, integers, whole_numbers):
    model, x = integers(model), whole_numbers(2, 3, 7, 6)
    result = rewritten(model, x, RULE)
    assert "batch_norm" not in result.operators
    assert result.refused == []
    assert torch.equal(result.captured.module(x), model(x))


def test_the_folded_weights_keep_the_layers_names(rewritten, integers, whole_numbers):
    model = integers(nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3)))
    result = rewritten(model, whole_numbers(1, 2, 5, 5), RULE)
    assert [name for name, _ in result.captured.module.named_parameters()] == ["0.weight", "0.bias"]


class Twice(nn.Module):
    """One convolution used twice, each use with its own batch-norm."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.one, self.two = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.two(self.convolution(self.one(self.convolution(x)).relu()))


class Elsewhere(nn.Module):
    """The convolution's output is read by the batch-norm and by a sum."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.convolution(x)
        return self.norm(y) + y


class Computed(nn.Module):
    """The weight is computed from a parameter at every call."""

    def __init__(self):
        super().__init__()
        self.weight, self.norm = nn.Parameter(torch.randn(3, 3, 1, 1)), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(nn.functional.conv2d(x, self.weight * 2))


class Sequences(nn.Module):
    """The linear layer's dimension 1 is a position, not a channel."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.linear(x))


REFUSED = [
    (Twice(), (2, 3, 5, 5), "the weight of convolution is used more than once"),
    (Elsewhere(), (2, 3, 5, 5), "the output of convolution is used elsewhere too"),
    (Computed(), (2, 3, 5, 5), "is computed, not stored"),
    (Sequences(), (2, 4, 3), "dimension 1 of linear is not its channels"),
    (
        nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3, track_running_stats=False)),
        (2, 3, 5, 5),
        "it uses the statistics of each batch",
    ),
    (
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3, padding=1)),
        (2, 3, 5, 5),
        "1 behind it pads with 0",
    ),
    (
        nn.Sequential(nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 3, 2)),
        (2, 3, 5, 5),
        "1 behind it is transposed",
    ),
    (Cut(lambda y: torch.cat([y[:, 1:], y[:, :1]], 1)), (2, 3, 5, 5), "no layer with a weight"),
    (Cut(lambda y: y[:, [0, 0, 1, 1]][:, :4]), (2, 3, 5, 5), "no layer with a weight"),
    (Cut(lambda y: y[:, :, 1:], read_twice=True), (2, 3, 5, 5), "is used elsewhere too"),
    (nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.ReLU()), (2, 3, 5, 5), "between 0 and 2"),
]


@pytest.mark.parametrize(("model", "shape", "why"), REFUSED)
def test_refuses_with_a_reason_and_leaves_the_output_right(
    model, shape, why, rewritten, integers, whole_numbers
):
    model, x = integers(model), whole_numbers(*shape)
    result = rewritten(model, x, RULE)
    assert result.certificates == []
    assert any(why in refusal.why for refusal in result.refused), result.refused
    assert torch.equal(result.captured.module(x), model(x))


def test_pairs_by_the_graph_and_not_by_registration(rewritten, integers, whole_numbers):
    class Crossed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.norm_b, self.norm_a = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm_a(self.a(x)) + self.norm_b(self.b(x))

    model, x = integers(Crossed()), whole_numbers(2, 3, 4, 4)
    result = rewritten(model, x, RULE)
    assert {c.where for c in result.certificates} == {("a", "norm_a"), ("b", "norm_b")}
    assert torch.equal(result.captured.module(x), model(x))


def test_half_precision_is_folded_in_float64_and_rounded_once(rewritten):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval().to(torch.bfloat16)
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2)
    result = rewritten(model, torch.randn(2, 3, 6, 6, dtype=torch.bfloat16), RULE)
    wide = model[0].weight.double() * (model[1].running_var.double() + model[1].eps).rsqrt().view(
        -1, 1, 1, 1
    )
    folded = result.captured.module.get_parameter("0.weight")
    assert folded.dtype == torch.bfloat16
    assert torch.equal(folded, wide.to(torch.bfloat16))
