# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: what it draws, what a reader can do, and that no name can run."""

import json
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import convsmith as cs
from convsmith.errors import ArgumentError
from convsmith.report import analyses_page, analysis_page

from .browser import BROWSERS, find_browser

HOSTILE = (
    "</script><script>document['title']='ran'</script>",
    "<img src=x onerror=\"document['title']='ran'\">",
    "\"'><svg onload=document['title']='ran'>&lt;b&gt;\u2028\u2029",
)


class Dom(HTMLParser):
    """The elements of a page: (tag, attributes, text up to the next tag)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._is_open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}, []))
        self._is_open = True

    def handle_endtag(self, tag: str) -> None:
        self._is_open = False

    def handle_data(self, data: str) -> None:
        if self._is_open:
            self.elements[-1][2].append(data)

    def all(self, tag: str, **wanted: str) -> list[tuple[dict[str, str], str]]:
        return [
            (attributes, "".join(text))
            for name, attributes, text in self.elements
            if name == tag and wanted.items() <= attributes.items()
        ]

    def rows(self) -> list[str]:
        """The names of the table's layers and modules, from the top."""
        return [a["title"] for a, _ in self.all("td", **{"class": "words"}) if "title" in a]


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    """Open a page in a browser, with what the reader chooses in its address."""
    program = find_browser()
    if program is None:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)})")

    def open_(page: str, choice: str = "") -> Dom:
        file = tmp_path / "page.html"
        file.write_text(page, encoding="utf-8")
        words = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/user"]
        done = subprocess.run(
            [program, *words, "--enable-logging=stderr", "--dump-dom", f"{file.as_uri()}#{choice}"],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert "Uncaught" not in done.stderr, done.stderr
        assert "Content Security Policy" not in done.stderr, done.stderr
        return Dom(done.stdout)

    return open_


@pytest.fixture(scope="module")
def dilated() -> dict[str, Any]:
    layers = [nn.Conv2d(3, 4, 3, padding=2, dilation=2), nn.Conv2d(4, 4, 3, padding=2, dilation=2)]
    model = nn.Sequential(nn.Sequential(*layers), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    return cs.analyze(model, (1, 3, 20, 24)).to_json()


@pytest.fixture(scope="module")
def hostile() -> dict[str, Any]:
    first, second, third = HOSTILE
    model = nn.Sequential()
    for name in HOSTILE:
        model._modules[name] = nn.Conv2d(3, 3, 3, padding=2, dilation=2)
    found = cs.analyze(model.eval(), (1, 3, 9, 9)).to_json()
    finding = {"layer": first, "what": second, "saves_macs": 1, "saves_parameters": 1}
    return {
        **found,
        "model": second,
        "notes": [third],
        "findings": [{**finding, "rewrite": third, "status": first}],
    }


def test_the_reader_sees_every_part(opened: Any, dilated: dict[str, Any]) -> None:
    dom = opened(analysis_page(dilated))
    assert dom.all("title")[0][1] == "Sequential · convsmith analysis"
    assert dom.rows() == ["0", "1", "2"]
    assert {text for _, text in dom.all("h3")} >= {"MACs", "Parameters", "Activation memory"}
    assert "Time" not in {text for _, text in dom.all("h3")}
    assert len(dom.all("canvas")) == 3  # the 1x1 layer inherits the holes
    words = "\n".join("".join(text) for _, _, text in dom.elements)
    assert "sees 9\xa0\u00d7\xa09 positions of 20\xa0\u00d7\xa024" in words
    assert "holes: only 5 of 9 \u00d7 5 of 9 are ever read" in words
    assert "closed by dilations 1, 3" in words


@pytest.mark.parametrize(("step", "size"), [(0, 5), (1, 9)])
def test_the_slider_draws_the_cone_to_scale(
    opened: Any, dilated: dict[str, Any], step: int, size: int
) -> None:
    dom = opened(analysis_page(dilated), f"step={step}")
    [(now, _)] = dom.all("rect", **{"class": "cone-now"})
    # Around the middle output, row 9 and column 11.
    middle = (11 - size // 2, 9 - size // 2, size, size)
    assert tuple(int(now[k]) for k in ("x", "y", "width", "height")) == middle
    assert dom.all("input", id="step")[0][0]["aria-valuetext"] == f"0.{step}"


def test_a_cone_without_end_is_the_whole_input(opened: Any) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1)).eval()
    dom = opened(analysis_page(cs.analyze(model, (1, 3, 12, 10)).to_json()), "layer=2")
    [(now, _)] = dom.all("rect", **{"class": "cone-now"})
    assert [now[k] for k in ("x", "y", "width", "height")] == ["0", "0", "10", "12"]
    assert "stroke-dasharray" in now


def test_a_cone_that_differs_in_turn_says_so(opened: Any) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ConvTranspose2d(4, 4, 4, 2, 1)).eval()
    dom = opened(analysis_page(cs.analyze(model, (1, 3, 16, 16)).to_json()))
    lines = [text for _, text in dom.all("li")]
    assert "outputs differ in turn; what is drawn holds any of them" in lines


