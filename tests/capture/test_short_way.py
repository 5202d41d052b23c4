# SPDX-License-Identifier: Apache-2.0
"""A planned network goes straight to the core only where nothing but itself would notice."""

import copy
import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from weakref import ref

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import BaseTorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

import convsmith as cs
from convsmith import native
from convsmith.capture import Network, capture
from convsmith.capture.network import _way_of
from convsmith.capture.sizes import Contract
from convsmith.errors import ConvsmithError

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")

X = torch.ones(1, 4, 6, 5)


@pytest.fixture(scope="module")
def planned() -> Network:
    layers = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))
    found = cs.optimize(layers.eval(), X, timing=False).model
    assert isinstance(found, Network)
    return found


def goes_directly(network: Network, x: Tensor = X) -> bool:
    return network._short_way([x]) is not None


@pytest.mark.parametrize("without_gradients", [torch.no_grad, torch.inference_mode])
def test_it_goes_directly_without_gradients(
    planned: Network, without_gradients: Callable[[], AbstractContextManager[None]]
) -> None:
    assert not goes_directly(planned)
    with without_gradients():
        assert goes_directly(planned)
        assert goes_directly(planned, X[:, :, ::2].contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(planned(X), super(Network, planned).__call__(X))


def test_a_network_that_went_the_short_way_dies_with_its_last_name() -> None:
    layers = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU())
    network = cs.optimize(layers.eval(), X, timing=False).model
    with torch.no_grad():
        network(X)
    gone = ref(network)
    del network
    gc.collect()
    assert gone() is None


def test_sizes_that_were_let_in_are_not_asked_for_again(
    planned: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    check = Contract.check
    monkeypatch.setattr(Contract, "check", lambda s, x: asked.append(x) or check(s, x))
    network, taller = copy.deepcopy(planned), torch.cat([X, X], 2)
    with torch.no_grad():
        for x in (X, X, -X, taller, X, taller):
            torch.testing.assert_close(network(x), super(Network, planned).__call__(x))
        assert [x[0].shape for x in asked] == [X.shape, taller.shape]
        for wrong in (X[0], X[:, 1:], X.double(), 3):
            for _ in range(2):
                with pytest.raises(ConvsmithError):
                    network(wrong)
        torch.testing.assert_close(network(X.as_subclass(Subclass)), network(X))
    network(X)  # with gradients
    way = _way_of(network)
    for number in range(200):
        way.remember(bytes([number]))
    assert len(way.let_in) <= 64


def test_a_network_without_chains_has_no_short_way() -> None:
    captured = capture(nn.Conv2d(4, 3, 1), X)
    with torch.no_grad():
        assert not goes_directly(captured.module)


@pytest.mark.parametrize(
    "watcher",
    [
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: FlopCounterMode(display=False),
        BaseTorchFunctionMode,
        forward_ad.dual_level,
        lambda: torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]),
        torch.enable_grad,
    ],
    ids=["autocast", "dispatch mode", "function mode", "forward mode", "profiler", "gradients"],
)
def test_whoever_watches_sees_the_operators(
    planned: Network, watcher: Callable[[], AbstractContextManager[object]]
) -> None:
    with torch.no_grad():
        with watcher():
            assert not goes_directly(planned)
        assert goes_directly(planned)


class Subclass(Tensor):
    pass


@pytest.mark.parametrize(
    "x",
    [X.as_subclass(Subclass), X.to("meta"), torch.complex(X, X).conj().imag],
    ids=["subclass", "meta", "neg bit"],
)
def test_other_tensors_take_the_operators(planned: Network, x: Tensor) -> None:
    with torch.no_grad():
        assert not goes_directly(planned, x)


def test_functorch_sees_the_operators(planned: Network) -> None:
    seen = []

    def function(x: Tensor) -> Tensor:
        seen.append(goes_directly(planned))
        return x.sum()

    with torch.no_grad():
        torch.vmap(function)(torch.ones(3))
    assert seen == [False]


@contextmanager
def removed(handle: Any) -> Iterator[None]:
    yield
    handle.remove()


@pytest.mark.parametrize(
    "hooked",
    [
        lambda m: removed(m.register_forward_hook(lambda *_: None)),
        lambda m: removed(m.register_forward_pre_hook(lambda *_: None)),
        lambda m: removed(m.register_full_backward_hook(lambda *_: None)),
        lambda m: removed(m.register_full_backward_pre_hook(lambda *_: None)),
        lambda m: removed(register_module_forward_hook(lambda *_: None)),
    ],
    ids=["forward", "before it", "backward", "before that", "of all modules"],
)
def test_hooks_are_heard(
    planned: Network, hooked: Callable[[nn.Module], AbstractContextManager[None]]
) -> None:
    network = copy.deepcopy(planned)
    with torch.no_grad():
        with hooked(network):
            assert not goes_directly(network)
        with nullcontext():
            assert goes_directly(network)


def test_compile_and_export_see_the_operators(planned: Network) -> None:
    with torch.no_grad():
        wanted = planned(X)
        compiled = torch.compile(planned, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(X), wanted)
        exported = torch.export.export(planned, (X,), strict=False)
        names = [str(node.target) for node in exported.graph.nodes]
        assert names.count("convsmith.convolutions.default") == 2


def test_a_write_that_torch_does_not_count_is_seen_once_it_is_told(planned: Network) -> None:
    """docs/rewriting.md, "Weights that change": of each weight 16 values are compared."""
    network, twin = copy.deepcopy(planned), copy.deepcopy(planned)
    with torch.no_grad():
        before = network(X)
        for changed in (network, twin):
            weight = changed.get_parameter("0.weight")
            assert weight.numel() == 288
            weight.data[0, 0, 0, 1] += 1  # between the first value that is compared and the second
        assert torch.equal(network(X), before)
        network.get_parameter("0.weight").mul_(1)
        assert not torch.equal(network(X), before)
        torch.testing.assert_close(network(X), super(Network, twin).__call__(X))
