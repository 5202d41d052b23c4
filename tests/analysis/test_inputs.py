# SPDX-License-Identifier: Apache-2.0
"""What a model may be called with, and what is said of a call that cannot be right."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import convsmith as cs
from convsmith.errors import ArgumentError, CaptureError


class Several(nn.Module):
    """Takes what a model may take beside a map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor, step: int, extra: list[Tensor], *, gate: bool = True) -> Tensor:
        y = self.conv(x) * step + extra[0].sum()
        return y.sigmoid() if gate else y


def test_what_is_no_tensor_goes_to_the_model_as_it_is() -> None:
    inputs = [(1, 3, 8, 8), 7, [(2, 2)]]
    names = [layer.name for layer in cs.analyze(Several(), inputs).layers]
    assert "sigmoid" in names
    plain = cs.analyze(Several(), inputs, kwargs={"gate": False})
    assert [layer.name for layer in plain.layers] == [n for n in names if n != "sigmoid"]


@pytest.mark.parametrize(
    "given",
    [
        torch.Size((1, 3, 8, 8)),
        [1, 3, 8, 8],
        tuple(np.array([1, 3, 8, 8])),
        np.zeros((1, 3, 8, 8), np.float32),
        torch.zeros(1, 3, 8, 8),
        [torch.zeros(1, 3, 8, 8)],
        [(1, 3, 8, 8)],
    ],
)
def test_a_shape_may_be_written_in_many_ways(given: object) -> None:
    assert cs.analyze(nn.Conv2d(3, 4, 3), given).total.macs.all == 36 * 4 * 27


@pytest.mark.parametrize(
    "given", ["large", 224, None, (1, -3, 8, 8), (0, 3, 8, 8), (1, 3, 8.0, 8), [(1, 3, 0, 8)]]
)
def test_what_is_no_shape_is_refused(given: object) -> None:
    with pytest.raises(ArgumentError, match=r"an input is .*; it must be a shape of whole numbers"):
        cs.analyze(nn.Conv2d(3, 4, 3), given)


MEANT = {
    (3, 32, 32): (1, 3, 32, 32),  # without batch
    (32, 32): (1, 3, 32, 32),
    (2, 32, 32, 3): (2, 3, 32, 32),  # channels last
    (1, 1, 32, 32): (1, 3, 32, 32),  # grey
    (1, 3, 2, 2): (1, 3, 64, 64),  # too small
}


@pytest.mark.parametrize("given", MEANT)
def test_the_shape_that_was_meant_is_proposed(given: tuple[int, ...]) -> None:
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1)]
    with pytest.raises(CaptureError) as caught:
        cs.analyze(nn.Sequential(*layers), given)
    assert str(caught.value).endswith(f"; it does run on {MEANT[given]}.")


def test_words_are_numbers() -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2))
    with pytest.raises(CaptureError, match=r"does run on torch.zeros\(\(1, 5\), dtype=torch.int64"):
        cs.analyze(model, (1, 5))


def test_where_nothing_helps_nothing_is_proposed() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("out of order")

    with pytest.raises(CaptureError, match=r"test_inputs.py:\d+\): out of order; .*right dtype\.$"):
        cs.analyze(Broken(), (1, 3, 8, 8))
    with pytest.raises(CaptureError, match=r"0\.weight has no shape yet; run the model once"):
        cs.analyze(nn.Sequential(nn.LazyConv2d(3, 3)), (3, 8, 8))


def test_a_model_that_asks_for_numbers_is_run_and_says_so() -> None:
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return y[y > y.mean().item()]

    found = cs.analyze(Asks(), (1, 3, 8, 8))
    assert found.total.macs.all == 36 * 4 * 27
    assert [note for note in found.notes if "it was run once" in note]
    with pytest.raises(CaptureError, match="asks for the numbers in a tensor"):
        cs.analyze(Asks().to("meta"), (1, 3, 8, 8))
