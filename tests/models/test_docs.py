# SPDX-License-Identifier: Apache-2.0
"""docs/networks.md lists every network with the numbers that test_sizes holds it to.

Run as a program (`python tests/models/test_docs.py`) this writes the rows of its tables.
"""

import importlib.util
import re
from pathlib import Path

from convsmith import models

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "networks.md"
TASKS = {
    "classification": "A class for an image",
    "segmentation": "A class for every pixel",
    "detection": "Boxes",
    "super-resolution": "A larger image",
    "pulse": "A pulse from video",
}


def published() -> dict[str, tuple[int, int]]:
    specification = importlib.util.spec_from_file_location("sizes", HERE / "test_sizes.py")
    assert specification is not None
    assert specification.loader is not None
    sizes = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(sizes)
    return sizes.PUBLISHED


def row(name: str) -> str:
    network, (parameters, macs) = models.find(name), published()[name]
    size = " x ".join(map(str, network.input_shape))
    return (
        f"| `{name}` | {network.description} | {size} | {parameters:,} | {macs / 1e6:,.1f} "
        f"| {network.source} |"
    )


def table(task: str) -> list[str]:
    names = [name for name in models.NETWORKS if models.find(name).task == task]
    return [f"## {TASKS[task]}", "", *HEAD, *map(row, names)]


HEAD = [
    "| network | what it is | input | parameters | million macs | source |",
    "|---|---|---|---|---|---|",
]


def tables() -> str:
    return "\n\n".join("\n".join(table(task)) for task in TASKS)


def test_the_page_has_these_tables() -> None:
    assert tables() in PAGE.read_text()


def test_every_network_is_named_once_in_them() -> None:
    listed = PAGE.read_text().split("## Published weights")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", listed, re.MULTILINE)) == models.list()


if __name__ == "__main__":
    text = PAGE.read_text()
    first = text.index(f"## {TASKS['classification']}")
    last = text.index("## Published weights")
    PAGE.write_text(text[:first] + tables() + "\n\n" + text[last:])
