# SPDX-License-Identifier: Apache-2.0
"""A packed copy is used again, and never once the weights have changed, whoever changed them."""

import copy
import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convsmith import native
from convsmith.native import packed as module
from convsmith.native.packed import fingerprint, pack_panels, packed

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")


def doubled(weight: Tensor) -> Tensor:
    """A packing whose result is easy to check."""
    return weight.detach() * 2


def test_unchanged_weights_are_packed_once() -> None:
    weight = torch.randn(5, 7)
    assert packed(weight, doubled) is packed(weight, doubled)
    assert packed(weight, pack_panels) is not packed(weight, doubled)


def step(weight: Tensor) -> None:
    weight.grad = torch.ones_like(weight)
    torch.optim.SGD([weight], lr=0.5).step()


def load(weight: Tensor) -> None:
    layer = nn.Linear(7, 5, bias=False)
    layer.weight = weight
    layer.load_state_dict({"weight": torch.zeros(5, 7)})


CHANGES: dict[str, Callable[[Tensor], Any]] = {
    "in place": lambda w: w.detach().mul_(3),
    "one element": lambda w: w.detach()[2, 3].add_(1),
    "through .data": lambda w: w.data.fill_(4),
    "through numpy": lambda w: w.detach().numpy().fill(5),
    "by assigning .data": lambda w: setattr(w, "data", torch.randn(5, 7)),
    "to another shape": lambda w: setattr(w, "data", w.detach().reshape(7, 5).clone()),
    "by an optimizer": step,
    "by load_state_dict": load,
    "two rows swapped": lambda w: w.data.copy_(w.detach()[[1, 0, 2, 3, 4]]),
    "to another sign of zero": lambda w: w.data.neg_(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_weights_are_packed_again(change: Callable[[Tensor], Any]) -> None:
    weight = nn.Parameter(torch.randn(5, 7))
    packed(weight, doubled)
    change(weight)
    assert torch.equal(packed(weight, doubled), weight * 2)


def test_copies_have_their_own() -> None:
    layer = nn.Linear(7, 5)
    packed(layer.weight, doubled)
    twin = copy.deepcopy(layer)
    twin.weight.data.fill_(1)
    assert torch.equal(packed(twin.weight, doubled), twin.weight * 2)
    assert torch.equal(packed(layer.weight, doubled), layer.weight * 2)
    layer.to(torch.float64).to(torch.float32)
    assert torch.equal(packed(layer.weight, doubled), layer.weight * 2)


def test_weights_without_a_version_counter() -> None:
    with torch.inference_mode():
        weight = torch.randn(5, 7)
        packed(weight, doubled)
        weight.fill_(2)
        assert torch.equal(packed(weight, doubled), weight * 2)


def test_a_copy_dies_with_its_original() -> None:
    gc.collect()
    before = len(module._copies)
    weight = torch.randn(5, 7)
    packed(weight, doubled)
    assert len(module._copies) == before + 1
    del weight
    gc.collect()
    assert len(module._copies) == before


def test_weights_that_are_not_contiguous_are_packed_each_time() -> None:
    weight = torch.randn(7, 5).t()
    assert packed(weight, doubled) is not packed(weight, doubled)


def test_the_fingerprint_sees_every_position() -> None:
    for count in (1, 7, 64, 129, 300):
        values = torch.zeros(count)
        seen = {fingerprint(values)}
        for i in range(count):
            values[i] = 1
            seen.add(fingerprint(values))
            values[i] = 0
        assert len(seen) == count + 1
    assert fingerprint(torch.zeros(0)) != fingerprint(torch.zeros(1))


def test_panels_hold_the_matrix() -> None:
    """[panel][depth][lane]: read back with the width of the target's panel."""
    width = {"avx512": 32, "avx2": 16}.get(native.info()["target"], 8)
    weight = torch.randn(37, 5, 1, 1)
    for matrix in (weight, weight.transpose(0, 1).contiguous().transpose(0, 1)):
        panels = pack_panels(matrix)[: -(-37 // width) * width * 5].view(-1, 5, width)
        columns = panels.transpose(1, 2).reshape(-1, 5)
        assert torch.equal(columns[:37], weight[:, :, 0, 0])
        assert not columns[37:].any()
