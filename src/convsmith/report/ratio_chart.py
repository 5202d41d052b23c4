# SPDX-License-Identifier: Apache-2.0
"""A chart of ratios as SVG: a bar for each row, from the line at 1, on a scale of doublings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log2
from textwrap import wrap

_WIDTH, _LABELS, _NUMBERS, _ROW, _HEAD, _TOP = 960, 340, 200, 22, 34, 76
_PLOT = _WIDTH - _LABELS - _NUMBERS
_LINE, _COLUMNS = 18, 140  # of the footnote

_STYLE = """
  .sheet { fill: #ffffff } text { font: 13px system-ui, sans-serif; fill: #1f2933 }
  .title { font-size: 18px; font-weight: 600 } .group { font-weight: 600 }
  .quiet { fill: #52606d; font-size: 12px }
  .grid { stroke: #d9e0e6 } .one { stroke: #52606d; stroke-width: 1.5 }
  .ahead { fill: #0b8a6a } .behind { fill: #c8642b } .spread { stroke: #1f2933 }
  @media (prefers-color-scheme: dark) {
    .sheet { fill: #14191f } text { fill: #e4e9ee } .quiet { fill: #9aa7b4 }
    .grid { stroke: #2c353f } .one { stroke: #9aa7b4 }
    .ahead { fill: #35b792 } .behind { fill: #e08650 } .spread { stroke: #e4e9ee }
  }
"""


@dataclass(frozen=True)
class Bar:
    """One row: what is compared, its ratio and the range that the ratio's spread allows.

    `ratio` None draws no bar, only `note`; with a ratio the note stands behind its number.
    """

    label: str
    group: str
    ratio: float | None
    between: tuple[float, float] | None = None
    note: str = ""


def ratio_chart(bars: Sequence[Bar], *, title: str, subtitle: str, footnote: str) -> str:
    """Bars of positive ratios; to the right of 1 is better. For light and dark pages.

    >>> chart = ratio_chart([Bar("a < b", "", 2.0)], title="t", subtitle="", footnote="")
    >>> chart.count('class="ahead"'), "a &lt; b" in chart
    (1, True)
    """
    ends = [r for bar in bars for r in (bar.ratio, *(bar.between or ())) if r is not None]
    doublings = [log2(ratio) for ratio in ends]
    scale = _Scale(floor(min([-1.0, *doublings])), ceil(max([1.0, *doublings])))
    rows = list(_rows(bars, scale))
    bottom = _TOP + sum(height for height, _ in rows)
    notes = wrap(footnote, _COLUMNS)
    height = bottom + 34 + _LINE * len(notes)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'width="{_WIDTH}" height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="sheet" width="{_WIDTH}" height="{height}"/>',
            _text(16, 28, title, "title"),
            _text(16, 50, subtitle, "quiet"),
            *scale.grid(_TOP, bottom),
            *_placed(rows),
            *(_text(16, bottom + 40 + _LINE * i, note, "quiet") for i, note in enumerate(notes)),
            "</svg>\n",
        ]
    )


@dataclass(frozen=True)
class _Scale:
    """Doublings from 2**first to 2**last over the width of the plot."""

    first: int
    last: int

    def x(self, ratio: float) -> float:
        return _LABELS + (log2(ratio) - self.first) / (self.last - self.first) * _PLOT

    def grid(self, top: int, bottom: int) -> Iterator[str]:
        for power in range(self.first, self.last + 1):
            x = self.x(2.0**power)
            kind = "one" if power == 0 else "grid"
            yield f'<line class="{kind}" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>'
            written = f"{2**power}" if power >= 0 else f"1/{2**-power}"
            yield _text(x, bottom + 16, written, "quiet", anchor="middle")


def _rows(bars: Sequence[Bar], scale: _Scale) -> Iterator[tuple[int, list[str]]]:
    """Height and drawing of each line; a drawing has its top at 0."""
    group = None
    for bar in bars:
        if bar.group != group:
            group = bar.group
            yield _HEAD, [_text(16, _HEAD - 9, group, "group")]
        yield _ROW, list(_bar(bar, scale))


def _bar(bar: Bar, scale: _Scale) -> Iterator[str]:
    middle = _ROW / 2
    yield _text(_LABELS - 12, middle + 4.5, bar.label, anchor="end")
    behind_plot = _LABELS + _PLOT + 10
    if bar.ratio is None:
        yield _text(behind_plot, middle + 4.5, bar.note, "quiet")
        return
    left, right = sorted((scale.x(1), scale.x(bar.ratio)))
    kind = "ahead" if bar.ratio >= 1 else "behind"
    yield (
        f'<rect class="{kind}" x="{left:.1f}" y="4" width="{max(right - left, 1):.1f}" '
        f'height="{_ROW - 8}"/>'
    )
    if bar.between:
        low, high = (f"{scale.x(ratio):.1f}" for ratio in bar.between)
        yield f'<line class="spread" x1="{low}" y1="{middle}" x2="{high}" y2="{middle}"/>'
    yield _text(behind_plot, middle + 4.5, f"{bar.ratio:.2f}")
    yield _text(behind_plot + 44, middle + 4.5, bar.note, "quiet")


def _placed(rows: Sequence[tuple[int, list[str]]]) -> Iterator[str]:
    y = _TOP
    for height, drawing in rows:
        yield f'<g transform="translate(0 {y})">{"".join(drawing)}</g>'
        y += height


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    of_kind = f' class="{kind}"' if kind else ""
    return f'<text{of_kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
