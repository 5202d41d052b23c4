# SPDX-License-Identifier: Apache-2.0
"""Calls of a network that are made a second time in a row go into the core in one stroke."""

import copy
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import convsmith as cs
from convsmith import native
from convsmith.capture import Network
from convsmith.native import core
from convsmith.native.chains import Program, program

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")

X = torch.arange(120.0).reshape(1, 4, 6, 5) % 7 - 3


@pytest.fixture
def network() -> Network:
    layers = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))
    found = cs.optimize(layers.eval(), X, timing=False).model
    assert isinstance(found, Network)
    return found


@pytest.fixture
def long_ways(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every call of a network that does not go in one stroke."""
    taken: list[int] = []
    run = Program.run

    def counted(*args: Any) -> list[Tensor]:
        if len(args) == 6:  # with paths: not from an operator
            taken.append(1)
        return run(*args)

    monkeypatch.setattr(Program, "run", counted)
    return taken


@pytest.fixture(autouse=True)
def without_gradients(threads_restored: None) -> Iterator[None]:
    with torch.no_grad():
        yield


def by_operators(network: Network, x: Tensor) -> Tensor:
    found: Tensor = super(Network, network).__call__(x)
    return found


def test_from_the_third_call_on(network: Network, long_ways: list[int]) -> None:
    results = [network(X * factor) for factor in range(5)]
    assert len(long_ways) == 2
    assert len({y.data_ptr() for y in results}) == 5
    for factor, y in enumerate(results):
        torch.testing.assert_close(y, by_operators(network, X * factor))


def replace_weight(network: Network) -> None:
    network.get_submodule("2").weight = nn.Parameter(torch.ones(3, 8, 1, 1))


def load(network: Network) -> None:
    network.load_state_dict({k: torch.ones_like(v) for k, v in network.state_dict().items()})


CHANGES: dict[str, Callable[[Network], object]] = {
    "in place": lambda network: network.get_parameter("0.weight").add_(1),
    "through data": lambda network: network.get_parameter("0.weight").data.mul_(2),
    "bias": lambda network: network.get_parameter("2.bias").add_(3),
    "a new parameter": replace_weight,
    "loaded": load,
    "moved": lambda network: network.get_parameter("2.bias").set_(torch.arange(6.0)[::2]),
    "threads": lambda _: torch.set_num_threads(1 if torch.get_num_threads() > 1 else 2),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_has_changed_is_seen(network: Network, change: Callable[[Network], object]) -> None:
    for _ in range(2):
        for _ in range(4):
            torch.testing.assert_close(network(X), by_operators(network, X))
        change(network)


def test_inputs_that_lie_otherwise(network: Network, long_ways: list[int]) -> None:
    last, taller = X.contiguous(memory_format=torch.channels_last), torch.cat([X, X], 2)
    every_other = torch.cat([X, X], 3)[..., ::2]
    for x in (X, X, X, last, last, last, taller, taller, taller, every_other, X, X, X):
        torch.testing.assert_close(network(x), by_operators(network, x))
    assert len(long_ways) == 9  # two of each in a row, and the lonely one
    negative = torch.complex(X, X).conj().imag  # the layout of X, and a sign that it does not tell
    torch.testing.assert_close(network(negative), by_operators(network, negative))


def test_a_copy_has_its_own(network: Network) -> None:
    for _ in range(3):
        network(X)
    twin = copy.deepcopy(network)
    twin.get_parameter("0.weight").zero_()
    for _ in range(3):
        torch.testing.assert_close(twin(X), by_operators(twin, X))
        torch.testing.assert_close(network(X), by_operators(network, X))


def test_several_threads_at_once(network: Network) -> None:
    inputs = [X * factor for factor in range(4)] + [torch.cat([X, X], 2) * 2]
    expected = [by_operators(network, x) for x in inputs]

    def many(which: int) -> bool:
        with torch.no_grad():
            return all(
                torch.allclose(network(inputs[i % 5]), expected[i % 5], rtol=1e-5, atol=1e-5)
                for i in range(which, which + 200)
                for _ in range(1 + i % 3)
            )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(many, range(4)))


def test_large_memory_is_kept_with_the_others(
    network: Network, long_ways: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "_MOST_BYTES", 2048)
    for _ in range(5):
        network(X)
    assert len(long_ways) == 5


def prepared(rows: "array[int]", patches: "array[int]") -> core.Prepared:
    """On one tensor, without weights and results."""
    nothing = array("q")
    fingerprint, threads = core.sampled_fingerprints(nothing), torch.get_num_threads()
    return core.prepared(
        core.layouts((X,)), b"", (), nothing, nothing, fingerprint, threads, rows, patches, [], None
    )


def test_it_gives_nothing_where_it_does_not_fit(network: Network) -> None:
    call = prepared(array("q"), array("q"))
    assert call(network, (X,)) == []
    assert call(network, (X[:, 1:],)) is None
    assert call(network, (X.double(),)) is None
    torch.set_num_threads(torch.get_num_threads() + 1)
    assert call(network, (X,)) is None


def test_it_gives_nothing_where_a_kernel_refuses(network: Network) -> None:
    assert prepared(array("q", [1000, 0]), array("q"))(network, (X,)) is None
    index = core.index_of("pack_panels")
    row = array("q", [index, 7, 0, 0, -1, 1, 1, 1, 1])
    assert prepared(row, array("q"))(network, (X,)) is None


def test_who_has_retired_does_nothing_more(network: Network) -> None:
    call = prepared(array("q"), array("q"))
    assert call.retire()
    assert not call.retire()
    assert call(network, (X,)) is None
