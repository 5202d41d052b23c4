# SPDX-License-Identifier: Apache-2.0
"""A converted classifier equals the original on every native-size crop where nothing pads."""

import copy
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convsmith.capture import Captured
from convsmith.errors import RewriteError, ShapeError
from convsmith.rewrite import fully_convolutional, to_fully_convolutional
from convsmith.rewrite.rules import linear_to_convolution


class Classifier(nn.Module):
    """3 channels of 11 x 9 -> 4 channels of 4 x 3 (stride 2, nothing pads) -> head."""

    def __init__(self, head):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3, stride=2))
        self.head = head

    def forward(self, x):
        return self.head(self.body(x))


class Head(nn.Module):
    def __init__(self, function, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, x):
        return self.function(x, *self.layers)


HEADS = {
    "one linear layer": nn.Sequential(nn.Flatten(), nn.Linear(48, 6)),
    "several": nn.Sequential(
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(48, 7),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(7, 6, bias=False),
    ),
    "batch-norm between": nn.Sequential(
        nn.Flatten(), nn.Linear(48, 7), nn.BatchNorm1d(7), nn.Hardswish(), nn.Linear(7, 6)
    ),
    "view": Head(lambda x, a: a(x.view(x.size(0), -1)), nn.Linear(48, 6)),
    "reshape": Head(lambda x, a: a(x.reshape(-1, 48)), nn.Linear(48, 6)),
    "channels last": Head(lambda x, a: a(x.permute(0, 2, 3, 1).flatten(1)), nn.Linear(48, 6)),
    "activation before": Head(lambda x, a: a(x.flatten(1).relu() * 2), nn.Linear(48, 6)),
    "log-softmax": nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.LogSoftmax(dim=1)),
    "softmax from behind": nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.Softmax(dim=-1)),
    "adaptive pool": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6)),
    "adaptive pool, half size": nn.Sequential(
        nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(), nn.Linear(24, 6)
    ),
    "adaptive pool, native size": nn.Sequential(
        nn.AdaptiveAvgPool2d((4, 3)), nn.Flatten(), nn.Linear(48, 6)
    ),
    "adaptive pool of one axis": nn.Sequential(
        nn.AdaptiveAvgPool2d((1, None)), nn.Flatten(), nn.Linear(12, 6)
    ),
    "adaptive pool, half size by 1": nn.Sequential(
        nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten(), nn.Linear(8, 6)
    ),
    "adaptive max pool": nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 6)),
    "adaptive max pool, half size": nn.Sequential(
        nn.AdaptiveMaxPool2d((2, 3)), nn.Flatten(), nn.Linear(24, 6)
    ),
    "max pool of the whole map": Head(
        lambda x, a: a(F.max_pool2d(x, x.shape[2:]).flatten(1)), nn.Linear(4, 6)
    ),
    "pool of the whole map": Head(
        lambda x, a: a(F.avg_pool2d(x, x.shape[2:]).flatten(1)), nn.Linear(4, 6)
    ),
    "distances": Head(
        lambda x, a: (a(x.flatten(1))[:, None] - torch.eye(6)).square().sum(-1), nn.Linear(48, 6)
    ),
    "scaled": Head(lambda x, a: a(x.flatten(1)) * torch.arange(6.0), nn.Linear(48, 6)),
    "in pairs": Head(lambda x, a: a(x.flatten(1)).view(-1, 6, 2).sum(2), nn.Linear(48, 12)),
    "mean": Head(lambda x, a: a(x.mean((2, 3))), nn.Linear(4, 6)),
    "mean, axes kept": Head(
        lambda x, a: a(x.mean((-1, -2), keepdim=True).flatten(1)), nn.Linear(4, 6)
    ),
    "mean of channels last": Head(
        lambda x, a: a(x.permute(0, 2, 3, 1).mean((1, 2))), nn.Linear(4, 6)
    ),
    "maximum": Head(lambda x, a: a(x.amax((2, 3))), nn.Linear(4, 6)),
    "mean and maximum": Head(
        lambda x, a: a(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)), nn.Linear(8, 6)
    ),
    "layer-norm": nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 6)
    ),
    "squeezed twice": Head(
        lambda x, a: a(x.mean((2, 3), True).squeeze(-1).squeeze(-1)), nn.Linear(4, 6)
    ),
    "1x1 convolution behind the pool": nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 7, 1), nn.ReLU(), nn.Flatten(), nn.Linear(7, 6)
    ),
    "convolution, then pool": nn.Sequential(
        nn.Conv2d(4, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
    "two readers": Head(
        lambda x, a, b: a(x.flatten(1)).relu() + b(x.flatten(1)), nn.Linear(48, 6), nn.Linear(48, 6)
    ),
    "back to a map": Head(
        lambda x, a, b: b(a(x.flatten(1)).view(x.size(0), 7, 1, 1)).flatten(1),
        nn.Linear(48, 7),
        nn.Conv2d(7, 6, 1),
    ),
}


QUICK = {"adaptive max pool", "max pool of the whole map", "adaptive pool, half size by 1"}
QUICK |= {
    "several",
    "distances",
    "channels last",
    "adaptive pool",
    "mean",
    "batch-norm between",
    "layer-norm",
}
PROFILED = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in HEADS]


