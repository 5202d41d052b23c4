# SPDX-License-Identifier: Apache-2.0
"""The text of an optimization: what is shown, and that names cannot inject markup."""

from io import StringIO
from typing import Any

from rich.console import Console

from convsmith.report import optimization


def text_of(report: dict[str, Any], width: int = 100) -> str:
    console = Console(width=width, record=True, file=StringIO())
    console.print(optimization(report))
    return console.export_text()


def report(**changes: Any) -> dict[str, Any]:
    side = {
        "ms": 4.0,
        "ms_quartiles": [3.5, 4.5],
        "macs": 1000,
        "parameters": 200,
        "top1": 36,
        "top5": 39,
        "images": 40,
    }
    return {
        "before": side,
        "after": {**side, "ms": 2.0, "ms_quartiles": [1.9, 2.1], "parameters": 190},
        "max_abs_error": 1e-6,
        "max_rel_error": 2e-7,
        "certificates": [
            {"rule": "fold", "where": ["conv1", "bn1"], "kind": "exact", "proof_error": 1e-15}
        ],
        "refused": [],
        "notes": ["inputs are random"],
        "settings": {"timed_rounds": 7},
        "machine": {"cpu": "a processor", "threads": 2},
        "plan": None,
        **changes,
    }


def test_before_and_after_stand_side_by_side() -> None:
    text = text_of(report())
    assert "4.00 (3.50 to 4.50)" in text
    assert "2.00x" in text
    assert "median of 7 rounds" in text
    assert "36 of 40" in text
    assert "-5.00%" in text
    assert "conv1, bn1" in text
    assert "inputs are random" in text


def test_no_speed_up_is_claimed_where_times_overlap() -> None:
    before = report()["before"]
    text = text_of(report(after={**before, "ms": 3.6, "ms_quartiles": [3.2, 4.0]}))
    assert "within noise" in text
    assert "x" not in text.split("within noise")[0].split("4.00")[1]


def test_without_timing_no_time_is_shown() -> None:
    side = {**report()["before"], "ms": None, "ms_quartiles": None}
    assert "median of" not in text_of(report(before=side, after=side))


def test_without_labels_no_accuracy_is_shown() -> None:
    side = {**report()["before"], "top1": None, "top5": None}
    text = text_of(report(before=side, after=side))
    assert "guess" not in text


def test_no_certificates_is_said() -> None:
    assert "No rewrite applied" in text_of(report(certificates=[]))


def test_long_lists_of_refusals_are_counted() -> None:
    refused = [{"rule": "merge", "where": [f"layer{i}"], "why": "padding"} for i in range(20)]
    text = text_of(report(refused=refused))
    assert "layer7" in text
    assert "layer8" not in text
    assert "12 more of merge" in text


def test_markup_in_a_name_is_only_text() -> None:
    certificate = {"rule": "r", "where": ["[red]x[/red]"], "kind": "exact", "proof_error": 0.0}
    assert "[red]x[/red]" in text_of(report(certificates=[certificate], notes=["[bold]n"]))


def test_nothing_is_wider_than_the_terminal() -> None:
    refused = [{"rule": "merge", "where": ["a.b" * 40], "why": "because " * 40}]
    assert max(map(len, text_of(report(refused=refused)).splitlines())) <= 100


def choice(**changes: Any) -> dict[str, Any]:
    return {
        "where": ["conv1"],
        "what": "3x3 8->8, relu",
        "kernel": "direct",
        "why": "1 ms; next is torch with 2 ms",
        "ms": {"direct": 1.0, "torch": 2.0, "torch, contiguous": 3.0},
        **changes,
    }


def test_a_network_left_to_torch_says_so() -> None:
    assert "Every convolution is left to torch" in text_of(report())


def test_layers_of_one_kind_share_a_row() -> None:
    pair = choice(
        where=["a", "b"], what="3x3 + 1x1", kernel="both", why="0.5 ms; one by one they take 1 ms"
    )
    other = choice(what="5x5", kernel="torch", ms={}, why="the fixed rule")
    plan = {"choices": [choice(), choice(where=["conv2"]), pair | {"ms": {"both": 0.5}}, other]}
    text = text_of(report(plan=plan | {"layout_changes": 1}))
    (line,) = [line for line in text.splitlines() if "3x3 8->8, relu" in line]
    assert line.split() == ["2x", "3x3", "8->8,", "relu", "direct", "1", "torch:", "2"]
    assert "one by one they take 1 ms" in text
    assert "the fixed rule" in text
    assert "changes 1 time\n" in text


def test_many_kinds_of_layers_are_counted() -> None:
    choices = [choice(what=f"kind {i}") for i in range(40)]
    text = text_of(report(plan={"choices": choices, "layout_changes": 3}))
    assert "kind 29" in text
    assert "kind 30" not in text
    assert "10 more kinds" in text
