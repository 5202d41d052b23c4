# SPDX-License-Identifier: Apache-2.0
"""What lies between the convolutions of a planned network joins their program, where it can."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import convsmith as cs
from convsmith import native
from convsmith.capture import Network
from convsmith.capture.short_way import _runs
from convsmith.models.residual.resnet_cifar import CifarResNet
from convsmith.native.chains import is_chain

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")


class Net(nn.Module):
    """Two convolutions of whole numbers, and something between and behind them."""

    def __init__(self, middle: Callable[..., Tensor], behind: Callable[..., Tensor]) -> None:
        super().__init__()
        self.middle, self.behind = middle, behind
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.wide, self.last = nn.Conv2d(8, 4, 1), nn.Linear(4, 3)
        generator = torch.Generator().manual_seed(1)
        for p in self.parameters():
            p.data = torch.randint(-2, 3, p.shape, generator=generator).float()

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(self, self.middle(self, self.one(x)))


def head(net: Net, x: Tensor) -> Tensor:
    return net.last(F.adaptive_avg_pool2d(x, 1).flatten(1))


def mean_head(net: Net, x: Tensor) -> Tensor:
    return net.last(x.mean((2, 3)))


def later(y: Tensor, x: Tensor, do: Callable[[Tensor], Tensor]) -> Tensor:
    """Something that no program computes stands between."""
    sign = torch.sign(x).sum()
    return do(y) * sign


JOINED: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "max pool": (lambda net, x: F.max_pool2d(x, 3, 2, 1), lambda net, x: net.two(x)),
    "average pool": (lambda net, x: F.avg_pool2d(x, 2, ceil_mode=True), lambda net, x: net.two(x)),
    "head": (lambda net, x: net.two(x), head),
    "mean": (lambda net, x: net.two(x), mean_head),
    "addition": (lambda net, x: F.relu(x + F.max_pool2d(x, 3, 1, 1)), lambda net, x: net.two(x)),
    "sum used twice": (lambda net, x: x + F.max_pool2d(x, 3, 1, 1), lambda net, x: net.two(x) + x),
    "concatenation": (lambda net, x: torch.cat([net.two(x), x], 1), lambda net, x: net.wide(x)),
    "every other pixel": (lambda net, x: x[:, :, ::2, ::2], lambda net, x: net.two(x)),
    "zeros": (lambda net, x: F.pad(x, (0, 0, 0, 0, 3, 1)), lambda net, x: net.wide(x)),
    "zeros by number": (
        lambda net, x: torch.constant_pad_nd(x, (0, 0, 0, 0, 0, 4), 0),
        lambda net, x: net.wide(x),
    ),
    "slices and zeros": (
        lambda net, x: F.pad(x[:, :, 1::2, :-1:3], (0, 0, 0, 0, 2, 2)),
        lambda net, x: net.wide(x),
    ),
    "zeros, slices, zeros": (
        lambda net, x: F.pad(F.pad(x, (0, 0, 0, 0, 1, 0))[..., -3:, :3], (0, 0, 0, 0, 1, 2)),
        lambda net, x: net.wide(x),
    ),
    "a slice of slices": (lambda net, x: x[:, :, 1:][:, :, ::2], lambda net, x: net.two(x)),
    "slices are read twice": (
        lambda net, x: x[:, :, ::2, ::2],
        lambda net, x: net.two(x) + F.max_pool2d(x, 3, 1, 1),
    ),
    "zeros are a result": (lambda net, x: net.two(x), lambda net, x: F.pad(x, (0,) * 5 + (2,))),
    "a shortcut": (
        lambda net, x: F.max_pool2d(x, 2) + F.pad(net.two(x)[:, :, ::2, ::2], (0,) * 6),
        lambda net, x: net.two(x),
    ),
    "a pool is a result": (lambda net, x: net.two(x), lambda net, x: F.max_pool2d(x, 2)),
    "a flat mean is a result": (lambda net, x: net.two(x), lambda net, x: x.mean((-2, -1))),
    "a pooled result flattened": (
        lambda net, x: net.two(x),
        lambda net, x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    ),
}
APART: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "broadcast": (lambda net, x: x + x[:, :1], lambda net, x: net.two(x)),
    "the pool is read twice": (
        lambda net, x: F.adaptive_avg_pool2d(net.two(x), (1, 1)),
        lambda net, x: net.last(x.flatten(1)) + net.last(net.two(x).flatten(1)),
    ),
    "a pool is flattened later": (
        lambda net, x: net.two(x),
        lambda net, x: later(F.adaptive_avg_pool2d(x, 1), x, lambda y: y.flatten(1)),
    ),
    "a sum is rectified later": (lambda net, x: net.two(x), lambda net, x: later(x + x, x, F.relu)),
    "a number": (lambda net, x: x + 2, lambda net, x: net.two(x)),
    "scaled": (lambda net, x: torch.add(net.two(x), x, alpha=2), lambda net, x: net.two(x)),
    "one row": (lambda net, x: torch.cat([x, x], 2), lambda net, x: net.two(x)),
    "a part": (lambda net, x: F.adaptive_avg_pool2d(x, (1, 4)), lambda net, x: net.two(x)),
    "divisor": (lambda net, x: F.avg_pool2d(x, 2, divisor_override=2), lambda net, x: net.two(x)),
    "channels": (lambda net, x: torch.cat([x[:, 2:], x[:, :2]], 1), lambda net, x: net.two(x)),
    "images": (lambda net, x: x[:1], lambda net, x: net.two(x)),
    "a slice by a size": (lambda net, x: x[:, :, : x.shape[3] // 2], lambda net, x: net.two(x)),
    "a slice is a result": (lambda net, x: net.two(x), lambda net, x: x[:, :, ::2, 1:]),
    "a slice of what torch gives": (lambda net, x: x * 2, lambda net, x: net.two(x[:, :, ::2])),
    "pixels of zeros": (lambda net, x: F.pad(x, (1, 1, 1, 1)), lambda net, x: net.two(x)),
    "ones": (lambda net, x: F.pad(x, (0, 0, 0, 0, 2, 2), value=1.0), lambda net, x: net.wide(x)),
    "fewer channels": (
        lambda net, x: F.pad(F.pad(x, (0,) * 5 + (1,)), (0,) * 4 + (-1, 0)),
        lambda net, x: net.two(x),
    ),
    "a mean of rows": (lambda net, x: x.mean(2, keepdim=True), lambda net, x: net.two(x)),
}


def planned(name: str) -> tuple[Net, Network]:
    net = Net(*{**JOINED, **APART}[name]).eval()
    found = cs.optimize(net, torch.ones(2, 4, 8, 8), timing=False).model
    assert isinstance(found, Network)
    return net, found


@pytest.mark.parametrize("name", [*JOINED, *APART])
def test_the_short_way_gives_the_models_numbers(name: str) -> None:
    net, found = planned(name)
    generator = torch.Generator().manual_seed(2)
    for size in ((2, 8, 8), (1, 16, 8), (3, 4, 4)):
        n, *space = size
        x = torch.randint(-3, 4, (n, 4, *space), generator=generator).float()
        with torch.no_grad():
            assert found._short_way([x]) is not None
            expected = net(x)
            assert torch.equal(found(x), expected)
            assert torch.equal(found(x.to(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize("name", JOINED)
def test_one_program_runs_it_all(name: str) -> None:
    _, found = planned(name)
    (run,) = _runs(found.graph)
    assert set(run) == {node for node in found.graph.nodes if node.op == "call_function"}


@pytest.mark.parametrize("name", APART)
def test_what_a_program_has_no_step_for_stays_apart(name: str) -> None:
    _, found = planned(name)
    in_runs = {node for run in _runs(found.graph) for node in run}
    passed = [node for node in found.graph.nodes if node.op == "call_function"]
    assert any(node not in in_runs and not is_chain(node) for node in passed) or name == "broadcast"


def test_sizes_that_a_step_does_not_serve_go_through_the_operators() -> None:
    net, found = planned("broadcast")
    x = torch.ones(1, 4, 5, 5)
    with torch.no_grad():
        assert torch.equal(found(x), net(x))


def test_a_slice_of_the_networks_input_is_read_where_it_lies() -> None:
    class Sliced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.conv.weight.data = torch.arange(12.0).view(4, 3, 1, 1)
            self.conv.bias.data = torch.arange(4.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x[:, :, ::2, 1:])

    net, x = Sliced().eval(), torch.arange(216.0).view(2, 3, 6, 6)
    found = cs.optimize(net, x, timing=False).model
    (run,) = _runs(found.graph)
    assert list(map(is_chain, run)) == [True]
    with torch.no_grad():
        assert found._short_way([x]) is not None
        assert torch.equal(found(x), net(x))


def residual_network(depth: int, width: float) -> tuple[nn.Module, Network]:
    torch.manual_seed(0)
    net = CifarResNet(depth=depth, width=width).eval()
    found = cs.optimize(net, torch.zeros(2, 3, 32, 32), timing=False).model
    assert isinstance(found, Network)
    return net, found


@pytest.mark.parametrize(
    ("depth", "width"), [(8, 0.5), pytest.param(20, 1.0, marks=pytest.mark.slow)]
)
def test_a_residual_network_whose_shortcuts_have_no_weights_is_one_program(
    depth: int, width: float
) -> None:
    net, found = residual_network(depth, width)
    twin = copy.deepcopy(net).double()
    (run,) = _runs(found.graph)
    called = {node for node in found.graph.nodes if node.op == "call_function"}
    assert {node.target for node in called - set(run)} <= {torch.ops.aten.linear.default}
    for shape in ((1, 3, 32, 32), (2, 3, 33, 31), (3, 3, 16, 20), (5, 3, 7, 9), (0, 3, 8, 8)):
        x = torch.randn(shape)
        with torch.no_grad():
            assert found._short_way([x]) is not None
            y, exact = found(x), twin(x.double())
        assert (y - exact).norm() <= 1e-5 * exact.norm()