@pytest.mark.parametrize("shape", [(1, 3, 40), (1, 3, 6, 8, 10)])
def test_sequences_and_volumes_are_drawn_too(opened: Any, shape: tuple[int, ...]) -> None:
    convolution = {3: nn.Conv1d, 5: nn.Conv3d}[len(shape)]
    found = cs.analyze(convolution(3, 4, 3, dilation=2), shape).to_json()
    [(now, _)] = opened(analysis_page(found)).all("rect", **{"class": "cone-now"})
    assert int(now["width"]) == 5


def test_a_volume_says_which_slice_is_drawn(opened: Any) -> None:
    model = nn.Sequential(nn.Conv3d(3, 4, (5, 3, 3), padding=(2, 0, 0)), nn.AdaptiveAvgPool3d(1))
    found = cs.analyze(model.eval(), (1, 3, 9, 8, 10)).to_json()
    lines = [text for _, text in opened(analysis_page(found), "step=0").all("li")]
    assert "drawn: the slice at depth 4 of 0 to 8; along it the middle output sees 2 to 6" in lines
    lines = [text for _, text in opened(analysis_page(found), "step=1").all("li")]
    assert "drawn: the slice at depth 4 of 0 to 8; along it the middle output sees 0 to 8" in lines


@pytest.mark.parametrize(
    ("choice", "rows"),
    [
        ("unfold", "0 0.0 0.1 1 2"),
        ("unfold&sort=parameters", "0 0.1 0.0 2 1"),
        ("sort=parameters-up", "1 2 0"),
        ("filter=POINTWISE", "2"),
    ],
)
def test_the_table_sorts_filters_and_folds(
    opened: Any, dilated: dict[str, Any], choice: str, rows: str
) -> None:
    assert opened(analysis_page(dilated), choice).rows() == rows.split()


def test_a_chosen_layer_is_shown(opened: Any, dilated: dict[str, Any]) -> None:
    dom = opened(analysis_page(dilated), "layer=1")
    assert dom.rows() == ["0", "0.0", "0.1", "1", "2"]
    assert len(dom.all("tr", **{"class": "chosen"})) == 1
    facts = {text for _, text in dom.all("dt")}
    assert "kernel size" in facts
    assert "called at" not in facts  # every line that called it is torch's


def test_measured_time_is_a_chart_and_a_column(opened: Any, dilated: dict[str, Any]) -> None:
    time = {"ms": 2.0, "gflops": 1.0, "roofline_ms": 0.5, "of_roofline": 0.25}
    found = {**dilated, "layers": [{**layer, "time": time} for layer in dilated["layers"]]}
    dom = opened(analysis_page(found))
    assert "Time" in {text for _, text in dom.all("h3")}
    assert len(dom.all("rect", **{"class": "roof"})) == len(found["layers"])
    assert [text for _, text in dom.all("td", **{"class": "ms"})] == ["4", "2", "2"]


def test_pictures_of_the_chosen_layer(opened: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)).eval()
    found = cs.analyze(model, (1, 3, 12, 16), images=torch.rand(1, 3, 12, 16), pictures=True)
    page = analysis_page(found.to_json(), pictures=found.pictures)
    dom = opened(page, "layer=1")
    weights, maps = dom.all("img")
    assert "mixing weights, 4 outputs (down) of 8 inputs (across)" in weights[0]["alt"]
    assert weights[0]["src"].startswith("data:image/png;base64,")
    assert maps[0]["src"].startswith("data:image/jpeg;base64,")
    lines = "\n".join(text for _, text in dom.all("figcaption"))
    assert "sees 3\u00d73; on this image: half of what it listens to in" in lines
    [heat] = opened(page, "layer=0").all("image", **{"class": "heat"})
    assert (heat[0]["width"], heat[0]["height"]) == ("16", "12")
    assert not opened(analysis_page(found.to_json()), "layer=1").all("img")


