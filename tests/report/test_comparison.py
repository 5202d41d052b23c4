# SPDX-License-Identifier: Apache-2.0
"""What a run of the bench says in a terminal and as a chart."""

from io import StringIO
from typing import Any

from rich.console import Console

from convsmith.report import comparison, comparison_chart


def results(**more: Any) -> dict[str, Any]:
    """A run of one case, as `Results.to_json` writes it."""
    columns = {"best_peer": "torch", "ratio": 1.25, "ratio_between": [1.0, 1.5], "gflops": 43.21}
    columns |= {"share_of_sgemm": 0.5, "share_of_copy": None, "saved_share": 0.87}
    row = {"name": "dense [bold]", "group": "g", "macs": 12_300_000, "columns": columns}
    row |= {"times": {"torch": {"median_ms": 2.5}, "convsmith": {"median_ms": 2.0}}}
    row |= {"errors": {"OpenVINO": "wrong: shape"}}
    machine = {"cpu": "A CPU", "native_target": "avx2", "packages": {"torch": "2.13"}}
    machine |= {"sgemm_gflops": 86.4, "copy_gb_per_s": 31.0}
    found = {"date": "2026-11-23T00:00:00", "threads": 1, "rounds": 11, "quick": False}
    return found | {
        "machine": machine,
        "absent": {"ONNX Runtime": "why not"},
        "rows": [row],
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
    for part in ("2.5", "12.3", "50%", "0.87", "one thread, medians of 11 rounds", "A CPU (avx2)"):
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


def test_a_row_without_our_time_says_so() -> None:
    data = results()
    data["rows"][0]["times"].pop("convsmith")
    data["rows"][0]["columns"]["ratio"] = None
    assert "no time of convsmith" in comparison_chart(data)
