# SPDX-License-Identifier: Apache-2.0
"""Findings: each planted in weights that are otherwise random, and none in weights that are."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import convsmith as cs
from convsmith import rewrite
from convsmith.analysis import Finding
from convsmith.analysis.findings.site import rank_of
from convsmith.analysis.result import BUILT

SHAPE = (1, 8, 12, 12)
ONLY_TRAINED_AGAIN = "swap"


def found_in(model: nn.Module, shape: tuple[int, ...] = SHAPE) -> list[Finding]:
    return [f for f in cs.analyze(model, shape).findings if f.rewrite != ONLY_TRAINED_AGAIN]


def planted(change: Callable[[nn.Conv2d], None], *size: int, **options: int) -> Finding:
    layer = nn.Conv2d(*(size or (8, 16, 3)), padding=1, **options)
    with torch.no_grad():
        change(layer)
    (finding,) = found_in(layer)
    assert finding.layer == "conv2d"
    return finding


def test_random_weights_hide_nothing() -> None:
    layers = [nn.Conv2d(8, 16, 3), nn.Conv2d(16, 16, 3, groups=4), nn.Conv2d(16, 300, 1)]
    layers += [nn.Conv2d(300, 20, 5, groups=20), nn.ConvTranspose2d(20, 8, 4)]
    assert found_in(nn.Sequential(*layers)) == []


def test_zeros_around_a_smaller_kernel() -> None:
    def ring(layer: nn.Conv2d) -> None:
        layer.weight[:, :, [0, -1]] = 0
        layer.weight[:, :, :, [0, -1]] = 0

    finding = planted(ring, 8, 16, 5)
    assert finding.what == "zeros around a 3x3 kernel fill it up to 5x5"
    assert finding.saves_parameters == 8 * 16 * 16
    assert finding.status == "not built yet"


def test_gaps_of_a_dilated_kernel() -> None:
    def gaps(layer: nn.Conv2d) -> None:
        layer.weight[:, :, 1::2] = 0
        layer.weight[:, :, :, 1::2] = 0

    finding = planted(gaps, 8, 16, 5)
    assert finding.what == "its 5x5 kernel is a 3x3 one with gaps: dilation 2x2"
    assert finding.saves_macs == 10 * 10 * 8 * 16 * 16


def test_dead_channels() -> None:
    def dead(layer: nn.Conv2d) -> None:
        layer.weight[[1, 5, 7]] = 0

    finding = planted(dead)
    assert finding.what == "3 of 16 output channels read nothing: they are constant"
    assert finding.rewrite == "drop_channels"

    def unread(layer: nn.Conv2d) -> None:
        layer.weight[:, 2] = 0

    assert planted(unread).what == "1 of 8 input channels are read by no filter"


def test_duplicate_channels() -> None:
    def twins(layer: nn.Conv2d) -> None:
        layer.weight[[3, 9]] = layer.weight[[4, 4]]
        layer.bias[[3, 9]] = layer.bias[[4, 4]]

    finding = planted(twins, 8, 16, 3)
    assert finding.what in ("2 of 16 output channels repeat another one",)

    def another_bias(layer: nn.Conv2d) -> None:
        layer.weight[3] = layer.weight[4]

    layer = nn.Conv2d(8, 16, 3)
    with torch.no_grad():
        another_bias(layer)
    assert found_in(layer) == []


def test_blocks_under_a_permutation() -> None:
    def blocks(layer: nn.Conv2d) -> None:
        inputs, outputs = torch.arange(8) % 2, torch.arange(16) % 2
        layer.weight[outputs[:, None] != inputs] = 0
        layer.weight[:] = layer.weight[torch.randperm(16)]

    finding = planted(blocks)
    assert finding.what == "its channels fall into 2 blocks that never meet"
    assert finding.saves_parameters == 16 * 8 * 9 // 2


def test_rank_one_kernels_channel_by_channel() -> None:
    def separable(layer: nn.Conv2d) -> None:
        layer.weight[:] = torch.randn(8, 1, 3, 1) * torch.randn(8, 1, 1, 3)

    finding = planted(separable, 8, 8, 3, groups=8)
    assert finding.what == "each of its 3x3 kernels is a column times a row"
    assert finding.saves_macs == 8 * 12 * 12 * 3


def test_columns_times_rows() -> None:
    def columns_times_rows(layer: nn.Conv2d) -> None:
        columns, rows = torch.randn(5, 32, 3), torch.randn(64, 5, 3)
        layer.weight[:] = torch.einsum("kir,oks->oirs", columns, rows)

    torch.manual_seed(0)  # its first columns are nearly dependent
    layer = nn.Conv2d(32, 64, 3, padding=1)
    with torch.no_grad():
        columns_times_rows(layer)
    (finding,) = found_in(layer, (1, 32, 12, 12))
    assert finding.what == "its 3x3 kernels are 5 columns times rows"
    assert finding.saves_parameters == 64 * 32 * 9 - 5 * 3 * (32 + 64)


def test_few_patterns() -> None:
    layer = nn.Linear(200, 100)
    with torch.no_grad():
        layer.weight[:] = torch.randn(100, 7) @ torch.randn(7, 200)
    (finding,) = found_in(layer, (1, 200))
    assert finding.what == "its 100 filters are mixtures of 7"
    assert finding.saves_macs == 100 * 200 - 7 * 300


@pytest.mark.parametrize("rank", [1, 17, 63])
def test_ranks_are_seen_through_a_projection(rank: int) -> None:
    matrix = torch.randn(500, rank) @ torch.randn(rank, 300)
    assert rank_of(matrix, 64) == rank
    assert rank_of(matrix + 1e-3 * torch.randn(500, 300), 64) is None


def test_a_linear_layer_over_a_map() -> None:
    model = nn.Sequential(nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Dropout(), nn.Linear(400, 5))
    (finding,) = found_in(model)
    assert finding.what == "reads a flattened map: it is a convolution of 10x10"
    assert finding.status == "cs.to_fully_convolutional does it"


def test_a_norm_that_folds() -> None:
    model = nn.Sequential(nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))
    (finding,) = found_in(model)
    assert (finding.layer, finding.rewrite, finding.saves_parameters) == ("1", "fold_batchnorm", 8)


def test_a_cheaper_kind() -> None:
    (finding,) = cs.analyze(nn.Conv2d(8, 16, 3), (1, 8, 12, 12)).findings
    assert finding.rewrite == "swap"
    assert finding.saves_macs == 100 * (8 * 16 * 9 - 8 * 9 - 8 * 16)


def test_weights_without_numbers_are_not_looked_at() -> None:
    with torch.device("meta"):
        model = nn.Conv2d(8, 16, 3)
    assert found_in(model) == []
    (data,) = cs.analyze(model, SHAPE).to_json()["findings"]
    assert data["status"] == "cs.swap does it"


def test_what_is_called_built_exists() -> None:
    rules = {path.stem for path in Path(rewrite.__file__).parent.glob("rules/*.py")}
    assert set(BUILT) <= rules | {"swap"}
    assert all(getattr(cs, task.removeprefix("cs.")) for task in BUILT.values())
