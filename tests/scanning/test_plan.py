# SPDX-License-Identifier: Apache-2.0
"""A plan is plain data: its tiles, its JSON, its fingerprint, and what a damaged file says."""

import json
from dataclasses import replace
from typing import Any

import pytest

from convsmith.errors import FormatError, ShapeError
from convsmith.scanning.plan import ABSENT, Plan
from convsmith.scanning.tiling import AxisPlan


def axis(size: int, core: int) -> AxisPlan:
    return AxisPlan.fitted(size=size, outputs=size, stride=1, a=-1, b=1, period=1, core=core)


@pytest.fixture
def plan() -> Plan:
    return Plan(
        axes=(axis(50, 20), axis(64, 16)),
        in_channels=3,
        out_channels=10,
        batch=4,
        weights="sha256 of the weights",
        source={"kind": "array", "digest": "0"},
        preprocess={"scale": 255.0, "mean": [0.5, 0.5, 0.5]},
        versions={"torch": "2"},
    )


def test_tiles_are_numbered_row_by_row(plan: Plan) -> None:
    assert (len(plan), plan.grid, plan.cores, plan.outputs) == (12, (3, 4), (20, 16), (50, 64))
    tiles = [plan.tile(number) for number in range(len(plan))]
    assert [tile.index for tile in tiles] == [(i, j) for i in range(3) for j in range(4)]
    assert tiles[7].write == (slice(20, 40), slice(48, 64))
    assert tiles[7].read == (slice(19, 41), slice(46, 64))
    assert tiles[7].keep == (slice(1, 21), slice(2, 18))
    assert tiles[7].shape == (22, 18)


def test_all_tiles_have_one_shape(plan: Plan) -> None:
    assert {plan.tile(number).shape for number in range(len(plan))} == {(22, 18)}


def test_a_plan_comes_back_from_its_json(plan: Plan) -> None:
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.fingerprint == plan.fingerprint
    assert plan.differing(again) == {}


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("batch", {"batch": 5}),
    ("kernels.0", {"kernels": ("direct",)}),
    ("output", {"output": "labels"}),
    ("preprocess.mean.1", {"preprocess": {"scale": 255.0, "mean": [0.5, 0.4, 0.5]}}),
    ("promise", {"promise": "patch"}),
    ("source.digest", {"source": {"kind": "array", "digest": "1"}}),
    ("threads", {"threads": 2}),
    ("versions.torch", {"versions": {"torch": "3"}}),
    ("weights", {"weights": "of another training"}),
]


@pytest.mark.parametrize(("path", "change"), CHANGES)
def test_another_plan_has_another_fingerprint_and_says_why(
    plan: Plan, path: str, change: dict[str, Any]
) -> None:
    other = replace(plan, **change)
    assert other.fingerprint != plan.fingerprint
    assert [*plan.differing(other)] == [*other.differing(plan)] == [path]


def test_another_tile_size_is_named_by_its_axis(plan: Plan) -> None:
    other = replace(plan, axes=(plan.axes[0], axis(64, 32)))
    assert [*plan.differing(other)] == ["axes.1.core", "axes.1.length"]
    assert plan.differing(other)["axes.1.core"] == (plan.axes[1].core, 32)
    assert plan.differing(replace(plan, source={}))["source.kind"][1] is ABSENT


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("axes", [{"size": 1}]),
        ("axes", "none"),
        ("batch", "4"),
        ("batch", True),
        ("batch", 0),
        ("output", "pictures"),
        ("promise", "all"),
        ("source", []),
        ("weights", 7),
        ("surprise", 1),
    ],
)
def test_a_damaged_plan_is_refused(plan: Plan, field: str, value: Any) -> None:
    data = plan.to_json() | {field: value}
    with pytest.raises(FormatError, match="a field is missing, unknown or wrong"):
        Plan.from_json(json.loads(json.dumps(data)))


def test_a_damaged_axis_is_refused(plan: Plan) -> None:
    for change in ({"stride": [1, 0]}, {"stride": [1.5, 1]}, {"core": 2.0}, {"length": 1}):
        data = plan.to_json()
        data["axes"][0] = data["axes"][0] | change
        with pytest.raises(FormatError, match="a field is missing, unknown or wrong"):
            Plan.from_json(data)


def test_what_is_no_plan_is_refused(plan: Plan) -> None:
    for data in ([], {}, plan.to_json() | {"version": 2}):
        with pytest.raises(FormatError, match="is not a convsmith scan plan of version 1"):
            Plan.from_json(data)


def test_a_plan_needs_axes_and_counts(plan: Plan) -> None:
    with pytest.raises(ShapeError, match="0 axes must be 1 to 3"):
        replace(plan, axes=())
    with pytest.raises(ShapeError, match="axes must be 1 to 3, and"):
        replace(plan, batch=0)
    with pytest.raises(ShapeError, match="there is no tile 12 among 12"):
        plan.tile(12)
