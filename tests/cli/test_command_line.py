# SPDX-License-Identifier: Apache-2.0
"""The command line as a stranger uses it: exit codes, stdout and stderr."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from convsmith.cli import main


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def convsmith(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """The command as `main` runs it, without paying for another process each time."""

    def run(*words: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["convsmith", *map(str, words)])
        monkeypatch.setattr(sys, "path", [*sys.path])
        code: object = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        assert isinstance(code, int)
        return Done(code, *capsys.readouterr())

    return run


def test_help_does_not_wait_for_torch() -> None:
    program = (
        "import sys\n"
        "from convsmith.cli import main\n"
        "sys.argv = ['convsmith', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "optimize" in done.stdout


def test_list_shows_networks_and_families(convsmith: Callable[..., Done]) -> None:
    done = convsmith("list", "--json")
    listed = json.loads(done.stdout)
    assert done.returncode == 0
    assert len(listed["families"]) == 12
    assert {"vgg16", "mobilenet_v2", "digits_vgg"} <= {m["name"] for m in listed["models"]}
    assert "resnet20" in convsmith("list", "resnet*").stdout
    assert "nothing here is called" in convsmith("list", "nosuchthing").stdout


def test_doctor_tests_every_family(convsmith: Callable[..., Done]) -> None:
    done = convsmith("doctor", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"]
    assert len(found["families"]) == 12
    assert all(row["error"] <= 1e-5 for row in found["families"])
    assert found["packages"]["torch"]


def test_optimize_without_a_model_shows_the_embedded_network(
    convsmith: Callable[..., Done],
) -> None:
    done = convsmith("optimize", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["model"] == "digits_vgg"
    assert report["before"]["images"] == report["after"]["images"] == 397
    assert report["before"]["top1"] == report["after"]["top1"] >= 0.97 * 397
    assert report["after"]["parameters"] < report["before"]["parameters"]
    assert {c["rule"] for c in report["certificates"]} >= {"fold_batchnorm"}
    assert report["max_abs_error"] < 1e-3


def test_analyze_shows_and_compares(convsmith: Callable[..., Done]) -> None:
    done = convsmith("analyze", "resnet20", "--json", "-q")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["format"], found["model"]) == ("convsmith analysis", "resnet20")
    assert found["total"]["macs"] == 40_551_040
    assert "cone of" in convsmith("analyze", "-q").stdout
    done = convsmith("analyze", "resnet20", "--against", "resnet32", "--json", "-q")
    assert json.loads(done.stdout)["against"]["total"]["macs"] == 68_862_592
    assert "resnet32" in convsmith("analyze", "resnet20", "--against", "resnet32", "-q").stdout
    wrong = convsmith("analyze", "resnet20", "--input", "1,1,32,32", "-q")
    assert wrong.returncode == 1
    assert "to have 3 channels, but got 1" in wrong.stderr


def test_a_saved_network_is_a_model_again(convsmith: Callable[..., Done], tmp_path: Path) -> None:
    folder = tmp_path / "faster"
    first = convsmith("optimize", "--save", folder)
    assert first.returncode == 0, first.stderr
    assert "Certificates" in first.stdout
    assert "Try next" in first.stdout
    again = convsmith("optimize", folder, "--json", "-q")
    assert again.returncode == 0, again.stderr
    report = json.loads(again.stdout)
    # Where the first plan let torch compute in contiguous order, what it changed the order with.
    exact = [c["rule"] for c in report["certificates"] if c["kind"] == "exact"]
    assert set(exact) <= {"drop_inference_noops"}
    assert report["notes"]


NETWORK = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())

def broken():
    return nn.Linear(3, 3)

def failing():
    raise ValueError("boom")

class Talker(nn.Module):
    def forward(self, x):
        print("I am talking")
        return x.relu()
"""


