# SPDX-License-Identifier: Apache-2.0
"""The analysis as a table: it fits 100 columns, folds by module, and shows names as they are."""

from io import StringIO
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

import convsmith as cs
from convsmith.report import analyses, analysis
from convsmith.report.analysis import amount, fold


def shown(renderable: Any, width: int = 100) -> str:
    text = StringIO()
    Console(width=width, file=text).print(renderable)
    return text.getvalue()


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return cs.analyze(cs.models.create("resnet20", device="meta"), (1, 3, 32, 32)).to_json()


def test_it_fits_100_columns_and_folds(found: dict[str, Any]) -> None:
    text = shown(analysis(found))
    assert max(map(len, text.splitlines())) <= 100
    assert "layer1.0" in text
    assert "40.6 M MACs (81.1 M flops)" in text
    assert "81 x 81, stride 4 x 4" in text
    coarse = shown(analysis(found, depth=1)).partition("Findings")[0]
    assert "layer1.0" not in coarse
    assert "layer1" in coarse
    assert "conv1" in shown(analysis(found, depth=9))


def test_a_row_of_one_layer_says_its_window(found: dict[str, Any]) -> None:
    text = shown(analysis(found))
    assert "x0: 1x3x32x32 float32" in text
    assert "standard 3x3 " in text
    layers = [
        nn.Conv2d(3, 8, 11, stride=2),
        nn.Conv2d(8, 8, 3, dilation=4),
        nn.MaxPool2d((1, 2), (1, 2)),
        nn.Conv2d(8, 2, 1),
    ]
    plain = shown(analysis(cs.analyze(nn.Sequential(*layers), (1, 3, 64, 64)).to_json()))
    for words in ("standard 11x11 /2 ", "dilated 3x3 d4 ", "pooling 1x2 ", "pointwise "):
        assert f" {words}" in plain


def test_findings_that_are_alike_stand_in_one_row(found: dict[str, Any]) -> None:
    rows = shown(analysis(found)).partition("Findings")[2]
    assert "bn1 and 18 more" in rows
    assert rows.count("fold_batchnorm") == 1
    assert "cs.optimize does it" in " ".join(rows.split())


def test_rows_add_up(found: dict[str, Any]) -> None:
    for depth in (1, 2, 3):
        rows = fold(found["layers"], depth)
        assert sum(row.sum("macs") for row in rows) == found["total"]["macs"]


def test_two_networks_side_by_side(found: dict[str, Any]) -> None:
    other = cs.analyze(cs.models.create("resnet32", device="meta"), (1, 3, 32, 32)).to_json()
    text = shown(analyses(found, other))
    assert "+69.8%" in text
    assert "Where they differ" in text
    assert max(map(len, text.splitlines())) <= 100


def test_what_has_no_end_and_what_is_not_counted() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleDict({"[red]very" + "_long" * 20: nn.InstanceNorm2d(3)})

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers.values():
                x = layer(x)
            return torch.fft.rfft(x).abs()

    text = shown(analysis(cs.analyze(Odd(), (1, 3, 8, 8)).to_json()))
    assert "all" in text
    assert "no layer's cone ends before the whole input" in text
    assert "cannot be counted" in text
    assert " ? " in text
    assert "layers.[re…" in text
    assert max(map(len, text.splitlines())) <= 100


def test_times_stand_beside_their_roofline() -> None:
    model = cs.models.create("resnet20").eval()
    text = shown(analysis(cs.analyze(model, (1, 3, 32, 32), measure=True).to_json()))
    assert "of roofline" in text
    assert "layer1.0 " in text
    assert max(map(len, text.splitlines())) <= 100


def test_amounts() -> None:
    assert [amount(n) for n in (0, 12, 1234, 10**7, 2.5)] == ["0", "12", "1.23 k", "10 M", "2.5"]
