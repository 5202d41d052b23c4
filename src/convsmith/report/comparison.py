# SPDX-License-Identifier: Apache-2.0
"""A run of `convsmith bench`: ratios first, for a terminal and as a chart."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from convsmith.report.ratio_chart import Bar, ratio_chart
from convsmith.report.tables import table

Results = Mapping[str, Any]

OURS = "convsmith"
_RATIOS = ("case", ">ratio", ">between", ">ms", "best peer", ">its ms")
_WORK = ("case", ">10⁶ MACs", ">GFLOP/s", ">of peak", ">MB", ">of copy")
_SAVED = ("case", "instead of", ">saved", ">saved, strict")
_GROUPS = ("group", ">cases", ">mean ratio", ">least")


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
            mark=row["columns"]["ratio_strict"],
            note=_note(row),
        )
        for row in results["rows"]
    ]
    strict = "; ◇ math=strict" if any(bar.mark for bar in bars) else ""
    return ratio_chart(
        bars,
        title="How many times faster than the best peer",
        subtitle=f"Right of the line at 1 convsmith is faster{strict}; {_how(results)}",
        footnote=_where(results),
    )


def _note(row: Mapping[str, Any]) -> str:
    """Whose time the ratio is of, or what is missing for a ratio."""
    if row["columns"]["ours"] is None:
        return f"no time of {OURS}"
    return row["columns"]["best_peer"] or "no time of a peer"


def _parts(results: Results) -> Iterator[RenderableType]:
    rows = results["rows"]
    yield table(_RATIOS, map(_ratio, rows), title="  Time")
    yield _ways(rows)
    yield table(_WORK, map(_work, rows), title="  Work of convsmith")
    if saved := [row for row in rows if row["columns"]["saved_share"] is not None]:
        yield table(_SAVED, map(_saved, saved), title="  Time saved over MACs saved")
    yield table(_GROUPS, map(_group, results["groups"]), title="  Geometric means")
    yield Text(f"  {_how(results)}\n  {_where(results)}", style="dim")
    notes = [f"{peer} was not there: {why}" for peer, why in results["absent"].items()]
    notes += [
        f"{row['name']}: {contender}: {why}"
        for row in rows
        for contender, why in row["errors"].items()
    ]
    if results["quick"]:
        notes.append("a rehearsal on small sizes: these times say nothing about speed")
    yield from (Padding(Text(f"• {note}"), (0, 0, 0, 2)) for note in notes)


def _ratio(row: Mapping[str, Any]) -> list[str | None]:
    columns, times = row["columns"], row["times"]
    between = columns["ratio_between"]
    return [
        row["name"],
        _number(columns["ratio"], ".2f"),
        between and f"{between[0]:.2f} to {between[1]:.2f}",
        _milliseconds(times.get(columns["ours"])),
        columns["best_peer"],
        _milliseconds(times.get(columns["best_peer"])),
    ]


def _ways(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Milliseconds of the ways to run convsmith."""
    names = list(dict.fromkeys(n for row in rows for n in row["times"] if n.startswith(OURS)))
    lines = ([row["name"], *(_milliseconds(row["times"].get(n)) for n in names)] for row in rows)
    heads = (f">{name.removeprefix(f'{OURS}, ')}" for name in names)
    return table(("case", *heads), lines, title="  Milliseconds of convsmith")


def _work(row: Mapping[str, Any]) -> list[str | None]:
    columns = row["columns"]
    return [
        row["name"],
        f"{row['macs'] / 1e6:.1f}",
        _number(columns["gflops"], ".1f"),
        _number(columns["share_of_peak"], ".0%"),
        f"{row['bytes'] / 1e6:.2f}",
        _number(columns["share_of_copy"], ".0%"),
    ]


def _saved(row: Mapping[str, Any]) -> list[str | None]:
    columns = row["columns"]
    shares = (_number(columns[share], ".2f") for share in ("saved_share", "saved_share_strict"))
    return [row["name"], row["replaces"], *shares]


def _group(group: Mapping[str, Any]) -> list[str]:
    return [
        group["group"],
        f"{group['cases']}",
        f"{group['mean']:.2f}",
        f"{group['least']:.2f}",
    ]


def _number(value: float | None, form: str) -> str | None:
    return None if value is None else format(value, form)


def _milliseconds(time: Mapping[str, float] | None) -> str | None:
    return None if time is None else f"{time['median_ms']:.3g}"


def _how(results: Results) -> str:
    threads = "one thread" if results["threads"] == 1 else f"{results['threads']} threads"
    rounds = sorted({row["rounds"] for row in results["rows"]})
    spread = f"{rounds[0]} to {rounds[-1]}" if len(rounds) > 1 else f"{(rounds or [0])[0]}"
    return f"{threads}, medians of {spread} rounds in turns"


def _where(results: Results) -> str:
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    fma = machine["fma_gflops"]
    peak = f"peak {fma:.0f}, " if fma else ""
    return (
        f"{results['date'][:10]}, {machine['cpu']} ({machine['native_target']}), "
        f"{peak}sgemm {machine['sgemm_gflops']:.0f} GFLOP/s, "
        f"copy {machine['copy_gb_per_s']:.0f} GB/s; {versions}"
    )