@pytest.fixture
def _my_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with a module of one's own, as the working directory."""
    (tmp_path / "mine.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("mine", None)


@pytest.mark.usefixtures("_my_network")
def test_a_network_of_ones_own(convsmith: Callable[..., Done]) -> None:
    done = convsmith("optimize", "mine:build", "--input", "1,3,9,9", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [c["rule"] for c in report["certificates"] if c["kind"] == "exact"] == ["fold_batchnorm"]
    assert report["before"]["top1"] is None


@pytest.mark.usefixtures("_my_network")
def test_what_a_network_prints_is_no_part_of_the_json(convsmith: Callable[..., Done]) -> None:
    done = convsmith("optimize", "mine:Talker", "--input", "1,3,9,9", "--json", "-q")
    assert json.loads(done.stdout)["model"] == "mine:Talker"
    assert "I am talking" in done.stderr


@pytest.mark.usefixtures("_my_network")
def test_a_folder_called_like_a_network_does_not_hide_it(
    convsmith: Callable[..., Done], tmp_path: Path
) -> None:
    (tmp_path / "lenet5").mkdir()
    done = convsmith("optimize", "lenet5", "--json", "-q")
    assert done.returncode == 0, done.stderr
    assert "the weights are random: none were given" in json.loads(done.stdout)["notes"]


def test_the_version_is_that_of_the_package(convsmith: Callable[..., Done]) -> None:
    done = convsmith("--version")
    assert (done.returncode, done.stdout.strip()) == (0, version("convsmith"))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["optimize", "mobilnet_v2"], 2, "did you mean mobilenet_v2"),
        (["optimize", "nowhere:build", "--input", "1,3,9,9"], 2, "No module named 'nowhere'"),
        (["optimize", "mine:build", "--input", "1,3,9,9", "--images", "."], 2, "preprocess"),
        (["optimize", "mine:broken", "--input", "1,3,9,9"], 1, "Linear"),
        (["optimize", "resnet20", "--weights", "absent.pth"], 2, "absent.pth"),
        (["optimize", "--math", "sloppy"], 2, "sloppy"),
        (["optimize", "."], 1, "graph.json"),
        (["optimize", "resnet20", "--images", "absent"], 2, "absent"),
        (["optimize", "mine:failing", "--input", "1,3,9,9"], 2, "raised ValueError: boom"),
        (["train", "lenet5", "--epochs", "0"], 2, "epochs 0"),
        (["train", "lenet5", "--save", "mine.py"], 2, "nothing is overwritten"),
        (["train", "lenet5", "--data", "digit"], 2, "known are digits, mnist"),
        (["train", "lenet5", "--data", "mnist", "--data-root", "."], 2, "give --data-root FOLDER"),
        (["train", "lenet5", "--schedule", "steps"], 2, "'steps' is none of one_cycle, cosine"),
        (["juggle"], 2, "juggle"),
    ],
)
@pytest.mark.usefixtures("_my_network")
def test_what_goes_wrong_is_said(
    convsmith: Callable[..., Done], words: list[str], code: int, message: str
) -> None:
    done = convsmith(*words)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_training_reproduces_the_embedded_network(
    convsmith: Callable[..., Done], tmp_path: Path
) -> None:
    file = tmp_path / "trained.safetensors"
    done = convsmith("train", "digits_vgg", "--data", "digits", "--save", file, "--json", "-q")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["held_out_accuracy"] >= 0.97
    assert file.exists()
    used = convsmith("optimize", "digits_vgg", "--weights", file, "--json", "-q")
    assert used.returncode == 0, used.stderr


