# SPDX-License-Identifier: Apache-2.0
"""`convsmith bench` in rehearsal: what it prints, writes and keeps when it is stopped."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from convsmith import bench
from convsmith.bench import load
from convsmith.cli import main

CASE = "depthwise 3x3 128, 56x56"


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["convsmith", "bench", *map(str, words)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_a_rehearsal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, CASE, "--quick", "--json", "--rounds", 2) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    (row,) = found["rows"]
    assert row["name"] == f"small {CASE}"
    assert row["columns"]["ratio"] > 0
    assert {"torch", "torch channels_last", "convsmith"} <= row["times"].keys()
    assert {"ONNX Runtime", "OpenVINO"} <= found["absent"].keys()
    assert "1 of 1" in err
    assert not list(tmp_path.iterdir()), "a rehearsal writes nothing unless asked to"


def test_results_and_chart_are_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, CASE, "--quick", "--quiet", "--rounds", 2, "--out", tmp_path) == 0
    (path,) = tmp_path.glob("*.json")
    assert [row.name for row in load(path).rows] == [f"small {CASE}"]
    assert path.with_suffix(".svg").read_text().startswith("<svg")
    out, err = capsys.readouterr()
    assert "ratio" in out
    assert "written" in err


def test_rows_are_added_to_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    for name in (CASE, "lenet5", CASE):
        assert run(monkeypatch, name, "--quick", "--quiet", "--rounds", 2, "--out", path) == 0
    assert [row.name for row in load(path).rows] == [f"small {CASE}", "small lenet5"]
    assert path.with_suffix(".svg").read_text().count(">small ") == 2


def test_a_file_of_other_conditions_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "all.json"
    assert run(monkeypatch, "lenet5", "--quick", "--quiet", "--rounds", 2, "--out", path) == 0
    monkeypatch.setattr(bench, "measure", None)
    assert run(monkeypatch, "lenet5", "--quick", "--threads", 2, "--out", path) == 2
    assert "threads was 1 and is 2" in capsys.readouterr().err


def test_stopping_keeps_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    measure, measured = bench.measure, []

    def stopped_at_the_second(case: bench.Case, *args: Any, **options: Any) -> bench.Row:
        measured.append(case.name)
        if len(measured) > 1:
            raise KeyboardInterrupt
        return measure(case, *args, **options)

    monkeypatch.setattr(bench, "measure", stopped_at_the_second)
    assert run(monkeypatch, "depthwise", "--quick", "--rounds", 2, "--out", tmp_path) == 1
    (path,) = tmp_path.glob("*.json")
    assert [row.name for row in load(path).rows] == measured[:1]
    assert "stopped after 1 of 9 cases" in capsys.readouterr().err


def test_an_unknown_pattern_is_a_wrong_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "nothing") == 2
    assert "no case or group is called 'nothing'" in capsys.readouterr().err
