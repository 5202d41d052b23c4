# SPDX-License-Identifier: Apache-2.0
"""A row: who agrees is timed, who does not is an error; no time is looked at."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convsmith import convs
from convsmith.bench import Case, measure
from convsmith.bench.cases.layers import GivenKernels
from convsmith.bench.measuring import disagreement, macs
from convsmith.bench.peers import ENTRANTS, Contender, Entrant, InProcess, Work, present
from convsmith.bench.results import FAST_WAYS, STRICT_WAYS
from convsmith.geometry import Macs


def block() -> nn.Module:
    layer = convs.DepthwiseSeparableConv2d(4, 8, 3, padding=1, bias=False, norm=nn.BatchNorm2d)
    return nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 5 * 5, 3))


CASE = Case(name="block", group="tests", build=block, input_shape=(1, 4, 5, 5), replaces="dense")


def quietly(line: str) -> None:
    pass


def test_everyone_present_is_in_the_row() -> None:
    entrants, _ = present(quick=True)
    before = torch.get_num_threads()
    said: list[str] = []
    row = measure(CASE, entrants, threads=1, rounds=2, progress=said.append)
    assert torch.get_num_threads() == before
    names = ["convsmith", "convsmith, layers as they are", "torch", "torch channels_last"]
    assert list(row.times) == names
    assert row.errors == {}
    assert said == [*(f"preparing {name}" for name in names), "taking turns"]
    assert (row.name, row.group, row.replaces) == ("block", "tests", "dense")
    # 3x3 taps on a 5x5 map with padding 1: 13 of 15 rows are live; then 4 x 8 a pixel, then linear
    assert row.macs == 4 * 13 * 13 + 25 * 4 * 8 + 200 * 3
    parameters = 4 * 9 + 2 * 4 + 4 * 8 + 2 * 8 + 200 * 3 + 3
    assert row.bytes == 4 * (100 + 3 + parameters)


def test_a_weight_with_an_axis_more_than_images_leaves_nobody_out() -> None:
    def build() -> nn.Module:
        return convs.Involution2d(16, 3, generator=GivenKernels(torch.randn(1, 1, 9, 5, 5)))

    entrants, _ = present(quick=True)
    case = Case(name="given", group="tests", build=build, input_shape=(1, 16, 5, 5))
    row = measure(case, entrants, threads=1, rounds=2, progress=quietly)
    assert row.errors == {}
    assert "torch channels_last" in row.times


def test_a_case_is_run_in_the_ways_it_asks_for() -> None:
    entrants, _ = present(quick=True)
    wanted = frozenset({"convsmith, channels_last", "convsmith, strict, channels_last"})
    row = measure(
        replace(CASE, also=wanted), entrants, threads=1, rounds=9, budget_s=0, progress=quietly
    )
    assert {name for name in row.times if "torch" not in name} == {
        "convsmith",
        *wanted,
        "convsmith, layers as they are",
    }
    assert row.rounds == 7


def test_strict_is_what_optimize_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import convsmith.bench.peers as peers

    asked = []

    def optimize(model: nn.Module, x: Tensor, *, math: str) -> Any:
        asked.append((math, x.is_contiguous(memory_format=torch.channels_last)))
        return SimpleNamespace(model=model)

    monkeypatch.setattr(peers, "optimize", optimize)
    ours = [entrant for entrant in ENTRANTS if entrant.name in FAST_WAYS + STRICT_WAYS]
    case = replace(CASE, also=frozenset(FAST_WAYS + STRICT_WAYS))
    measure(case, ours, threads=1, rounds=2, progress=quietly)
    assert asked == [("fast", False), ("fast", True), ("strict", False), ("strict", True)]


def test_a_wrong_peer_is_an_error_and_no_time() -> None:
    def off(change: Callable[[Tensor], Tensor]) -> Callable[[Work], Contender]:
        return lambda work: InProcess(lambda x: change(work.twin(x)), work.x)

    def broken(work: Work) -> Contender:
        raise RuntimeError("no such\ninstruction")

    entrants = [
        Entrant("right", off(lambda y: y)),
        Entrant("off by 1 %", off(lambda y: y * 1.01)),
        Entrant("NaN", off(lambda y: y * torch.nan)),
        Entrant("flat", off(lambda y: y.flatten())),
        Entrant("broken", broken),
    ]
    row = measure(CASE, entrants, threads=1, rounds=2, progress=quietly)
    assert list(row.times) == ["right"]
    assert row.errors == {
        "off by 1 %": "wrong: outputs differ from torch's by 0.01 (relative L2)",
        "NaN": "wrong: outputs differ from torch's by nan (relative L2)",
        "flat": "wrong: shape (3,), torch has (1, 3)",
        "broken": "RuntimeError: no such instruction",
    }


def test_rounding_is_no_disagreement() -> None:
    y = torch.randn(100)
    assert disagreement(y * (1 + 1e-6), y) is None
    assert disagreement(torch.zeros(3), torch.zeros(3)) is None


def test_macs_count_a_layer_once_for_each_call() -> None:
    shared = convs.PointwiseConv2d(2, 2)
    module = nn.Sequential(shared, shared, convs.Involution2d(2, 3, group_channels=1, reduction=1))
    alone = macs(nn.Sequential(shared), torch.zeros(1, 2, 3, 3))
    assert alone == Macs(36, 36)
    of_involution = macs(module[2:], torch.zeros(1, 2, 3, 3))
    assert macs(module, torch.zeros(1, 2, 3, 3)) == alone + alone + of_involution


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import convsmith.bench.peers as peers

    monkeypatch.setattr(peers, "find_spec", lambda name: None if name == "openvino" else object())
    entrants, absent = present(quick=False)
    assert absent == {"OpenVINO": "needs openvino: convsmith[bench] has it"}
    assert len(entrants) == len(ENTRANTS) - 1


def test_a_rehearsal_names_whom_it_leaves_out() -> None:
    _, absent = present(quick=True)
    assert set(absent) == {"torch.compile, frozen", "ONNX Runtime", "OpenVINO"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_the_compiled_peer_agrees() -> None:
    entrants = [entrant for entrant in ENTRANTS if entrant.name == "torch.compile, frozen"]
    row = measure(CASE, entrants, threads=1, rounds=2, progress=quietly)
    assert row.errors == {}
    assert list(row.times) == ["torch.compile, frozen"]