def test_analyze_writes_a_page(convsmith: Callable[..., Done], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = convsmith("analyze", "digits_vgg", "--html", page, "--json", "-q")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == "digits_vgg"
    assert '"model": "digits_vgg"' in page.read_text(encoding="utf-8")
    assert "mixing weights" in page.read_text(encoding="utf-8")
    done = convsmith("analyze", "digits_vgg", "--against", "lenet5", "--html", page, "-q")
    assert done.returncode == 0, done.stderr
    assert '"model": "lenet5"' in page.read_text(encoding="utf-8")


def test_analyze_measures_what_outputs_listen_to(
    convsmith: Callable[..., Done], tmp_path: Path
) -> None:
    import numpy as np
    from PIL import Image

    pixels = np.arange(32 * 32, dtype=np.uint8).reshape(1, 32, 32)
    np.savez(tmp_path / "some.npz", x=pixels, y=[1])
    Image.fromarray(pixels[0]).save(tmp_path / "one.png")
    page, picture = tmp_path / "page.html", tmp_path / "one.png"
    images = ["--images", tmp_path / "some.npz"]
    done = convsmith("analyze", "digits_vgg", *images, "--json", "-q")
    assert done.returncode == 0, done.stderr
    measured = [x["effective"] for x in json.loads(done.stdout)["layers"] if x["effective"]]
    assert measured[0]["images"] == 1
    done = convsmith("analyze", "digits_vgg", *images, "--html", page, "--image", picture, "-q")
    assert "by gradients on 2 images" in done.stdout
    assert "Feature maps" in page.read_text(encoding="utf-8")
    picture.write_text("no picture")
    done = convsmith("analyze", "digits_vgg", "--html", page, "--image", picture, "-q")
    assert done.returncode == 2
    assert "cannot identify image file" in done.stderr


TWO_INPUTS = """
from torch import nn

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, left, right):
        return {"left": self.conv(left), "right": self.conv(right)}
"""


def test_analyze_takes_several_inputs_of_any_size(
    convsmith: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "two_inputs.py").write_text(TWO_INPUTS)
    monkeypatch.chdir(tmp_path)
    inputs = ["--input", "1,3,10,10", "--input", "1,3,1000002,1000002"]
    done = convsmith("analyze", "two_inputs:Two", *inputs, "--json", "-q")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [x["shape"][2] for x in found["inputs"]] == [10, 1_000_002]
    assert found["total"]["macs"] == (64 + 10**12) * 4 * 27
    done = convsmith("analyze", "two_inputs:Two", *inputs[:2])
    assert done.returncode == 1
    assert "its inputs are (left, right)" in " ".join(done.stderr.split())


@pytest.mark.usefixtures("_my_network")
def test_a_picture_for_a_network_that_does_not_say_how_images_are_prepared(
    convsmith: Callable[..., Done], tmp_path: Path
) -> None:
    from PIL import Image

    page, picture = tmp_path / "page.html", tmp_path / "one.png"
    Image.new("RGB", (30, 20), "green").save(picture)
    words = ["--input", "1,3,9,12", "--html", page, "--image", picture, "--json", "-q"]
    done = convsmith("analyze", "mine:build", *words)
    assert done.returncode == 0, done.stderr
    assert "numbers from 0 to 1" in " ".join(json.loads(done.stdout)["notes"])
    assert "each from its least" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--image", "photo.png"), "--image photo.png: the picture is for a page"),
        (
            ("--html", "page.html", "--image", "photo.png", "--against", "lenet5"),
            "leave out --against lenet5, or the picture",
        ),
        (("--html", "no/such/page.html"), "--html no/such/page.html: there is no folder no/such"),
    ],
)
def test_a_page_that_cannot_be_is_refused(
    convsmith: Callable[..., Done], words: tuple[str, ...], said: str
) -> None:
    done = convsmith("analyze", "digits_vgg", *words)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


@pytest.mark.slow
@pytest.mark.timeout(900)  # it measures every convolution; on a crowded machine that takes longer
def test_mobilenet_v2_on_imagenet_pictures(
    convsmith: Callable[..., Done], shared_data: Path
) -> None:
    weights = shared_data / "weights" / "mobilenet_v2_1.0_224_quant.npz"
    words = ["--weights", weights, "--images", shared_data / "imagenet", "--json"]
    done = convsmith("optimize", "mobilenet_v2", *words)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    for side in (report["before"], report["after"]):
        assert (side["top1"], side["top5"], side["images"]) == (36, 39, 40)
        assert side["ms"] > 0
    assert report["max_abs_error"] < 1e-3
    assert any("fold" in note for note in report["notes"])


@pytest.mark.slow
def test_resnet20_loses_every_batch_norm(convsmith: Callable[..., Done], shared_data: Path) -> None:
    weights = shared_data / "weights" / "cifar10_resnet20-12fca82f.th"
    images = shared_data / "cifar10" / "lossless_train_0_1999.npz"
    words = ["optimize", "resnet20", "--weights", weights, "--images", images, "--json"]
    done = convsmith(*words)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["before"]["top1"] == report["after"]["top1"] == 1997
    folds = [c for c in report["certificates"] if c["rule"] == "fold_batchnorm"]
    assert len(folds) == 19
