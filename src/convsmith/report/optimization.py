# SPDX-License-Identifier: Apache-2.0
"""What `optimize` did, for a terminal: before and after, the certificates, what was left alone."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from convsmith.report.tables import table

_REFUSALS_SHOWN = 8


def optimization(report: Mapping[str, Any]) -> RenderableType:
    """The report of `optimize` (its `to_json()`) as tables and sentences."""
    return Group(*_parts(report))


def _parts(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    before, after = report["before"], report["after"]
    rows = [
        (label, *(write(side[key]) for side in (before, after)), _change(key, before, after))
        for key, label, write in (
            ("ms", "time a batch (ms)", lambda ms: f"{ms:.2f}"),
            ("macs", "MACs", lambda macs: f"{macs:,}"),
            ("parameters", "parameters", lambda count: f"{count:,}"),
            ("top1", "right at first guess", lambda right: f"{right} of {before['images']}"),
            ("top5", "right within five", lambda right: f"{right} of {before['images']}"),
        )
        if before.get(key) is not None
    ]
    yield table(["", ">before", ">after", ">"], rows)
    yield Text(
        f"  largest output difference {report['max_abs_error']:.3g} "
        f"(relative {report['max_rel_error']:.3g})"
    )
    yield from _certificates(report["certificates"])
    yield from _refusals(report["refused"])
    for note in report["notes"]:
        yield Padding(Text(f"• {note}"), (0, 0, 0, 2))


def _change(key: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if key == "ms" and after["ms"]:
        return f"{before['ms'] / after['ms']:.2f}x"
    if key in ("macs", "parameters") and before[key] != after[key]:
        return f"{(after[key] - before[key]) / before[key]:+.2%}"
    return ""


def _certificates(certificates: list[Mapping[str, Any]]) -> Iterator[RenderableType]:
    if not certificates:
        yield Text("\n  No rewrite applied: the network is returned as it was captured.")
        return
    rows = [
        (c["rule"], ", ".join(c["where"]), c["kind"], f"{c['proof_error']:.1e}")
        for c in certificates
    ]
    yield table(["rule", "where", "kind", ">error in float64"], rows, title="  Certificates")


def _refusals(refused: list[Mapping[str, Any]]) -> Iterator[RenderableType]:
    if not refused:
        return
    rows = [(r["rule"], ", ".join(r["where"]), r["why"]) for r in refused[:_REFUSALS_SHOWN]]
    yield table(["rule", "where", "why"], rows, title="  Left alone")
    unseen = Counter(r["rule"] for r in refused[_REFUSALS_SHOWN:])
    for rule, count in unseen.items():
        yield Text(f"  ... and {count} more of {rule} (all of them in --json)")
