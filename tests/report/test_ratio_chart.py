# SPDX-License-Identifier: Apache-2.0
"""The chart is well-formed, has one bar for each row, and shows names as they are."""

from xml.etree import ElementTree

import pytest

from convsmith.report import Bar, ratio_chart

SVG = "{http://www.w3.org/2000/svg}"


def chart(*bars: Bar, title: str = "t") -> ElementTree.Element:
    return ElementTree.fromstring(ratio_chart(bars, title=title, subtitle="s", footnote="f"))


def rects(root: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [r for r in root.iter(f"{SVG}rect") if r.get("class") == kind]


def test_one_bar_a_row_on_its_side_of_the_line() -> None:
    root = chart(Bar("a", "g", 2.0), Bar("b", "g", 0.5, (0.4, 0.6)), Bar("c", "h", 1.0))
    (one,) = (line for line in root.iter(f"{SVG}line") if line.get("class") == "one")
    at_one = float(one.get("x1", "nan"))
    ahead, even = rects(root, "ahead")
    (behind,) = rects(root, "behind")
    assert float(ahead.get("x", "nan")) == at_one
    end_of_behind = float(behind.get("x", "nan")) + float(behind.get("width", "nan"))
    assert end_of_behind == pytest.approx(at_one, abs=0.11)
    # doubling and halving are equally far
    assert ahead.get("width") == behind.get("width")
    assert even.get("width") == "1.0"


def test_names_are_escaped() -> None:
    root = chart(Bar("<script>&\"'", "a < b", 2.0, note="</svg>"), title="<b>")
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"<script>&\"'", "a < b", "</svg>", "<b>"} <= set(texts)
    assert not list(root.iter(f"{SVG}script"))


def test_a_row_without_a_ratio_has_its_note_alone() -> None:
    root = chart(Bar("a", "g", None, note="no peer"))
    assert not rects(root, "ahead") + rects(root, "behind")
    assert "no peer" in [text.text for text in root.iter(f"{SVG}text")]


def test_groups_are_written_once() -> None:
    root = chart(Bar("a", "g", 2.0), Bar("b", "g", 3.0), Bar("c", "h", 4.0))
    groups = [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "group"]
    assert groups == ["g", "h"]


def test_nothing_lies_outside_the_sheet() -> None:
    root = chart(*(Bar(str(r), "g", r, (r / 3, r * 3), r * 5) for r in (0.01, 1.0, 900.0)))
    width = float(root.get("width", "nan"))
    for line in root.iter(f"{SVG}line"):
        assert 0 <= float(line.get("x1", "nan")) <= float(line.get("x2", "nan")) <= width
    for mark in (path for path in root.iter(f"{SVG}path") if path.get("class") == "mark"):
        assert 0 <= float(mark.get("d", "").split()[0].removeprefix("M")) <= width


@pytest.mark.parametrize("length", [1, 40, 80, 200])
def test_no_text_is_cut_however_long(length: int) -> None:
    """No character of the fonts asked for is wider than its size; most are half of it."""
    words = "W" * (length // 4) + "i" * (length - length // 4)
    root = chart(Bar(words, "g", 2.0, note=words), title="t")
    width = float(root.get("width", "nan"))
    for text in root.iter(f"{SVG}text"):
        x, wide = float(text.get("x", "nan")), 7 * len(text.text or "")
        if text.get("text-anchor") == "end":
            assert x - wide >= 0
            assert x <= width
        elif text.get("text-anchor") == "start" and text.get("class") == "quiet":
            assert x + 6.8 * len(text.text or "") <= width


def test_long_lines_are_wrapped() -> None:
    sentence = "medians of so many rounds, " * 20
    svg = ratio_chart([Bar("a", "g", 2.0)], title="t", subtitle=sentence, footnote=sentence)
    root = ElementTree.fromstring(svg)
    lines = [text for text in root.iter(f"{SVG}text") if "medians" in (text.text or "")]
    assert len({text.get("y") for text in lines}) == len(lines) > 4
    first_bar = next(root.iter(f"{SVG}g"))
    top = float(first_bar.get("transform", "").split()[-1].rstrip(")"))
    assert sum(float(text.get("y", "nan")) < top for text in lines) == len(lines) / 2


def test_a_second_ratio_is_a_diamond() -> None:
    root = chart(Bar("a", "g", 2.0, mark=1.0), Bar("b", "g", 2.0))
    (mark,) = (path for path in root.iter(f"{SVG}path") if path.get("class") == "mark")
    (one,) = (line for line in root.iter(f"{SVG}line") if line.get("class") == "one")
    assert mark.get("d", "").startswith(f"M{one.get('x1')} ")


def test_both_colour_schemes_are_served() -> None:
    assert "prefers-color-scheme: dark" in ratio_chart([], title="", subtitle="", footnote="")
