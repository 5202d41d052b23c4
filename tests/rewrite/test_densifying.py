# SPDX-License-Identifier: Apache-2.0
"""A refined network gives on the old grid what the network gave, bit for bit on whole numbers."""

import random
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

import convsmith as cs
from convsmith.errors import ArgumentError, RewriteError
from convsmith.rewrite.rules.densify import average, windows

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
# torch.export fixes the sizes that max_pool1d sees: there is none along one axis.
MAX = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


class Net(nn.Module):
    """A function of the image and of layers."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


def conv(inputs, outputs, kernel, stride=1, padding=0, **options):
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, **options)


class Forked(nn.Module):
    """Two ways to one size, ceil(n / stride), joined by addition or side by side."""

    def __init__(self, axes, stride, rng):
        super().__init__()
        ways = [
            CONV[axes](2, 2, 3, stride, 1),
            CONV[axes](2, 2, 1, stride),
            nn.Sequential(CONV[axes](2, 2, 3, 1, 2, 2), CONV[axes](2, 2, 5, stride, 2)),
            *([MAX[axes](3, stride, 1)] if axes in MAX else []),
        ]
        self.ways = nn.ModuleList(rng.sample(ways, 2))
        self.after = CONV[axes](4, 2, 1)
        self.adds = rng.random() < 0.5

    def forward(self, x):
        a, b = (way(x) for way in self.ways)
        return a + b if self.adds else self.after(torch.cat([a, b], 1))


def random_layer(axes, rng):
    """One layer of 2 channels and its stride."""
    stride, kernel = rng.choice([1, 2, 2, 3]), rng.choice([1, 2, 3, 4])
    padding = rng.randint(0, kernel // 2)
    kind = rng.choice(["conv", "grouped", "uneven", "max", "average", "forked", "forked"])
    if kind == "forked":
        return Forked(axes, stride, rng), stride
    if kind == "max" and axes in MAX:
        return MAX[axes](kernel, stride, padding, ceil_mode=rng.random() < 0.5), stride
    if kind == "average":  # windows of 2, so that every count is a power of two
        options = {"ceil_mode": rng.random() < 0.5, "count_include_pad": rng.random() < 0.5}
        return AVERAGE[axes](2, stride, rng.randint(0, 1), **options), stride
    groups, dilation = (2 if kind == "grouped" else 1), rng.choice([1, 1, 2])
    layer = CONV[axes](2, 2, kernel, stride, padding, dilation, groups)
    if kind == "uneven":
        amounts = [rng.randint(0, 2) for _ in range(2 * axes)]
        layer = nn.Sequential(Net(lambda x: F.pad(x, amounts)), layer)
    return nn.Sequential(layer, nn.ReLU()), stride


def random_network(seed, integers):
    rng = random.Random(seed)
    axes = rng.choice([1, 2, 2, 3])
    layers, total = [], 1
    for _ in range(rng.randint(2, 5)):
        layer, stride = random_layer(axes, rng)
        if total * stride <= 12:
            layers.append(layer)
            total *= stride
    size = [(44 if axes == 3 else 64) + rng.randint(0, 9) for _ in range(axes)]
    # in float64 the sums of these small integers are exact whatever their order
    return integers(nn.Sequential(*layers), seed).double(), size, total


def check(model, example, output_stride, stride, *images):
    dense = cs.densify(model, example, output_stride)
    check_on_old_grid(dense, model, stride // output_stride, images)
    return dense


def check_on_old_grid(dense, model, f, images):
    for x in images:
        # Node by node: what the contract excludes are other branches of the model's `ceil_mode`.
        (found,) = fx.Interpreter(dense).run(x, enable_io_processing=False)
        expected = model(x)
        grid = (..., *[slice(None, None, f)] * (x.dim() - 2))
        assert torch.equal(found[grid], expected)
        for old, new in zip(expected.shape[2:], found.shape[2:], strict=True):
            assert f * (old - 1) < new <= f * old


SEEDS = [n if n < 4 else pytest.param(n, marks=pytest.mark.slow) for n in range(120)]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_are_bit_equal_on_the_old_grid(seed, integers, whole_numbers):
    model, size, stride = random_network(seed, integers)
    rng = random.Random(seed)
    output_stride = rng.choice([n for n in range(1, stride + 1) if stride % n == 0])
    shapes = [[n + rng.randint(0, 13) for n in size] for _ in range(4)]
    images = [whole_numbers(1, 2, *shape).double() for shape in shapes]
    for image in images:
        # A model whose `ceil_mode` cuts a window off at this very size is captured with it fixed,
        # along all axes or some.
        try:
            dense = cs.densify(model, image, output_stride)
        except RewriteError as error:
            if "sizes remain fixed" not in str(error):
                raise
        else:
            if all(dense.contract.inputs[0].free[2:]):
                return check_on_old_grid(dense, model, stride // output_stride, images)
    raise AssertionError("captured with fixed sizes at four sizes")


def test_an_axis_that_remains_fixed_stays_coarse(integers, whole_numbers):
    """At 14 columns the last window would begin in the padding, and is left out."""
    layers = nn.Sequential(conv(2, 2, 3, 1, 1), nn.MaxPool2d(3, 3, 1, ceil_mode=True))
    model, x = integers(layers, 5).double(), whole_numbers(1, 2, 12, 14).double()
    dense = cs.densify(model, x, 1)
    assert dense.contract.inputs[0].free == (True, False, True, False)
    for image in (x, whole_numbers(2, 2, 16, 14).double()):
        assert torch.equal(dense(image)[:, :, ::3], model(image))


def squeeze_excite(x, a, b, gate, c):
    x = b(a(x))
    return c(x * gate(F.adaptive_avg_pool2d(x, 1)).relu())


def shuffle(x, a, b):
    x = a(x)
    n, c, h, w = x.shape
    return b(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))


def channels_last(x, a, b):
    return b(F.layer_norm(a(x).permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2))


def image_pooling(x, a, b, pooled):
    x = b(a(x))
    return x + F.interpolate(pooled(x.mean((2, 3), True)), size=x.shape[2:], mode="bilinear")


def of_other_lengths(x, a, b, c):
    """On the old grid all three have half the even size; refined they differ by one."""
    x = a(x)
    y = b(x) + F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
    return torch.cat([c(y), F.max_pool2d(y, 2)], 1)


def indexed(x, a, b):
    return b(F.max_pool2d_with_indices(a(x), 2)[0])


LAYERS = {
    "stride behind stride": (lambda x, a, b: b(a(x)), conv(3, 4, 3, 2, 1), conv(4, 2, 3, 2, 1)),
    "a large step kept in part": (lambda x, a: a(x), conv(3, 4, 7, 4, 3)),
    "same": (
        lambda x, a, b: b(F.conv2d(a(x), b.weight, padding="same")),
        conv(3, 2, 2, 2),
        conv(2, 2, 4, 2, 1),
    ),
    "option A": (lambda x, a: F.pad(a(x)[:, :, 1::2, ::2], (0, 0, 0, 0, 1, 2)), conv(3, 4, 3, 2)),
    "channels sliced": (lambda x, a, b: b(a(x)[:, 1:3]), conv(3, 4, 3, 2, 1), conv(2, 2, 3, 2, 1)),
    "gate": (
        squeeze_excite,
        conv(3, 4, 3, 2),
        conv(4, 4, 3, 2),
        conv(4, 4, 1),
        conv(4, 4, 3, 1, 1),
    ),
    "shuffled channels": (shuffle, conv(3, 4, 3, 4, 1), conv(4, 4, 3, padding=1)),
    "channels last": (channels_last, conv(3, 4, 3, 4, 1), conv(4, 4, 1)),
    "image pooling": (image_pooling, conv(3, 4, 3, 2, 1), conv(4, 4, 3, 2, 1), conv(4, 4, 1)),
    "of other lengths": (
        of_other_lengths,
        conv(3, 4, 3, padding=1),
        conv(4, 4, 3, 2, 1),
        conv(4, 4, 3, 2, 1),
    ),
    "pooling with indices": (indexed, conv(3, 4, 3, 2, 1), conv(4, 4, 3, 1, 1)),
}
ROUNDED = {"channels last", "image pooling", "gate"}  # they divide by what is no power of two


SLOW = {"image pooling", "of other lengths", "channels last", "a large step kept in part"}
SLOW |= {"pooling with indices", "channels sliced"}
PROFILED = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in LAYERS]


@pytest.mark.parametrize("name", PROFILED)
def test_layers_around_a_stride(name, integers, whole_numbers):
    model = integers(Net(*LAYERS[name]))
    example, x = torch.zeros(1, 3, 24, 32), whole_numbers(2, 3, 40, 24)
    if name not in ROUNDED:
        check(model, example, 2, 4, x)
        return
    model, x = model.double(), x.double()
    dense = cs.densify(model, example.double(), 2)
    # a few hundred roundings of 1.1e-16 each
    torch.testing.assert_close(dense(x)[..., ::2, ::2], model(x), rtol=1e-13, atol=1e-13)


AVERAGES = [
    {"padding": 1, "ceil_mode": True},
    pytest.param({"padding": 1, "count_include_pad": False}, marks=pytest.mark.slow),
    pytest.param({"ceil_mode": True}, marks=pytest.mark.slow),
    pytest.param({"padding": 1, "divisor_override": 5}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("options", AVERAGES)
def test_average_pooling_is_divided_as_torch_does(options, whole_numbers):
    x = whole_numbers(1, 2, 22, 27)
    model = nn.Sequential(nn.AvgPool2d(3, 2, **options)).eval()
    assert torch.equal(cs.densify(model, x, 1)(x)[..., ::2, ::2], model(x))


def test_axes_may_be_refined_by_different_steps(integers, whole_numbers):
    model = integers(nn.Sequential(conv(1, 2, (3, 5), (2, 4), (1, 2)), nn.MaxPool2d((2, 1))))
    x = whole_numbers(1, 1, 37, 41)
    dense = cs.densify(model, x, (4, 2))
    assert torch.equal(dense(x)[..., ::1, ::2], model(x))
    assert dense(x).shape[3] > model(x).shape[3]


def test_nothing_to_refine_leaves_the_network_alone():
    up = nn.ConvTranspose2d(4, 3, 2, 2)
    model = nn.Sequential(conv(3, 4, 3, 2, 1), conv(4, 4, 3, 2, 1), up).eval()
    dense, x = cs.densify(model, torch.zeros(1, 3, 32, 32), 2), torch.randn(1, 3, 40, 33)
    assert torch.equal(dense(x), model(x))


def test_the_window_of_an_average_is_not_trained():
    dense = cs.densify(nn.Sequential(nn.AvgPool2d(2)), torch.zeros(1, 3, 8, 8), 1)
    assert [tuple(b.shape) for b in dense.buffers()] == [(3, 1, 2, 2)]
    assert not list(dense.parameters())


REFUSED = [
    (lambda x, a: F.interpolate(a(x), scale_factor=2.0), r"upsample_nearest2d.* no counterpart"),
    (lambda x, a: F.group_norm(a(x), 2), r"group_norm\.default\) has no counterpart on a finer"),
    (lambda x, a: F.conv_transpose2d(a(x), torch.ones(4, 4, 3, 3)), "conv_transpose2d"),
    (lambda x, a: F.pad(a(x), (1, 1, 1, 1), "reflect"), r"repeats the map's edge \(mode 'reflect'"),
    (lambda x, a: a(x)[:, :, 1:-1], r"takes positions 1 to -1, counted on the old grid"),
    (
        lambda x, a: F.max_pool2d(a(x), 2, return_indices=True)[1].float(),
        "takes the indices of a pooling, which count on the old grid",
    ),
    (lambda x, a: a(x).mean((2, 3)), r"has shape \(2, 4\) however large the image is"),
    (lambda x, a: a(x).flatten(1) @ torch.ones(256, 3), r"sizes remain fixed \(captured at"),
    (lambda x, a: a(x) * torch.arange(x.shape[2] // 4).view(-1, 1), r"no counterpart on a finer"),
]


@pytest.mark.parametrize(("function", "message"), REFUSED)
def test_what_cannot_be_refined_is_refused_by_name(function, message):
    model = Net(function, conv(3, 4, 4, 4)).eval()
    with pytest.raises(RewriteError, match=message):
        cs.densify(model, torch.zeros(1, 3, 32, 32), 1)


def test_what_depends_on_the_size_of_its_map_is_caught_on_a_larger_image():
    """At 33 pixels the refined map ends on the old grid's last position, at 34 behind it."""
    model = Net(lambda x, a: a(x).flip(2), conv(3, 4, 1, 4)).eval()
    with pytest.raises(
        RewriteError, match=r"refined Net differs from the model on the old grid: .* larger image"
    ):
        cs.densify(model, torch.zeros(1, 3, 33, 33), 1)