@pytest.mark.parametrize("name", PROFILED)
def test_every_native_crop_of_a_larger_image_gets_the_models_answer(name):
    model = Classifier(copy.deepcopy(HEADS[name])).eval().double()
    network = to_fully_convolutional(model, torch.zeros(1, 3, 11, 9, dtype=torch.float64))
    x = torch.randn(2, 3, 15, 17, dtype=torch.float64)
    native = network(x[:1, :, :11, :9])
    assert native.shape == (1, 6, 1, 1)
    answers = network(x)
    step = 2 * 2 if "half size" in name else 2  # its pool moves by whole windows of 2 x 1
    assert answers.shape[:2] == (2, 6)
    for p in range(answers.shape[2]):
        for q in range(answers.shape[3]):
            top, left = step * p, 2 * q
            expected = model(x[:, :, top : top + 11, left : left + 9])
            # sums of at most 48 products, a few layers: 1e-13 is over 100 roundings at this scale
            torch.testing.assert_close(answers[:, :, p, q], expected, rtol=1e-12, atol=1e-13)
    assert answers.shape[3] == 5
    assert answers.shape[2] == (2 if "half size" in name else 3)


def test_bit_equal_on_small_integers(integers, whole_numbers):
    model = integers(Classifier(copy.deepcopy(HEADS["several"])))
    network = to_fully_convolutional(model, torch.zeros(1, 3, 11, 9))
    x = whole_numbers(2, 3, 13, 9)
    assert torch.equal(network(x)[:, :, 1, 0], model(x[:, :, 2:]))


def test_the_model_stays_and_parameters_keep_their_names():
    model = Classifier(copy.deepcopy(HEADS["several"]))
    before = copy.deepcopy(model.state_dict())
    network = to_fully_convolutional(model, torch.zeros(1, 3, 11, 9))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert set(before) == set(network.state_dict())
    assert network.state_dict()["head.2.weight"].shape == (7, 4, 4, 3)
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.zero_()  # its own numbers: the model's are others
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_one_and_three_axes():
    row = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(12, 4)).eval()
    x = torch.randn(1, 2, 9)
    network = to_fully_convolutional(row, x[..., :6])
    torch.testing.assert_close(network(x)[:, :, 3], row(x[..., 3:]))
    block = nn.Sequential(
        nn.Conv3d(1, 2, 2), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 3)
    ).eval()
    x = torch.randn(1, 1, 4, 5, 6)
    network = to_fully_convolutional(block, x[:, :, :3, :4, :5])
    torch.testing.assert_close(network(x)[:, :, 1, 1, 1], block(x[:, :, 1:, 1:, 1:]))


class SqueezeExcite(nn.Module):
    """A gate that looks at the whole map, in front of a head that slides."""

    def __init__(self):
        super().__init__()
        self.body, self.gate = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)
        self.head = nn.Linear(4, 6)

    def forward(self, x):
        x = self.body(x)
        gate = self.gate(x.mean((2, 3))).sigmoid().view(x.size(0), 4, 1, 1)
        return self.head((x * gate).mean((2, 3)))


def test_a_gate_goes_on_looking_at_the_whole_image():
    model, x = SqueezeExcite().eval(), torch.randn(2, 3, 12, 9)
    network = to_fully_convolutional(model, torch.zeros(1, 3, 8, 8))
    assert network(x).shape == (2, 6, 5, 2)
    torch.testing.assert_close(network(x[:, :, :8, :8])[:, :, 0, 0], model(x[:, :, :8, :8]))
    whole = model.body(x)
    gate = model.gate(whole.mean((2, 3))).sigmoid().view(2, 4, 1, 1)
    window = (whole * gate)[:, :, 2:8, 1:7]
    torch.testing.assert_close(network(x)[:, :, 2, 1], model.head(window.mean((2, 3))))


def test_an_image_smaller_than_the_native_size_is_refused():
    network = to_fully_convolutional(
        Classifier(HEADS["one linear layer"]), torch.zeros(1, 3, 11, 9)
    )
    with pytest.raises(ShapeError, match=r"\(1, 3, 10, 9\) do not satisfy `.*size\(2\) >= 11`"):
        network(torch.zeros(1, 3, 10, 9))


