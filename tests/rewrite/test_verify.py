# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from convsmith.capture import capture
from convsmith.errors import UnsupportedError
from convsmith.rewrite.inputs import Inputs
from convsmith.rewrite.verify import Proof, compare, in_float64

NAN, INF = float("nan"), float("inf")


def test_errors_are_relative_to_the_largest_of_their_leaf():
    old = {"a": torch.tensor([1.0, -4.0]), "b": (torch.tensor([100.0]),)}
    new = {"a": torch.tensor([1.5, -4.0]), "b": (torch.tensor([101.0]),)}
    found = compare(old, new)
    assert (found.max_abs, found.max_rel, found.why) == (1.0, 0.125, None)


def test_whole_numbers_count_by_the_share_that_changed():
    found = compare(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 3, 9]))
    assert (found.max_abs, found.max_rel) == (5.0, 0.25)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (torch.zeros(2), torch.zeros(3), r"an output changed from (2,)"),
        (torch.zeros(2), torch.zeros(2).double(), "torch.float32 to (2,) torch.float64"),
        (torch.zeros(2), (torch.zeros(2),), "the output's structure changed"),
        (3, 4, "an output changed from 3 to 4"),
        (torch.tensor([NAN, 1]), torch.tensor([1, NAN]), "NaN or infinity appeared or vanished"),
        (torch.tensor([INF, 1]), torch.tensor([-INF, 1]), "NaN or infinity appeared or vanished"),
        (torch.tensor([INF, 1]), torch.tensor([3e38, 1]), "NaN or infinity appeared or vanished"),
    ],
)
def test_other_kinds_of_difference_are_named(old, new, why):
    assert why in compare(old, new).why


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor([NAN, INF, -INF, 2.0]),
        torch.zeros(0),
        torch.zeros(3, dtype=torch.int64),
        None,
        "x",
    ],
)
def test_equal_is_equal(value):
    found = compare([value], [value])
    assert (found.max_abs, found.max_rel, found.why) == (0, 0, None)


class Pinned(nn.Module):
    """Names float32 in its code, makes a tensor of the default dtype, and carries a constant."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.constant = torch.tensor([0.1, 0.2, 0.3])

    def forward(self, x):
        return self.layer(x.to(torch.float32)) + torch.ones(3) / 3 + self.constant


def test_the_float64_twin_computes_in_float64_throughout():
    model, x = Pinned().eval(), torch.randn(2, 3)
    twin = in_float64(capture(model, x))
    wide = twin.module(x.double())
    layer = model.layer.double()
    expected = layer(x.double()) + torch.ones(3, dtype=torch.float64) / 3 + model.constant.double()
    assert wide.dtype == torch.float64
    assert (wide - expected).abs().max() < 1e-15


def test_bounds_follow_the_networks_own_error():
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), torch.randn(2, 3, 6, 6)
    captured = capture(model, x)
    proof = Proof(captured, Inputs((x,)))
    assert 0 < proof.own < 1e-6
    # 28 roundings per output of the convolution, 1 for the ReLU and for each of the other nodes
    num_roundings = 28 + len(captured.graph.nodes) - 1
    assert proof.bound == max(16 * proof.own, 4 * num_roundings**0.5 * 2**-24)
    assert proof.proof_bound == proof.bound * 2**-29


def test_a_network_without_float64_is_refused():
    class Bits(nn.Module):
        """Reads the bits of its input, of which float64 has twice as many."""

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            return self.layer(x.view(torch.int32).float())

    x = torch.randn(2, 3)
    with pytest.raises(UnsupportedError, match="the network does not run in float64"):
        Proof(capture(Bits().eval(), x), Inputs((x,)))
