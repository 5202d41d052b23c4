# SPDX-License-Identifier: Apache-2.0
"""A chart of ratios as SVG: a bar for each row, from the line at 1, on a scale of doublings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log2
from textwrap import wrap

_PLOT, _EDGE, _GAP, _ROW, _HEAD = 420, 16, 12, 22, 34
_LEAST_LABELS, _LEAST_NOTES, _NUMBER = 300, 170, 58
_LINE = 18  # of the footnote
# A character at most, at 13 and 12 px: no font is known here, and what is cut cannot be read.
_WIDE, _NARROW = 7.4, 6.8

_STYLE = """
  .sheet { fill: #ffffff } text { font: 13px system-ui, sans-serif; fill: #1f2933 }
  .title { font-size: 18px; font-weight: 600 } .group { font-weight: 600 }
  .quiet { fill: #52606d; font-size: 12px }
  .grid { stroke: #d9e0e6 } .one { stroke: #52606d; stroke-width: 1.5 }
  .mark { fill: #ffffff; stroke: #1f2933 }
  .ahead { fill: #0b8a6a } .behind { fill: #c8642b } .spread { stroke: #1f2933 }
  @media (prefers-color-scheme: dark) {
    .sheet { fill: #14191f } text { fill: #e4e9ee } .quiet { fill: #9aa7b4 }
    .grid { stroke: #2c353f } .one { stroke: #9aa7b4 }
    .mark { fill: #14191f; stroke: #e4e9ee }
    .ahead { fill: #35b792 } .behind { fill: #e08650 } .spread { stroke: #e4e9ee }
  }
"""


@dataclass(frozen=True)
class Bar:
    """One row: what is compared, its ratio and the range that the ratio's spread allows.

    `ratio` None draws no bar, only `note`; with a ratio the note stands behind its number. `mark`
    is a second ratio, drawn as a diamond.
    """

    label: str
    group: str
    ratio: float | None
    between: tuple[float, float] | None = None
    mark: float | None = None
    note: str = ""


def ratio_chart(bars: Sequence[Bar], *, title: str, subtitle: str, footnote: str) -> str:
    """Bars of positive ratios; to the right of 1 is better. For light and dark pages.

    >>> chart = ratio_chart([Bar("a < b", "", 2.0)], title="t", subtitle="", footnote="")
    >>> chart.count('class="ahead"'), "a &lt; b" in chart
    (1, True)
    """
    sheet = _sheet(bars)
    rows = list(_rows(bars, sheet))
    heads, notes = (wrap(text, sheet.characters) for text in (subtitle, footnote))
    top = 50 + _LINE * len(heads)
    bottom = top + sum(height for height, _ in rows)
    height = bottom + 34 + _LINE * len(notes)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {sheet.width} {height}" '
            f'width="{sheet.width}" height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="sheet" width="{sheet.width}" height="{height}"/>',
            _text(_EDGE, 28, title, "title"),
            *(_text(_EDGE, 50 + _LINE * i, line, "quiet") for i, line in enumerate(heads)),
            *sheet.grid(top, bottom),
            *_placed(rows, top),
            *(_text(_EDGE, bottom + 40 + _LINE * i, line, "quiet") for i, line in enumerate(notes)),
            "</svg>\n",
        ]
    )


@dataclass(frozen=True)
class _Sheet:
    """Labels, a plot of doublings from 2**first to 2**last, numbers and notes: side by side."""

    labels: int
    notes: int
    first: int
    last: int

    @property
    def plot_end(self) -> int:
        return self.labels + _PLOT

    @property
    def width(self) -> int:
        return self.plot_end + _NUMBER + self.notes

    @property
    def characters(self) -> int:
        """How many fit into a line of text from edge to edge."""
        return int((self.width - 2 * _EDGE) / _NARROW)

    def x(self, ratio: float) -> float:
        return self.labels + (log2(ratio) - self.first) / (self.last - self.first) * _PLOT

    def grid(self, top: int, bottom: int) -> Iterator[str]:
        for power in range(self.first, self.last + 1):
            x = self.x(2.0**power)
            kind = "one" if power == 0 else "grid"
            yield f'<line class="{kind}" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>'
            written = f"{2**power}" if power >= 0 else f"1/{2**-power}"
            yield _text(x, bottom + 16, written, "quiet", anchor="middle")


def _sheet(bars: Sequence[Bar]) -> _Sheet:
    """As wide as its longest label and note need, and as far as its ratios reach."""
    ends = [r for bar in bars for r in (bar.ratio, bar.mark, *(bar.between or ())) if r is not None]
    doublings = [log2(ratio) for ratio in ends]
    longest_label = max((len(bar.label) for bar in bars), default=0)
    longest_note = max((len(bar.note) for bar in bars), default=0)
    return _Sheet(
        labels=max(_LEAST_LABELS, _EDGE + ceil(_WIDE * longest_label) + _GAP),
        notes=max(_LEAST_NOTES, ceil(_NARROW * longest_note) + _EDGE),
        first=floor(min([-1.0, *doublings])),
        last=ceil(max([1.0, *doublings])),
    )


def _rows(bars: Sequence[Bar], sheet: _Sheet) -> Iterator[tuple[int, list[str]]]:
    """Height and drawing of each line; a drawing has its top at 0."""
    group = None
    for bar in bars:
        if bar.group != group:
            group = bar.group
            yield _HEAD, [_text(_EDGE, _HEAD - 9, group, "group")]
        yield _ROW, list(_bar(bar, sheet))


def _bar(bar: Bar, sheet: _Sheet) -> Iterator[str]:
    middle = _ROW / 2
    yield _text(sheet.labels - _GAP, middle + 4.5, bar.label, anchor="end")
    if bar.ratio is None:
        yield _text(sheet.plot_end + _GAP, middle + 4.5, bar.note, "quiet")
        return
    left, right = sorted((sheet.x(1), sheet.x(bar.ratio)))
    kind = "ahead" if bar.ratio >= 1 else "behind"
    yield (
        f'<rect class="{kind}" x="{left:.1f}" y="4" width="{max(right - left, 1):.1f}" '
        f'height="{_ROW - 8}"/>'
    )
    if bar.between:
        low, high = (f"{sheet.x(ratio):.1f}" for ratio in bar.between)
        yield f'<line class="spread" x1="{low}" y1="{middle}" x2="{high}" y2="{middle}"/>'
    if bar.mark:
        x = sheet.x(bar.mark)
        yield f'<path class="mark" d="M{x:.1f} {middle - 5}l5 5l-5 5l-5 -5z"/>'
    yield _text(sheet.plot_end + _GAP, middle + 4.5, f"{bar.ratio:.2f}")
    yield _text(sheet.plot_end + _NUMBER, middle + 4.5, bar.note, "quiet")


def _placed(rows: Sequence[tuple[int, list[str]]], y: int) -> Iterator[str]:
    for height, drawing in rows:
        yield f'<g transform="translate(0 {y})">{"".join(drawing)}</g>'
        y += height


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    of_kind = f' class="{kind}"' if kind else ""
    return f'<text{of_kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
