# SPDX-License-Identifier: Apache-2.0
"""A run of `convsmith bench`: ratios first, for a terminal and as a chart."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from convsmith.report.ratio_chart import Bar, ratio_chart
from convsmith.report.tables import table

Results = Mapping[str, Any]

OURS = "convsmith"
_RATIOS = ("case", ">ratio", ">ms", "best peer", ">its ms")
_WORK = ("case", ">10⁶ MACs", ">GFLOP/s", ">of sgemm", ">of copy", ">saved")


def comparison(results: Results) -> RenderableType:
    """The results of a run (their `to_json()`) as a table and sentences."""
    return Group(*_parts(results))


def comparison_chart(results: Results) -> str:
    """The same as a chart: a bar for each case, as SVG."""
    bars = [
        Bar(
            label=row["name"],
            group=row["group"],
            ratio=row["columns"]["ratio"],
            between=row["columns"]["ratio_between"],
            note=_note(row),
        )
        for row in results["rows"]
    ]
    return ratio_chart(
        bars,
        title="How many times faster than the best peer",
        subtitle=f"Right of the line at 1 convsmith is faster; {_how(results)}",
        footnote=_where(results),
    )


def _note(row: Mapping[str, Any]) -> str:
    """Whose time the ratio is of, or what is missing for a ratio."""
    if OURS not in row["times"]:
        return f"no time of {OURS}"
    return row["columns"]["best_peer"] or "no time of a peer"


def _parts(results: Results) -> Iterator[RenderableType]:
    yield table(_RATIOS, [_ratio(row) for row in results["rows"]], title="  Time")
    yield table(_WORK, [_work(row) for row in results["rows"]], title="  Work of convsmith")
    yield Text(f"  {_how(results)}\n  {_where(results)}", style="dim")
    notes = [f"{peer} was not there: {why}" for peer, why in results["absent"].items()]
    notes += [
        f"{row['name']}: {contender}: {why}"
        for row in results["rows"]
        for contender, why in row["errors"].items()
    ]
    if results["quick"]:
        notes.append("a rehearsal on small sizes: these times say nothing about speed")
    yield from (Padding(Text(f"• {note}"), (0, 0, 0, 2)) for note in notes)


def _ratio(row: Mapping[str, Any]) -> list[str | None]:
    columns, times = row["columns"], row["times"]
    return [
        row["name"],
        _number(columns["ratio"], ".2f"),
        _milliseconds(times.get(OURS)),
        columns["best_peer"],
        _milliseconds(times.get(columns["best_peer"])),
    ]


def _work(row: Mapping[str, Any]) -> list[str | None]:
    columns = row["columns"]
    return [
        row["name"],
        f"{row['macs'] / 1e6:.1f}",
        _number(columns["gflops"], ".1f"),
        _number(columns["share_of_sgemm"], ".0%"),
        _number(columns["share_of_copy"], ".0%"),
        _number(columns["saved_share"], ".2f"),
    ]


def _number(value: float | None, form: str) -> str | None:
    return None if value is None else format(value, form)


def _milliseconds(time: Mapping[str, float] | None) -> str | None:
    return None if time is None else f"{time['median_ms']:.3g}"


def _how(results: Results) -> str:
    threads = "one thread" if results["threads"] == 1 else f"{results['threads']} threads"
    return f"{threads}, medians of {results['rounds']} rounds in turns"


def _where(results: Results) -> str:
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"{results['date'][:10]}, {machine['cpu']} ({machine['native_target']}), "
        f"sgemm {machine['sgemm_gflops']:.0f} GFLOP/s, copy {machine['copy_gb_per_s']:.0f} GB/s; "
        f"{versions}"
    )