def test_a_stride_that_cannot_be_reached_is_refused():
    model = nn.Sequential(conv(3, 4, 3, 2, 1), conv(4, 4, 3, 3, 1)).eval()
    example = torch.zeros(1, 3, 32, 32)
    with pytest.raises(
        RewriteError, match=r"stride along axis 2 is 6, .* of 4 is no divisor; .* \[1, 2, 3, 6\]"
    ):
        cs.densify(model, example, 4)
    for wrong in (0, True, 2.0, (2, 2, 2)):
        with pytest.raises(ArgumentError, match=r"output_stride is .*; it is a positive integer"):
            cs.densify(model, example, wrong)


def spread_at_the_stride(window, f, g):
    """Dilating the layer whose stride goes, too."""
    return replace(
        window, dilation=[d * o // i for d, i, o in zip(window.dilation, f, g, strict=True)]
    )


def padding_as_it_was(window, f, g):
    before, after = (
        [p // i for p, i in zip(ps, f, strict=True)] for ps in (window.before, window.after)
    )
    return replace(window, before=before, after=after)


def no_room(window, f, g):
    return replace(window, room=[0 for _ in window.room])


def stride_kept(window, f, g):
    return replace(window, stride=[t * o // i for t, i, o in zip(window.stride, f, g, strict=True)])


@pytest.mark.parametrize(
    "fault",
    [spread_at_the_stride, padding_as_it_was, no_room, stride_kept],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize(
    "last",
    [
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        pytest.param(nn.AvgPool2d(3, 2, 1, True), marks=pytest.mark.slow),
    ],
)
def test_planted_faults_are_caught(fault, last, monkeypatch):
    honest = windows.refined

    def faulty(walk, node, source, padding):
        rank = len(padding)
        window = honest(walk, node, source, padding)
        return fault(window, walk.finer(source)[-rank:], walk.finer(node)[-rank:])

    for module in (windows, average):
        monkeypatch.setattr(module, "refined", faulty)
    model = nn.Sequential(conv(3, 4, 3, 2, 1), conv(4, 4, 3, padding=1), last).eval()
    with pytest.raises(RewriteError, match="differs from the model on the old grid"):
        cs.densify(model, torch.zeros(1, 3, 32, 32), 1)


def test_maps_that_are_not_cropped_to_meet_are_caught(monkeypatch):
    monkeypatch.setattr("convsmith.rewrite.rules.densify.walk.Walk._meet", lambda *_: None)
    model = Net(*LAYERS["of other lengths"]).eval()
    with pytest.raises(RuntimeError, match="must match"):
        cs.densify(model, torch.zeros(1, 3, 24, 32), 1)


def trunk(x, network):
    x = F.relu(network.bn1(network.conv1(x)))
    return network.layer3(network.layer2(network.layer1(x)))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "size", "output_stride"),
    [("resnet20", 32, 1), ("resnet20", 32, 2), ("mobilenet_v2", 64, 8), ("mobilenet_v2", 64, 16)],
)
def test_published_trunks(name, size, output_stride, integers):
    network = cs.models.create(name, width=0.25)
    model = Net(trunk, network) if name == "resnet20" else network.features
    x, stride = torch.randn(1, 3, size + 11, size + 24), 4 if name == "resnet20" else 32
    dense = cs.densify(model.eval().double(), torch.zeros(1, 3, size, size).double(), output_stride)
    f, expected = stride // output_stride, model(x.double())
    # float64 rounding through at most 53 layers
    torch.testing.assert_close(dense(x.double())[..., ::f, ::f], expected, rtol=1e-11, atol=1e-11)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_vgg16_becomes_convolutional_and_then_dense():
    vgg = cs.models.create("vgg16", width=0.0625, num_classes=10)
    sliding = cs.to_fully_convolutional(vgg, torch.zeros(1, 3, 224, 224))
    dense = cs.densify(sliding, torch.zeros(1, 3, 256, 256), 16)
    x = torch.randn(1, 3, 262, 300)
    assert dense(x).shape[2:] == (3, 5)
    # 16 layers in float32
    torch.testing.assert_close(dense(x)[..., ::2, ::2], sliding(x), rtol=1e-4, atol=1e-6)
