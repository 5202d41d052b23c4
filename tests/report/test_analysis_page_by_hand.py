# SPDX-License-Identifier: Apache-2.0
"""The page as a reader uses it: mouse and keys in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

import convsmith as cs
from convsmith.report import analyses_page, analysis_page

from .browser import Browser, find_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip("no browser is installed")
    opened = Browser(program, tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Browser:
    first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 5, padding=2))
    model = nn.Sequential(first, nn.Conv2d(8, 2, 1), nn.Conv2d(2, 2, 3, padding=1)).eval()
    found = cs.analyze(model, (1, 3, 32, 40)).to_json()
    (tmp_path / "page.html").write_text(analysis_page(found), encoding="utf-8")
    browser.open(tmp_path / "page.html")
    return browser


def cone(page: Browser) -> tuple[str, ...]:
    """Of the rectangle that is drawn: width and height."""
    drawn = "document.querySelector('rect.cone-now')"
    return tuple(page.value(f"['width', 'height'].map(n => {drawn}.getAttribute(n))"))


def rows(page: Browser) -> list[str]:
    cells = "[...document.querySelectorAll('#layers tbody td.words[title]')]"
    return page.value(f"{cells}.map(cell => cell.title)")


def test_the_slider_moves_by_keys_and_by_mouse(page: Browser) -> None:
    assert cone(page) == ("9", "9")  # of the last layer
    page.click("#step", along=0.02)
    assert cone(page) == ("3", "3")
    assert page.text("#cone-numbers h3") == "0.0"
    page.press("ArrowRight")
    assert cone(page) == ("7", "7")
    page.press("End")
    assert cone(page) == ("9", "9")
    page.press("ArrowLeft")
    assert page.text("#cone-numbers h3") == "0.2"
    assert page.value("document.activeElement.getAttribute('aria-valuetext')") == "0.2"


def test_a_click_on_a_heading_sorts_and_a_second_turns_round(page: Browser) -> None:
    page.click("#unfold")
    assert rows(page) == ["0", "0.0", "0.1", "0.2", "1", "2"]
    page.click("#layers th:nth-child(5) a")
    assert page.text("#layers th:nth-child(5)") == "MACs ↓"
    assert rows(page) == ["0", "0.2", "0.0", "0.1", "2", "1"]
    page.click("#layers th:nth-child(5) a")
    assert rows(page) == ["1", "2", "0", "0.1", "0.0", "0.2"]
    page.click("#layers th:nth-child(1) a")
    assert rows(page) == ["0", "0.0", "0.1", "0.2", "1", "2"]


@pytest.mark.parametrize("part", ["#strip", "#charts", "#layers"])
def test_a_layer_is_picked_in_every_part(page: Browser, part: str) -> None:
    page.click("#unfold")
    page.click(
        f"{part} a[data-layer='2'] rect" if part == "#charts" else f"{part} [data-layer='2']"
    )
    assert page.text("#detail h3") == "0.2"
    assert "standard" in page.text("#detail")
    assert cone(page) == ("7", "7")
    assert page.value("document.querySelectorAll('#layers tr.chosen').length") == 1
    assert page.value("location.hash") == "#layer=2"


def test_typing_filters_and_modules_fold(page: Browser) -> None:
    assert rows(page) == ["0", "1", "2"]
    page.click("button.fold")
    assert rows(page) == ["0", "0.0", "0.1", "0.2", "1", "2"]
    page.click("#fold")
    assert rows(page) == ["0", "1", "2"]
    page.click("#filter")
    page.type("pointwise")
    assert rows(page) == ["1"]
    assert page.text("#shown").startswith("1 of 5 layers")


def test_nothing_is_wider_than_a_small_screen(page: Browser, tmp_path: Path) -> None:
    found = cs.analyze(nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), (1, 3, 32, 40)).to_json()
    two = tmp_path / "two.html"
    two.write_text(analyses_page(found, {**found, "model": "a" * 200}), encoding="utf-8")
    widths = []
    page.resize(390)
    for file in (tmp_path / "page.html", two):
        page.open(file)
        widths.append(page.value("document.documentElement.scrollWidth"))
    page.resize(None)
    assert max(widths) <= 390
