# SPDX-License-Identifier: Apache-2.0
"""What `analyze` found, for a terminal: layers folded by module, totals, cone and findings."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from convsmith.report.tables import table

Data = Mapping[str, Any]

_MOST_ROWS = 48
_NAME, _WHAT = 30, 22  # columns
_UNITS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
_FINDINGS_SHOWN = 12
# Work that is worth a row of its own; what lies between is summed with its module.
_OWN_ROWS = {"convolution", "linear", "product", "attention", "unknown"}


@dataclass(frozen=True)
class Row:
    """One line: a layer, or all layers of a module."""

    name: str
    layers: tuple[Data, ...]

    def sum(self, key: str) -> int:
        """A number added up over its layers, unknown ones left out."""
        return sum(layer[key] or 0 for layer in self.layers)

    @property
    def what(self) -> str:
        """The kinds of work in it, the most frequent first; of one layer its window, too."""
        if len(self.layers) == 1:
            (layer,) = self.layers
            return (layer["family"] or layer["kind"]) + _window(layer.get("options", {}))
        words = [x["family"] or x["kind"] for x in self.layers if x["kind"] in _OWN_ROWS]
        words = words or [layer["kind"] for layer in self.layers]
        counted = Counter(words).most_common()
        return ", ".join(word if n == 1 else f"{n} {word}" for word, n in counted)


def _window(options: Data) -> str:
    """A kernel with more than one tap, its stride and dilation: " 3x3 /2 d4"."""
    kernel, stride, dilation = map(_row, map(options.get, ("kernel_size", "stride", "dilation")))
    words = f" {_by(kernel)}" if max(kernel) > 1 else ""
    words += f" /{_one(stride)}" if max(stride) > 1 and stride != kernel else ""
    return words + (f" d{_one(dilation)}" if max(dilation) > 1 else "")


def _row(sizes: int | Sequence[int] | None) -> list[int]:
    return [sizes or 1] if isinstance(sizes, int | None) else list(sizes)


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _one(sizes: Sequence[int]) -> str:
    """One number where all are alike."""
    return str(sizes[0]) if len(set(sizes)) == 1 else _by(sizes)


def analysis(found: Data, *, depth: int | None = None) -> RenderableType:
    """An analysis (its `to_json()`) as tables and sentences.

    Args:
        depth: Levels of the module tree that are shown; None takes as many as fit about a screen.
    """
    return Group(*_parts(found, depth))


def analyses(left: Data, right: Data) -> RenderableType:
    """Two analyses side by side: totals, cones and the modules that differ."""
    return Group(*_compared(left, right))


def fold(layers: Sequence[Data], depth: int) -> list[Row]:
    """Neighbouring layers of one module at this depth of the tree as one row.

    >>> layers = [{"module": m, "name": m, "kind": "linear"} for m in ("a.x", "a.y", "b")]
    >>> [row.name for row in fold(layers, 1)], [row.name for row in fold(layers, 2)]
    (['a', 'b'], ['a.x', 'a.y', 'b'])
    """
    rows = []
    for name, group in groupby(layers, lambda layer: ".".join(_path(layer)[:depth])):
        members = tuple(group)
        rows.append(Row(members[0]["name"] if len(members) == 1 else name or "(model)", members))
    return rows


def _path(layer: Data) -> list[str]:
    return layer["module"].split(".") if layer["module"] else []


def _folded(layers: Sequence[Data], depth: int | None) -> list[Row]:
    if depth is not None:
        return fold(layers, depth)
    deepest = max((len(_path(layer)) for layer in layers), default=1)
    choices = (fold(layers, d) for d in range(deepest, 0, -1))
    return next((rows for rows in choices if len(rows) <= _MOST_ROWS), fold(layers, 1))


def _parts(found: Data, depth: int | None) -> Iterator[RenderableType]:
    rows = _folded(found["layers"], depth)
    is_timed = found["machine"] is not None  # times take the place of what they rarely depend on
    extra = [">ms", ">of roofline"] if is_timed else [">parameters"]
    inputs = (f"{x['name']}: {_by(x['shape'])} {x['dtype']}" for x in found["inputs"])
    yield Text(f"  {', '.join(inputs)}; {len(found['layers'])} layers", style="dim")
    yield _fitting(
        ["layer", "what", ">output", ">MACs", ">share", ">cone", *extra],
        [
            [
                _short(row.name, _NAME),
                _short(row.what, _WHAT),
                "x".join(map(str, row.layers[-1]["output"][1:])),
                _macs(row),
                f"{row.sum('share'):.1%}" if row.sum("macs") else "",
                _field(row.layers[-1]["cone"]),
                *(_times(row) if is_timed else [_count(row.sum("parameters"))]),
            ]
            for row in rows
        ],
    )
    yield from _totals(found["total"])
    yield Text(f"  {_cone_in_words(found['cone'])}")
    yield from _listening(found["layers"])
    yield from _findings(found.get("findings", ()))
    yield from (Padding(Text(f"• {note}"), (0, 0, 0, 2)) for note in found["notes"])


def _times(row: Row) -> list[str]:
    times = [layer["time"] for layer in row.layers if layer["time"]]
    ms, least = (sum(time[key] for time in times) for key in ("ms", "roofline_ms"))
    return [f"{ms:.3g}", f"{least / ms:.0%}" if ms else ""]


def _macs(row: Row) -> str:
    """Its multiply-accumulates; with a question mark where some cannot be counted."""
    is_known = all(layer["macs"] is not None for layer in row.layers)
    return _count(row.sum("macs")) + ("" if is_known else "?")


def _count(number: int) -> str:
    return amount(number) if number else ""


def _totals(total: Data) -> Iterator[RenderableType]:
    dead = 1 - total["live_macs"] / total["macs"] if total["macs"] else 0
    yield Text(
        f"  {amount(total['macs'])} MACs ({amount(total['flops'])} flops), {dead:.1%} of them on "
        f"padding; {amount(total['parameters'])} parameters"
    )
    weights, every, peak = (
        _bytes(total[key]) for key in ("weight_bytes", "activation_bytes", "peak_bytes")
    )
    yield Text(
        f"  weights {weights}, activations {every}, at once {peak}; beside the MACs "
        f"{amount(total['norm_elements'])} numbers go\n  through norms, "
        f"{amount(total['elementwise_elements'])} through elementwise work"
    )


def _listening(layers: Sequence[Data]) -> Iterator[RenderableType]:
    """What outputs listen to, of the layers where it was measured."""
    measured = [layer for layer in layers if layer.get("effective")]
    if not measured:
        return
    images = measured[0]["effective"]["images"]
    rows = [
        (
            _short(layer["name"], _NAME),
            _field(layer["cone"]),
            *("x".join(map(str, layer["effective"][key])) for key in ("half", "most")),
        )
        for layer in measured
    ]
    on = "1 image" if images == 1 else f"{images} images"
    yield Text(f"  what middle outputs listen to, by gradients on {on}:")
    yield table(["layer", ">sees", ">half of it in", ">95 % of it in"], rows)


def _findings(findings: Sequence[Data]) -> Iterator[RenderableType]:
    """What was found, alike at several layers in one row, what saves most first."""
    if not findings:
        return
    groups: dict[tuple[str, ...], list[Data]] = {}
    for finding in findings:
        same = tuple(finding[key] for key in ("what", "rewrite", "status"))
        groups.setdefault(same, []).append(finding)
    rows = [
        (
            _where([finding["layer"] for finding in group]),
            what,
            amount(sum(finding["saves_macs"] or 0 for finding in group)),
            f"{rewrite} ({status})",
        )
        for (what, rewrite, status), group in groups.items()
    ]
    yield _fitting(
        ["layer", "what", ">saves MACs", "rewrite"], rows[:_FINDINGS_SHOWN], title="  Findings"
    )
    if len(rows) > _FINDINGS_SHOWN:
        yield Text(f"  ... and {len(rows) - _FINDINGS_SHOWN} more (all of them in --json)")


def _where(layers: Sequence[str]) -> str:
    more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
    return f"{_short(layers[0], _NAME - len(more))}{more}"


def _compared(left: Data, right: Data) -> Iterator[RenderableType]:
    keys = ("macs", "live_macs", "parameters", "weight_bytes", "activation_bytes", "peak_bytes")
    rows = [
        (key.replace("_", " "), _value(key, left), _value(key, right), _change(key, left, right))
        for key in keys
    ]
    names = [found["model"] for found in (left, right)]
    yield table(["", f">{names[0]}", f">{names[1]}", ">"], rows)
    for name, found in zip(names, (left, right), strict=True):
        yield Text(f"  {name}: {_cone_in_words(found['cone'])}")
    yield from _differing(left, right)


def _differing(left: Data, right: Data) -> Iterator[RenderableType]:
    sides = [{row.name: row for row in _folded(x["layers"], 1)} for x in (left, right)]
    rows = [
        (_short(name, _NAME), *(_macs_or_absent(side.get(name)) for side in sides))
        for name in dict.fromkeys(name for side in sides for name in side)
        if _macs_or_absent(sides[0].get(name)) != _macs_or_absent(sides[1].get(name))
    ]
    if rows:
        names = [f">{left['model']}", f">{right['model']}"]
        yield table(["MACs of", *names], rows, title="  Where they differ")


def _macs_or_absent(row: Row | None) -> str:
    return _macs(row) or "0" if row else "-"


def _value(key: str, found: Data) -> str:
    value = found["total"][key]
    return _bytes(value) if key.endswith("bytes") else f"{value:,}"


def _change(key: str, left: Data, right: Data) -> str:
    before, after = left["total"][key], right["total"][key]
    return "" if before == after or not before else f"{after / before - 1:+.1%}"


def _fitting(
    columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None
) -> Table:
    drawn = table(columns, rows, title=title)
    for column in drawn.columns[:2]:
        column.overflow = "fold"
    return drawn


def amount(number: float) -> str:
    """A count with three digits and its unit.

    >>> amount(86_704_128), amount(999), amount(1_000_000)
    ('86.7 M', '999', '1 M')
    """
    for size, unit in _UNITS:
        if number >= size:
            return f"{number / size:.3g} {unit}" if number < 999.5 * size else f"{number:.3g}"
    return f"{number:.3g}" if number % 1 else f"{int(number)}"


def _bytes(number: int) -> str:
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if number >= 1024**power:
            return f"{number / 1024**power:.3g} {unit}"
    return f"{number} B"


def _field(cone: Data | None) -> str:
    """A cone's size as "212x212", with "all" where it has no end."""
    if cone is None:
        return ""
    sizes = "x".join(str(axis["size"]) for axis in cone["axes"])
    if cone["whole_map_by"] is None:
        return sizes
    return "all"


def _cone_in_words(cone: Data | None) -> str:
    if cone is None:
        return "no layer's cone ends before the whole input"
    axes = cone["axes"]
    sizes = " x ".join(str(axis["size"]) for axis in axes)
    strides = " x ".join(_fraction(axis["stride"]) for axis in axes)
    holes = [axis for axis in axes if axis["touched"] < axis["size"]]
    touched = " x ".join(f"{axis['touched']} of {axis['size']}" for axis in axes)
    outside = max((axis["outside"] for axis in axes), default=0)
    return (
        f"cone of {cone['layer']}: {sizes}, stride {strides}"
        + (f", holes: {touched} touched" if holes else "")
        + (f"; in the middle {outside:.0%} of it lies beyond the image" if outside else "")
    )


def _fraction(pair: Sequence[int]) -> str:
    return str(pair[0]) if pair[1] == 1 else f"{pair[0]}/{pair[1]}"


def _short(text: str, most: int) -> str:
    """At most so many columns; the end of a long name says more than its middle."""
    return text if len(text) <= most else f"{text[: most // 3]}…{text[-(most - most // 3 - 1) :]}"