@pytest.mark.parametrize(
    "choice", ["layer=1&unfold&sort=macs", "filter=<img src=x onerror=document['title']='ran'>"]
)
def test_no_name_can_run(opened: Any, hostile: dict[str, Any], choice: str) -> None:
    # The page's policy would stop a script that got in; here none may even get in.
    dom = opened(analysis_page(hostile), choice)
    assert dom.all("title")[0][1] == f"{HOSTILE[1]} · convsmith analysis"
    assert [a.get("type") for a, _ in dom.all("script")] == ["application/json", None]
    assert not dom.all("img") + dom.all("b")
    attributes = {name for _, found, _ in dom.elements for name in found}
    assert not {name for name in attributes if name.startswith("on")}


def test_two_networks_on_one_page(opened: Any, dilated: dict[str, Any]) -> None:
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=2, dilation=2)]
    model = nn.Sequential(nn.Sequential(*layers), nn.ReLU(), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 2, 1))
    other = {**cs.analyze(model.eval(), (1, 3, 20, 24)).to_json(), "model": "other"}
    dom = opened(analyses_page(dilated, other))
    assert dom.all("title")[0][1] == "Sequential against other · convsmith analysis"
    before, after = (side["total"]["macs"] for side in (dilated, other))
    cells = [text for _, text in dom.all("td")]
    assert f"+{100 * (after / before - 1):.1f}\xa0%" in cells
    widths = [a["style"] for a, _ in dom.all("div", **{"class": "strip"})]
    assert widths[1] == "width: 100%;"
    # 0.0 is of another kind, 2 has other outputs, 3 stands on one side; 0.1 is alike.
    names = [text for a, text in dom.all("td", **{"class": "words"})][-3:]
    assert names == ["0.0", "2", "3"]
    assert "dilated → standard" in cells
    assert "absent" in cells


def test_no_name_can_run_beside_another(opened: Any, hostile: dict[str, Any]) -> None:
    dom = opened(analyses_page(hostile, {**hostile, "model": HOSTILE[0], "layers": []}))
    assert dom.all("title")[0][1] == f"{HOSTILE[1]} against {HOSTILE[0]} · convsmith analysis"
    assert [a.get("type") for a, _ in dom.all("script")] == ["application/json", None]
    assert not dom.all("img") + dom.all("b")


def test_names_stay_what_they_are(opened: Any, hostile: dict[str, Any]) -> None:
    assert opened(analysis_page(hostile)).rows() == [layer["name"] for layer in hostile["layers"]]


def test_the_data_cannot_end_its_element(hostile: dict[str, Any]) -> None:
    page = analysis_page(hostile)
    data = page.partition('id="data">')[2].partition("</script>")[0]
    assert not set(data) & set("<>&\u2028\u2029")
    assert json.loads(data)["analysis"] == json.loads(json.dumps(hostile))
    # Without the policy's help, too, nothing in the page is fetched from elsewhere.
    assert "src=" not in page.replace(data, "")


def test_a_page_of_resnet50_is_small(tmp_path: Path) -> None:
    picture = tmp_path / "noise.png"
    pixels = torch.randint(0, 256, (300, 400, 3), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(picture)
    found = cs.analyze(cs.models.create("resnet50", device="meta"), (1, 3, 224, 224))
    found.to_html(tmp_path / "page.html", image=picture)
    assert (tmp_path / "page.html").stat().st_size < 8 * 2**20


def test_the_image_is_the_readers_own(opened: Any, dilated: dict[str, Any], tmp_path: Path) -> None:
    picture = tmp_path / "photo.png"
    Image.new("RGB", (100, 50), "teal").save(picture)
    [(image, _)] = opened(analysis_page(dilated, picture)).all("image")
    assert image["href"].startswith("data:image/jpeg;base64,")
    assert (image["width"], image["height"]) == ("24", "20")


def test_wrong_images(dilated: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("no picture")
    with pytest.raises(ArgumentError, match=r"image .*words\.txt: cannot identify.*PNG or JPEG"):
        analysis_page(dilated, file)
    with pytest.raises(ArgumentError, match=r"image .*absent\.png: .*No such file"):
        analysis_page(dilated, tmp_path / "absent.png")
    found = cs.analyze(nn.Conv1d(3, 4, 3), (1, 3, 40)).to_json()
    with pytest.raises(ArgumentError, match=r"inputs are \[\[1, 3, 40\]\]; .* leave it out"):
        analysis_page(found, file)
