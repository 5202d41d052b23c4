# SPDX-License-Identifier: Apache-2.0
"""What `optimize` did, for a terminal: before and after, the certificates, what was left alone."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from convsmith.report.tables import table

Side = Mapping[str, Any]

_REFUSALS_SHOWN, _KINDS_SHOWN = 8, 30


def optimization(report: Mapping[str, Any]) -> RenderableType:
    """The report of `optimize` (its `to_json()`) as tables and sentences."""
    return Group(*_parts(report))


def _parts(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    before, after = report["before"], report["after"]
    rows = [
        (label, write(before), write(after), change(before, after))
        for key, label, write, change in _LINES
        if before[key] is not None
    ]
    yield table(["", ">before", ">after", ">"], rows)
    if before["ms"] is not None:
        yield Text(
            f"  times: median of {report['settings']['timed_rounds']} rounds in turns, and their "
            f"middle half; {report['machine']['cpu']}, {report['machine']['threads']} threads",
            style="dim",
        )
    yield Text(
        f"  largest output difference {report['max_abs_error']:.3g} "
        f"(relative {report['max_rel_error']:.3g})"
    )
    yield from _certificates(report["certificates"])
    yield from _plan(report["plan"])
    yield from _refusals(report["refused"])
    for note in report["notes"]:
        yield Padding(Text(f"• {note}"), (0, 0, 0, 2))


def _time(side: Side) -> str:
    low, high = side["ms_quartiles"]
    return f"{side['ms']:.2f} ({low:.2f} to {high:.2f})"


def _speed_up(before: Side, after: Side) -> str:
    """How many times faster; nothing is claimed where the middle halves of the times overlap."""
    (low, high), (after_low, after_high) = before["ms_quartiles"], after["ms_quartiles"]
    if low <= after_high and after_low <= high:
        return "within noise"
    return f"{before['ms'] / after['ms']:.2f}x"


def _count(key: str) -> Callable[[Side], str]:
    return lambda side: f"{side[key]:,}"


def _growth(key: str) -> Callable[[Side, Side], str]:
    def growth(before: Side, after: Side) -> str:
        return "" if before[key] == after[key] else f"{after[key] / before[key] - 1:+.2%}"

    return growth


def _right(key: str) -> Callable[[Side], str]:
    return lambda side: f"{side[key]} of {side['images']}"


# Key, label, how a side is written, how the change is.
_LINES: tuple[tuple[str, str, Callable[[Side], str], Callable[[Side, Side], str]], ...] = (
    ("ms", "time (ms)", _time, _speed_up),
    ("macs", "MACs", _count("macs"), _growth("macs")),
    ("parameters", "parameters", _count("parameters"), _growth("parameters")),
    ("top1", "right at first guess", _right("top1"), lambda before, after: ""),
    ("top5", "right within five", _right("top5"), lambda before, after: ""),
)


def _certificates(certificates: list[Mapping[str, Any]]) -> Iterator[RenderableType]:
    if not certificates:
        yield Text("\n  No rewrite applied: the network is returned as it was captured.")
        return
    rows = [
        (c["rule"], ", ".join(c["where"]), c["kind"], f"{c['proof_error']:.1e}")
        for c in certificates
    ]
    yield table(["rule", "where", "kind", ">error in float64"], rows, title="  Certificates")


def _plan(plan: Mapping[str, Any] | None) -> Iterator[RenderableType]:
    """How the layers are computed; those of one kind share a row."""
    if plan is None:
        yield Text("\n  Every convolution is left to torch.")
        return
    kinds: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for choice in plan["choices"]:
        kinds.setdefault((choice["kernel"], choice["what"]), []).append(choice)
    rows = [
        (f"{len(alike)}x", what, kernel, *_candidate_times(kernel, alike))
        for (kernel, what), alike in list(kinds.items())[:_KINDS_SHOWN]
    ]
    columns = [">", "layers", "computed by", ">ms", "instead of"]
    yield table(columns, rows, title="  Kernels")
    if len(kinds) > _KINDS_SHOWN:
        yield Text(f"  ... and {len(kinds) - _KINDS_SHOWN} more kinds (all of them in --json)")
    count = plan["layout_changes"]
    yield Text(f"  the memory order of images changes {count} time{'s' if count != 1 else ''}")


def _candidate_times(kernel: str, alike: list[Mapping[str, Any]]) -> tuple[str, str]:
    """The chosen kernel's time, and the next best candidate with its own (or the reason)."""
    times = alike[0]["ms"]
    if not times:
        return "", alike[0]["why"]
    others = {name: ms for name, ms in times.items() if name != kernel}
    if len(alike[0]["where"]) > 1 or not others:
        return f"{times[kernel]:.3g}", alike[0]["why"].partition("; ")[2]
    second = min(others, key=lambda name: others[name])
    return f"{times[kernel]:.3g}", f"{second}: {others[second]:.3g}"


def _refusals(refused: list[Mapping[str, Any]]) -> Iterator[RenderableType]:
    if not refused:
        return
    rows = [(r["rule"], ", ".join(r["where"]), r["why"]) for r in refused[:_REFUSALS_SHOWN]]
    yield table(["rule", "where", "why"], rows, title="  Left alone")
    unseen = Counter(r["rule"] for r in refused[_REFUSALS_SHOWN:])
    for rule, count in unseen.items():
        yield Text(f"  ... and {count} more of {rule} (all of them in --json)")
