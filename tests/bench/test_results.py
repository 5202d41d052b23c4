# SPDX-License-Identifier: Apache-2.0
"""The file of a run: what is written is read back, and what follows from it is right."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from convsmith import native
from convsmith.bench import Machine, Results, Row, Time, describe, load
from convsmith.errors import ArgumentError, FormatError


def time(ms: float) -> Time:
    return Time(median_ms=ms, low_ms=ms * 0.5, high_ms=ms * 2)


def row(name: str, macs: int, *, replaces: str | None = None, **ms: float) -> Row:
    return Row(
        name=name,
        group="g",
        input_shape=(1, 2, 3, 4),
        macs=macs,
        bytes=4_000_000,
        replaces=replaces,
        rounds=11,
        times={contender: time(value) for contender, value in ms.items()},
        errors={"other": "wrong"},
    )


def results(*rows: Row, **more: Any) -> Results:
    machine = Machine(
        cpu="A CPU (R) 3000",
        cores=2,
        system="Linux x86_64",
        python="3.11.0",
        packages={"torch": "2.13.0"},
        native_target="avx2",
        load=0.5,
        fma_gflops=125.0,
        sgemm_gflops=100.0,
        copy_gb_per_s=20.0,
    )
    facts: dict[str, Any] = {"date": "2026-11-23T01:02:03+00:00", "threads": 2, "rounds": 11}
    facts |= {"machine": machine, "quick": False, "absent": {"OpenVINO": "needs openvino"}}
    return Results(**(facts | more), rows=rows)


DENSE = row("dense", 100_000_000, torch=8.0, onnx=6.0, convsmith=4.0)
CHEAP = row("cheap", 10_000_000, replaces="dense", torch=2.0, convsmith=0.8)


def test_ratios_and_shares() -> None:
    columns = results(DENSE, CHEAP).columns(DENSE)
    assert columns["best_peer"] == "onnx"
    assert columns["ratio"] == pytest.approx(1.5)
    assert columns["ratio_between"] == pytest.approx((3 / 8, 12 / 2))
    assert columns["gflops"] == pytest.approx(50)
    assert columns["share_of_peak"] == pytest.approx(0.4)
    assert columns["gb_per_s"] == pytest.approx(1)
    assert columns["share_of_copy"] == pytest.approx(1 / 20)
    assert columns["ratio_strict"] is None
    assert columns["saved_share"] is None


def test_a_machine_without_the_core_has_no_peak() -> None:
    found = results(DENSE)
    bare = found.machine.model_copy(update={"fma_gflops": None})
    columns = found.model_copy(update={"machine": bare}).columns(DENSE)
    assert columns["share_of_peak"] is None
    assert columns["gflops"] == pytest.approx(50)


def test_time_saved_over_macs_saved() -> None:
    both = results(DENSE, CHEAP)
    assert both.saved_share(CHEAP) == pytest.approx((4.0 / 0.8) / 10)
    assert both.columns(CHEAP)["saved_share_strict"] is None
    assert results(CHEAP).saved_share(CHEAP) is None


def test_time_saved_is_told_against_either_way_to_run_the_dense_one() -> None:
    strict = {"convsmith, strict": 9.0, "convsmith, strict, channels_last": 7.0}
    both = results(row("dense", 100_000_000, torch=8.0, convsmith=4.0, **strict), CHEAP)
    columns = both.columns(CHEAP)
    assert columns["saved_share"] == pytest.approx((4.0 / 0.8) / 10)
    assert columns["saved_share_strict"] == pytest.approx((7.0 / 0.8) / 10)
    assert both.columns(both.rows[0])["ratio_strict"] == pytest.approx(8 / 7)


def test_the_faster_layout_counts_on_both_sides() -> None:
    last = {"torch channels_last": 2.0, "convsmith, channels_last": 1.0}
    found = row("a", 1, torch=3.0, convsmith=1.5, **last)
    assert (found.ours, found.best_peer) == ("convsmith, channels_last", "torch channels_last")
    assert found.ratio() == pytest.approx(2.0)
    assert found.ratio_between == pytest.approx((0.5, 8.0))


def test_groups_have_geometric_means() -> None:
    slower = row("slower", 1, torch=1.0, convsmith=2.0)
    alone = row("alone", 1, convsmith=2.0)
    assert results(DENSE, slower, alone).groups() == [
        {"group": "g", "cases": 2, "mean": pytest.approx(0.75**0.5), "least": 0.5}
    ]


def test_newer_rows_replace_and_follow_their_group() -> None:
    other = row("other", 1).model_copy(update={"group": "h"})
    again, new = row("dense", 2, torch=1.0), row("new", 3)
    joined = results(DENSE, other, CHEAP).joined(results(new, again, rounds=5))
    assert joined.rows == (again, CHEAP, new, other)
    assert joined.rounds == 5


@pytest.mark.parametrize(
    ("what", "words"),
    [("cpu", "cpu was A CPU (R) 3000 and is B"), ("packages", "packages was {'torch': '2.13.0'}")],
)
def test_rows_of_two_machines_are_not_joined(what: str, words: str) -> None:
    found = results(DENSE)
    changed = found.machine.model_copy(update={what: {} if what == "packages" else "B"})
    with pytest.raises(ArgumentError, match=re.escape(words) + ".*give another file"):
        found.joined(found.model_copy(update={"machine": changed}))
    with pytest.raises(ArgumentError, match="threads was 2 and is 1"):
        found.joined(results(threads=1))


def test_what_is_missing_is_none() -> None:
    peers_alone, ours_alone = row("a", 1, torch=1.0), row("b", 1, convsmith=1.0)
    assert set(results(peers_alone).columns(peers_alone).values()) == {"torch", None}
    assert ours_alone.ratio() is None
    assert ours_alone.best_peer is None
    assert ours_alone.gflops == pytest.approx(2e-6)


def test_our_other_way_to_run_is_no_peer() -> None:
    found = row("a", 1, **{"convsmith, layers as they are": 0.1, "torch": 3.0, "convsmith": 1.0})
    assert (found.best_peer, found.ratio()) == ("torch", pytest.approx(3.0))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    found = results(DENSE, CHEAP)
    path = found.free_path(tmp_path / "new")
    assert path.name == "2026-11-23-a-cpu-r-3000-2t.json"
    results().write(path)
    found.write(path)
    assert load(path) == found
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    written = json.loads(path.read_text())
    assert (written["format"], written["version"]) == ("convsmith-bench", 2)
    assert written["rows"][0]["columns"]["ratio"] == pytest.approx(1.5)
    assert found.free_path(tmp_path / "new").name == "2026-11-23-a-cpu-r-3000-2t-2.json"


@pytest.mark.parametrize("change", [{"version": 1}, {"format": "other"}, {"rows": [{}]}])
def test_other_files_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(results(DENSE).to_json() | change))
    with pytest.raises(
        FormatError, match=rf"r.json is no result of version 2: {next(iter(change))}"
    ):
        load(path)


def test_this_machine_is_described() -> None:
    machine = describe(1, quick=True)
    assert machine.cpu
    assert {"convsmith", "torch"} <= machine.packages.keys()
    assert machine.sgemm_gflops > 0
    assert (machine.fma_gflops is not None) == native.available()
    assert machine.copy_gb_per_s > 0
