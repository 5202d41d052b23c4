# SPDX-License-Identifier: Apache-2.0
"""What a run of the bench says in a terminal and as a chart."""

from io import StringIO
from typing import Any

from rich.console import Console

from convsmith.report import comparison, comparison_chart


def results(**more: Any) -> dict[str, Any]:
    """A run of one case, as `Results.to_json` writes it."""
    columns = {"ours": "convsmith", "best_peer": "torch", "ratio": 1.25, "gflops": 43.21}
    columns |= {"ratio_between": [1.0, 1.5], "ratio_strict": 1.125, "share_of_peak": 0.5}
    columns |= {"share_of_copy": None, "saved_share": 0.87, "saved_share_strict": None}
    row = {"name": "dense [bold]", "group": "g", "macs": 12_300_000, "columns": columns}
    row |= {"bytes": 6_540_000, "replaces": "denser", "rounds": 11}
    times = {"torch": 2.5, "convsmith": 2.0, "convsmith, strict": 2.22}
    row |= {"times": {name: {"median_ms": ms} for name, ms in times.items()}}
    row |= {"errors": {"OpenVINO": "wrong: shape"}}
    machine = {"cpu": "A CPU", "native_target": "avx2", "packages": {"torch": "2.13"}}
    machine |= {"fma_gflops": 99.9, "sgemm_gflops": 86.4, "copy_gb_per_s": 31.0}
    found = {"date": "2026-11-23T00:00:00", "threads": 1, "rounds": 11, "quick": False}
    return found | {
        "machine": machine,
        "absent": {"ONNX Runtime": "why not"},
        "rows": [row],
        "groups": [{"group": "g", "cases": 3, "mean": 1.777, "least": 1.111}],
        **more,
    }


def printed(data: dict[str, Any]) -> str:
    console = Console(file=StringIO(), width=120)
    console.print(comparison(data))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_terminal_shows_ratios_first() -> None:
    text = printed(results())
    assert text.index("1.25") < text.index("43.2")
    assert "dense [bold]" in text
    for part in ("2.5", "12.3", "6.54", "50%", "1.00 to 1.50", "2.22", "denser", "0.87", "1.78"):
        assert part in text
    for part in ("one thread, medians of 11 rounds", "A CPU (avx2), peak 100, sgemm 86 GFLOP/s"):
        assert part in text
    assert "ONNX Runtime was not there: why not" in text
    assert "dense [bold]: OpenVINO: wrong: shape" in text
    assert "rehearsal" not in text


def test_a_rehearsal_is_called_one() -> None:
    assert "these times say nothing about speed" in printed(results(quick=True))


def test_the_chart_has_a_bar_for_each_row() -> None:
    data = results(threads=2)
    chart = comparison_chart(data)
    assert chart.count('class="ahead"') == 1
    assert "2 threads" in chart
    assert "86 GFLOP/s" in chart
    assert chart.count('class="mark"') == 1
    assert "◇ math=strict" in chart


def test_what_is_absent_is_not_mentioned() -> None:
    data = results()
    data["rows"][0]["columns"] |= {"ratio_strict": None, "saved_share": None}
    data["machine"]["fma_gflops"] = None
    assert "strict" not in comparison_chart(data)
    text = printed(data)
    assert "denser" not in text
    assert "peak 1" not in text


def test_the_least_and_most_rounds_are_told() -> None:
    data = results()
    data["rows"] += [{**data["rows"][0], "rounds": 7}]
    assert "medians of 7 to 11 rounds" in printed(data)
    assert "medians of 0 rounds" in printed(results(rows=[]))


def test_a_row_without_our_time_says_so() -> None:
    data = results()
    data["rows"][0]["columns"] |= {"ours": None, "ratio": None, "ratio_strict": None}
    assert "no time of convsmith" in comparison_chart(data)