class Positions(nn.Module):
    """Mixes positions with a linear layer: it has as many weights as the native map has places."""

    def __init__(self):
        super().__init__()
        self.mix, self.head = nn.Linear(48, 48), nn.Linear(192, 6)

    def forward(self, x):
        x = F.conv2d(x, torch.ones(4, 3, 1, 1))
        x = self.mix(x.flatten(2)).view(x.size(0), 4, 8, 6)
        return self.head(x.flatten(1))


REFUSED = [
    (Head(lambda x, a: a(x.flatten(1).cumsum(1)), nn.Linear(48, 6)), r"head \(aten.cumsum"),
    (
        Head(lambda x, a: a(x).flatten(1), nn.Linear(3, 3)),
        r"tied to the native size|comes from no map",
    ),
    (
        nn.Sequential(nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 6)),
        r"head\.1 \(aten\.batch_norm\.default\) has no counterpart",
    ),
    (
        nn.Sequential(nn.AdaptiveAvgPool2d((3, 3)), nn.Flatten(), nn.Linear(36, 6)),
        r"head\.0 pools a map of \(4, 3\) to \(3, 3\)",
    ),
    (
        Head(lambda x: F.adaptive_max_pool2d(x, 1, return_indices=True)[1].float()),
        r"head .* takes the indices of a max pool",
    ),
    (
        Head(lambda x, a: a(x.flatten(2).mean(-1)), nn.Linear(4, 6)),
        r"where positions stand in one row",
    ),
    (
        Head(lambda x, a: a(x.flatten(1)).softmax(0), nn.Linear(48, 6)),
        "does not run over the features",
    ),
    (
        Head(lambda x, a: a(x.flatten(1)) - a(x.flatten(1)).mean(0), nn.Linear(48, 6)),
        r"head \(aten\.mean\.dim\) gives \(6,\) however large",
    ),
    (
        Head(lambda x, a: a(x.permute(0, 2, 3, 1).mean((1, 2), True).flatten(1)), nn.Linear(4, 6)),
        "pools a map whose channels come last and keeps its axes",
    ),
    (
        Head(lambda x: x.permute(0, 2, 3, 1).flatten(1)),
        "flattens a map with its channels last and is",
    ),
    (
        Head(lambda x, a: a(x.flatten(1)).view(-1, 2, 3), nn.Linear(48, 6)),
        r"is an output of shape \(2, 2, 3\), no vector per image",
    ),
    (
        Head(lambda x, a: F.linear(x.flatten(1), a.weight * 2), nn.Linear(48, 6)),
        "has a weight that is computed, not stored",
    ),
    (
        Head(lambda x, a: x.flatten(1) + a(x.flatten(1)), nn.Linear(48, 48)),
        r"has no counterpart on a map of \(4, 4, 3\)",
    ),
    (
        Head(lambda x, a: torch.cat([a(x.flatten(1)), torch.ones(2, 6)], 1), nn.Linear(48, 6)),
        "joins a vector per image with something else",
    ),
    (
        Head(lambda x, a: a(x.transpose(1, 2).transpose(2, 3).flatten(1)), nn.Linear(48, 6)),
        r"head\.layers\.0 .* is tied to the native size",
    ),
    (
        Head(lambda x, a: a((x + torch.ones(1, 4, 4, 3)).flatten(1)), nn.Linear(48, 6)),
        r"head \(aten\.add\.Tensor\) is tied to the native size",
    ),
]


@pytest.mark.parametrize(("head", "message"), REFUSED)
def test_what_cannot_slide_is_refused_by_name(head, message):
    with pytest.raises(RewriteError, match=message):
        to_fully_convolutional(Classifier(head), torch.zeros(1, 3, 11, 9))


class Plain(nn.Module):
    """A function of a map, then a head that slides."""

    def __init__(self, function, padding=0):
        super().__init__()
        self.body, self.between = nn.Conv2d(3, 4, 3, padding=padding), function
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6))

    def forward(self, x):
        return self.head(self.between(self.body(x)))


def attention(x):
    rows = x.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(rows, rows, rows).transpose(1, 2).view_as(x)


WHOLE = [
    (nn.InstanceNorm2d(4), r"between \(aten\.instance_norm\.default\) reads the whole map"),
    (nn.GroupNorm(2, 4), r"between \(aten\.group_norm\.default\) reads the whole map"),
    (lambda x: F.layer_norm(x, x.shape[1:]), r"tied to the native size|reads the whole map"),
    (lambda x: x.softmax(2), r"aten\.softmax\.int\) reads the whole map"),
    (attention, r"scaled_dot_product_attention\.default\) reads the whole map"),
    (lambda x: x - x.std((2, 3), keepdim=True), r"std\.\w+\) gives \(2, 4, 1, 1\) however large"),
    (lambda x: x - x.mean(3, keepdim=True), r"mean\.dim\) reads the whole map"),
    (nn.Upsample(size=(9, 9)), r"upsample_nearest2d\.vec\) gives \(2, 4, 9, 9\) however large"),
    (nn.UpsamplingBilinear2d(scale_factor=2), "aligns the corners of the whole map"),
]


