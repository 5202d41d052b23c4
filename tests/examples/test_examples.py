# SPDX-License-Identifier: Apache-2.0
"""The examples run, and their page shows what was recorded."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
RESULTS = sorted((EXAMPLES / "results").glob("*.json"))
# What is no example: it serves all of them.
SERVANTS = {"comparing", "recording", "tables", "written_pages"}
NAMES = sorted(file.stem for file in EXAMPLES.glob("*.py") if file.stem not in SERVANTS)


def test_the_page_is_made_of_the_results() -> None:
    page = runpy.run_path(str(EXAMPLES / "tables.py"))["page"]()
    assert page == (REPOSITORY / "docs" / "examples.md").read_text()


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.stem)
def test_a_result_has_an_example_and_a_picture(file: Path) -> None:
    found = json.loads(file.read_text())
    assert file.stem in NAMES
    assert found["command"] == f"python examples/{file.stem}.py"
    assert all(len(row) == len(found["columns"]) for row in found["rows"])
    ElementTree.parse(file.with_suffix(".svg"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_rehearsed(name: str, shared_data: Path, tmp_path: Path) -> None:
    words = [EXAMPLES / f"{name}.py", "--quick", "--data-root", shared_data, "--out", tmp_path]
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / f"{name}.json").read_text())
    assert re.search(rf"examples/{name}\.py --quick", found["command"])
    ElementTree.parse(tmp_path / f"{name}.svg")


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    words = [EXAMPLES / "gridding.py", "--quick", "--data-root", tmp_path]
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "isbi_em/image, isbi_em/label not found in" in done.stderr
