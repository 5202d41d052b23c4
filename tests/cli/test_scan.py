# SPDX-License-Identifier: Apache-2.0
"""`convsmith scan` as a stranger uses it: a result, words on the second stream, exit codes."""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import convsmith as cs
from convsmith.capture import capture, save
from convsmith.cli import digits_page, main, scan
from convsmith.cli.scan_progress import announcement
from convsmith.scanning import Prospect, SyntheticSource
from convsmith.scanning.planning import Larger
from convsmith.scanning.running.progress import Pace
from convsmith.scanning.sinks import Store


@pytest.fixture
def convsmith(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    def run(*words: str | Path) -> Any:
        monkeypatch.setattr(sys, "argv", ["convsmith", *map(str, words)])
        code: object = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A saved network and an image."""
    captured = capture(torch.nn.Conv2d(3, 2, 3), torch.zeros(2, 3, 16, 16))
    save(captured, tmp_path / "net", about={"input_shape": [1, 3, 16, 16]})
    window = (slice(0, 30), slice(0, 40))
    pixels = SyntheticSource((3, 30, 40)).read(window).transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / "image.png")
    return tmp_path / "net", tmp_path / "image.png"


def test_an_image_becomes_a_result_and_exports(
    convsmith: Callable[..., Any], files: tuple[Path, Path], tmp_path: Path
) -> None:
    out, table = tmp_path / "out", tmp_path / "out.npy"
    code, stdout, stderr = convsmith("scan", *files, "--out", out, "--export", table, "--json")
    assert code == 0, stderr
    said = json.loads(stdout)
    assert said["shape"] == [2, 28, 38]
    assert said["computed"] == 1
    assert said["exports"] == [str(table)]
    assert np.load(table).shape == (2, 28, 38)
    assert "1 tile of 3 x 30 x 40, 1 at once" in stderr
    assert "promise: the network on the whole image (fcn)" in stderr
    code, stdout, stderr = convsmith("scan", *files, "--out", out, "--json", "-q")
    assert (code, stderr) == (0, "")
    assert json.loads(stdout)["resumed"] == 1
    picture = tmp_path / "heat.jpg"
    code, _, stderr = convsmith("scan", "--out", out, "--export", picture, "--of", "1")
    assert (code, stderr) == (0, f"written: {picture}\n")
    assert json.loads(convsmith("scan", "--out", out, "--export", picture, "--json")[1]) == {
        "folder": str(out),
        "exports": [str(picture)],
    }
    code, _, stderr = convsmith("scan", *files, "--out", out, "--output", "labels")
    assert code == 2
    assert "which differs in output (scores then, labels now)" in stderr


def test_a_format_that_is_none_is_refused_before_the_work(
    convsmith: Callable[..., Any], files: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, _, stderr = convsmith("scan", *files, "--out", out, "--export", tmp_path / "heat.gif")
    assert code == 2
    assert "heat.gif ends in '.gif'; it may be .tif, .npy, .png or .jpg" in stderr
    assert not out.exists()


def test_the_shape_that_is_said_is_the_result_s(
    convsmith: Callable[..., Any], files: tuple[Path, Path], tmp_path: Path
) -> None:
    call = ("scan", *files, "--out", tmp_path / "out", "--output", "labels", "--json")
    code, stdout, stderr = convsmith(*call)
    assert code == 0, stderr
    assert json.loads(stdout)["shape"] == [1, 28, 38]
    assert "labels of 1 x 28 x 38, one every 1 x 1 pixels, out of 2 classes" in stderr
    assert Store.open(tmp_path / "out").arrays[""].shape == (1, 28, 38)


def test_costs_are_said_for_each_process_and_with_a_remedy(tmp_path: Path) -> None:
    said: list[Prospect] = []
    net, window = torch.nn.Conv2d(1, 2, 3), SyntheticSource((1, 40, 40))
    cs.scan(net, window, tmp_path / "out", example=torch.zeros(1, 1, 8, 8), announce=said.append)
    one = announcement(said[0])[2]
    assert "processes" not in one
    larger = Larger(memory_bytes=3 << 30, halo=1.25)
    several = replace(said[0], workers=4, estimate=replace(said[0].estimate, larger=larger))
    lines = announcement(several)
    assert " MiB in each of 4 processes; time: about 0 s" in lines[2]
    assert lines[3] == (
        "the network looks far: with --memory 3.0GiB the tiles would be larger, and the work 1.25 "
        "of the image's"
    )


def test_ctrl_c_says_how_to_go_on(
    convsmith: Callable[..., Any],
    files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = Pace.count
    asked: list[bool] = []

    def interrupted(self: Pace, **counted: int) -> None:
        count(self, **counted)
        if not asked:  # a second signal would insist
            asked.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    large = tmp_path / "large.npy"
    np.save(large, SyntheticSource((3, 300, 4000)).read((slice(0, 300), slice(0, 4000))))
    call = ("scan", files[0], large, "--out", tmp_path / "out", "--memory", "530MiB")
    with monkeypatch.context() as patch:
        patch.setattr(Pace, "count", interrupted)
        code, _, stderr = convsmith(*call)
    assert code == 130
    assert "the same call goes on from there" in stderr
    assert convsmith(*call, "-q")[0] == 0
    assert not list(Store.open(tmp_path / "out").missing())


def test_a_full_disk_says_how_to_go_on(
    convsmith: Callable[..., Any],
    files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    call = ("scan", *files, "--out", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", full)
        code, _, stderr = convsmith(*call)
    assert code == 1
    assert "the disk is full; make room, and the same call goes on from there" in stderr
    assert convsmith(*call, "-q")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a.png",), "give MODEL, IMAGE and --out FOLDER; without a model and an image, a page"),
        (("m", "a.png", "--out", "x", "--memory", "2 pounds"), "--memory 2 pounds: give a size"),
        (("m", "a.png", "--out", "x", "--memory", "0"), "--memory 0: give a size such as 2GiB"),
        (("m", "a.png", "--out", "x", "--channels", "red"), "--channels red: give numbers from 0"),
        (("m", "absent.png", "--out", "x"), "absent.png"),
    ],
)
def test_calls_that_are_wrong(
    convsmith: Callable[..., Any], words: tuple[str, ...], message: str
) -> None:
    code, _, stderr = convsmith("scan", *words)
    assert code == 2
    assert message in stderr  # what pytest.raises(match=...) would see


def test_every_digit_of_a_page_is_found_by_its_ink() -> None:
    page = np.zeros((640, 640), np.uint8)
    corners = [(0, 0), (100, 140), (100, 180), (608, 608)]
    for row, column in corners:
        page[row + 2 : row + 30, column + 8 : column + 24] = 255
    scores = np.zeros((10, 306, 306), np.float32)
    scores[7] = 1
    found = digits_page.read_page(page, scores)
    assert len(found) == 4
    for row, column in corners:
        assert any(d.is_near(digits_page.Placed(row, column, 7), 8) and d.digit == 7 for d in found)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_page_of_digits_is_read(convsmith: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "page"
    code, stdout, stderr = convsmith("scan", "--out", out, "--json")
    assert code == 0, stderr
    said = json.loads(stdout)
    assert said["scan"]["tiles"] == 25
    assert said["found"] == said["digits"] == 100
    # Shown alone, 99 of these are read; the sliding network sees neighbours where crops see zeros.
    assert 90 <= said["right"] <= 100
    with Image.open(said["picture"]) as picture:
        assert picture.size == (1280, 1280)
    assert json.loads(convsmith("scan", "--out", out, "--json")[1])["scan"]["computed"] == 0


def test_tiles_that_failed_are_listed_by_reason(
    convsmith: Callable[..., Any], files: tuple[Path, Path], tmp_path: Path
) -> None:
    image = np.zeros((3, 30, 40), np.float32)
    image[0, 2, 2] = np.nan
    np.save(tmp_path / "nan.npy", image)
    code, _, stderr = convsmith("scan", files[0], tmp_path / "nan.npy", "--out", tmp_path / "out")
    assert code == 1
    assert "0 of 1 tiles 1 failed" in stderr
    assert "tile 0: reading: " in stderr
    assert scan._reasons(dict.fromkeys(range(22), "torn") | {30: "late"}) == [
        f"tiles {', '.join(map(str, range(20)))} and 2 more: torn",
        "tile 30: late",
    ]