@pytest.mark.parametrize("padding", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("function", "message"), WHOLE)
def test_what_reads_the_whole_map_is_refused_by_name(function, message, padding):
    with pytest.raises(RewriteError, match=message):
        to_fully_convolutional(Plain(function, padding).eval(), torch.zeros(1, 3, 8, 8))


def test_what_depends_on_its_place_is_caught_on_a_crop():
    def from_the_last_row(x):
        return x - x[:, :, -1:]

    with pytest.raises(RewriteError, match=r"1 pixels on, .* differs from the model on that crop"):
        to_fully_convolutional(Plain(from_the_last_row), torch.zeros(1, 3, 8, 8))


def test_sizes_that_stay_fixed_are_refused(monkeypatch):
    refresh = Captured.refresh
    monkeypatch.setattr(Captured, "refresh", lambda self, **_: refresh(self))
    with pytest.raises(RewriteError, match=r"sizes remain fixed .* x \(2, 3, 11, 9\)"):
        to_fully_convolutional(Classifier(HEADS["one linear layer"]), torch.zeros(1, 3, 11, 9))


def test_a_conversion_that_is_wrong_at_the_native_size_is_refused(monkeypatch):
    def spoiled(captured):
        linear_to_convolution.convert(captured)
        captured.module.get_parameter("head.1.weight").data.mul_(1 + 1e-9)

    monkeypatch.setattr(fully_convolutional, "convert", spoiled)
    with pytest.raises(
        RewriteError, match="Classifier differs from the model at its native size: out"
    ):
        to_fully_convolutional(Classifier(HEADS["one linear layer"]), torch.zeros(1, 3, 11, 9))


def test_mixing_positions_is_refused_by_name():
    with pytest.raises(
        RewriteError, match=r"mix \(aten\.linear\.default\) is tied to the native size"
    ):
        to_fully_convolutional(Positions(), torch.zeros(1, 3, 8, 6))


def vgg(width, classes):
    """VGG-16's layout (Simonyan and Zisserman 2015, configuration D) at any width."""
    layers, channels = [], 3
    for step in (1, 1, 0, 2, 2, 0, 4, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8, 0):
        if step:
            layers += [nn.Conv2d(channels, step * width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = step * width
        else:
            layers.append(nn.MaxPool2d(2))
    hidden = 64 * width
    head = [
        nn.Linear(channels * 49, hidden),
        nn.ReLU(True),
        nn.Dropout(),
        nn.Linear(hidden, hidden),
    ]
    head += [nn.ReLU(True), nn.Dropout(), nn.Linear(hidden, classes)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(7), nn.Flatten(), *head).eval()


@pytest.mark.parametrize("width", [2, pytest.param(64, marks=pytest.mark.slow)])
def test_vgg16_equals_itself_at_224_and_gives_a_6x6_map_at_384(width):
    model = vgg(width, 10)
    if width == 64:
        assert model[33].weight.numel() + model[33].bias.numel() == 102_764_544
    network = to_fully_convolutional(model, torch.zeros(1, 3, 224, 224))
    x = torch.randn(1, 3, 384, 384)
    with torch.no_grad():
        native = model(x[:, :, :224, :224])
        found = network(x[:, :, :224, :224])
        assert found.shape == (1, 10, 1, 1)
        # the same sums in another order, longest 25088 terms: 1e-5 of the largest is about 2
        # sqrt(25088) u
        assert (found.flatten(1) - native).abs().max() <= 2e-5 * native.abs().max()
        assert network(x).shape == (1, 10, 6, 6)


PEAK = """
import torch
from torch import nn
from convsmith.rewrite import to_fully_convolutional
from convsmith.scanning.running.resident import peak

to_fully_convolutional(nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), torch.zeros(1, 1, 8, 8))
model = nn.Sequential(nn.Flatten(), nn.Linear(64 * 64, 1 << 14), nn.ReLU(), nn.Linear(1 << 14, 2))
before, size = peak(), 4 * model[1].weight.numel()
to_fully_convolutional(model, torch.zeros(1, 64, 8, 8))
print((peak() - before) / size)
"""


@pytest.mark.slow
def test_a_large_model_is_held_a_few_times_at_most():
    """Beside the model: its numbers in float64, what the kernels take for the largest layer, and,
    when those are gone, the result's.
    """
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 4.5
