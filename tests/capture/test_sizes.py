# SPDX-License-Identifier: Apache-2.0
"""The contract: what is free, what is baked in, and how a refusal reads."""

import pytest
import torch

from convsmith.capture import Contract, Input, Tier
from convsmith.errors import ArgumentError, ShapeError

IMAGE = Input(name="x", sizes=(2, 3, 8, 8), free=(True, False, True, True))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 4, 8, 8), "input x has size 4 in dimension 1, expected 3: this size is baked"),
        ((3, 8, 8), r"input x has 3 dimensions, shape \(3, 8, 8\); it was captured with 4"),
        (
            (2, 3, 7, 8),
            r"inputs x \(2, 3, 7, 8\) do not satisfy `x.size\(2\) % 2 == 0`.*\(2\*, 3, 8\*",
        ),
    ],
)
def test_sizes_refused(shape: tuple[int, ...], message: str) -> None:
    contract = Contract((IMAGE,), ("x.size(2) % 2 == 0",))
    contract.check([torch.zeros(5, 3, 4, 9)])
    with pytest.raises(ShapeError, match=message):
        contract.check([torch.zeros(shape)])


def test_baked_values_and_missing_tensors_are_refused() -> None:
    contract = Contract((IMAGE, Input(name="gain", is_tensor=False, constant=2)))
    contract.check([torch.zeros(2, 3, 8, 8), 2])
    with pytest.raises(ArgumentError, match="input gain is 3, but 2 was baked into the graph"):
        contract.check([torch.zeros(2, 3, 8, 8), 3])
    with pytest.raises(ArgumentError, match=r"input gain is 2.0, but 2 was baked"):
        contract.check([torch.zeros(2, 3, 8, 8), 2.0])
    with pytest.raises(ArgumentError, match="input x is a NoneType; it must be a tensor"):
        contract.check([None, 2])


@pytest.mark.parametrize(
    ("guards", "free", "left"),
    [
        ((), (True, False, True, True), ()),
        (("x.size(2)*x.size(3) == 64",), (True, False, False, False), ()),
        (("x.size(2) == x.size(3)",), (True, False, True, True), ("x.size(2) == x.size(3)",)),
        (("x.size(2) == 8", "x.size(3) > 2"), (True, False, False, True), ("x.size(3) > 2",)),
        (("x.size(3) % 64 == 8",), (True, False, True, True), ("x.size(3) % 64 == 8",)),
        (("x.size(0) == 2",), (False, False, True, True), ()),
    ],
)
def test_pinned_sizes_are_baked(
    guards: tuple[str, ...], free: tuple[bool, ...], left: tuple[str, ...]
) -> None:
    settled = Contract((IMAGE,), guards).settled()
    assert settled.inputs[0].free == free
    assert settled.guards == left


@pytest.mark.parametrize(
    ("free", "tier", "text"),
    [
        ((True, False, True, True), Tier.BATCH_AND_SPACE, "batch, height, width"),
        ((False, False, True, False), Tier.SPACE, "height, width"),
        ((True, False, False, False), Tier.BATCH, "batch"),
        ((False, False, False, False), Tier.NOTHING, "nothing"),
    ],
)
def test_tier(free: tuple[bool, ...], tier: Tier, text: str) -> None:
    contract = Contract((Input(name="x", sizes=(2, 3, 8, 8), free=free),))
    assert contract.tier is tier
    assert str(tier) == text
