# SPDX-License-Identifier: Apache-2.0
"""Every row computes what plain torch computes, and carries the numbers of its source."""

from pathlib import Path
from typing import Any

import pytest
import torch

from convsmith import models
from convsmith.bench import Case, select
from convsmith.bench.cases import plain
from convsmith.bench.measuring import disagreement, macs
from convsmith.errors import ArgumentError
from convsmith.models.classification.mobilenet_v2 import InvertedResidual

CASES = select()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@torch.no_grad()
def test_every_case_equals_its_twin(case: Case) -> None:
    small = case.small()
    module, x = small.module(), small.input()
    twin = plain(module)
    ours = [type(m).__name__ for m in twin.modules() if "convsmith.convs" in type(m).__module__]
    assert set(ours) <= {"Bottleneck"}, "only what is made of torch's layers may stay"
    assert disagreement(module(x), twin(x)) is None


def test_names_are_unique_and_replaced_rows_exist() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    replaced = {case.replaces for case in CASES} - {None}
    assert len(replaced) == 4
    assert replaced <= set(names)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("dense 3x3 128, 56x56", 462),
        ("separable 3x3 128, 56x56", 55),
        ("separable 3x3 32->64, 112x112", 29),
        ("depthwise 5x5 128, 56x56", 10),
        ("grouped 3x3 128, 32 groups, 56x56", 14.5),
        ("1x3 then 3x1 128, 56x56", 308),
        ("transposed 4x4 128 stride 2, 56x56", 822),
        ("3x3 dilation 12 128->128, 56x56", 462),
        ("depthwise 31x31 128, 56x56", 386),
        ("depthwise 3x3x3 64, 16x56x56", 87),
        ("mobilenet_v1", 569),
    ],
)
def test_macs_are_those_of_the_definition(name: str, millions: float) -> None:
    (case,) = (case for case in CASES if case.name == name)
    assert macs(case.module(), case.input()).all / 1e6 == pytest.approx(millions, rel=0.04)


def test_inverted_residuals_are_those_of_the_network() -> None:
    network = models.create("mobilenet_v2", device="meta")
    seen = []

    def see(block: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append((inputs[0].shape[1:], [tuple(w.shape) for w in block.state_dict().values()]))

    for block in network.modules():
        if isinstance(block, InvertedResidual):
            block.register_forward_pre_hook(see)
    network(torch.empty(1, 3, 224, 224, device="meta"))
    rows = []
    for case in select(["inverted residuals"]):
        rows.append(
            (case.input_shape[1:], [tuple(w.shape) for w in case.build().state_dict().values()])
        )
    assert len(rows) == 12
    assert all(shape in seen for shape in rows)
    assert all(shape in rows for shape in seen)


def test_patterns_fit_names_and_groups() -> None:
    assert {case.group for case in select(["depthwise"])} == {"depthwise"}
    assert [case.name for case in select(["lenet*", "vgg*"])] == ["vgg16", "lenet5"]
    with pytest.raises(ArgumentError, match="no case or group is called 'nothing'"):
        select(["depthwise", "nothing"])


def test_what_is_replaced_is_measured_with_it() -> None:
    names = [case.name for case in select(["separable 3x3 32*"])]
    assert names == ["dense 3x3 32->64, 112x112", "separable 3x3 32->64, 112x112"]


def test_only_dense_and_separable_rows_are_run_strictly_too() -> None:
    strict = {case.group for case in CASES if "convsmith, strict" in case.also}
    assert strict == {"dense 3x3", "separable blocks"}
    assert {case.group for case in CASES if not case.also} == {"networks"}


def test_shapes_are_swept_over_if_they_are_there(tmp_path: Path) -> None:
    (tmp_path / "shapes.txt").write_text('ic3oc8ih5kh3ph1n"a"\n')
    assert select(["sweep"], tmp_path)[0].name == "sweep 3x3 3->8, 5x5"
    missing = tmp_path / "missing"
    with pytest.raises(ArgumentError, match=f"--shapes {missing} is no folder"):
        select(["*"], missing)
