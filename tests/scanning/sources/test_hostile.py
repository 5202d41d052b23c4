# SPDX-License-Identifier: Apache-2.0
"""Hostile files end in a clear error, in bounded memory and time."""

import random
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

pytest.importorskip("rasterio")
pytest.importorskip("imagecodecs")

from .hostile_files import mutated, seeds, tried

SCRIPT = Path(__file__).with_name("hostile_files.py")
BUDGET = 2**26
# Decoded once within the budget, once more as the window, and what decoders need beside.
MOST = 2 * BUDGET + 2**25


def outcomes(*arguments: str, seconds: int) -> list[tuple[str, str, int, str]]:
    """Name, what came of it, bytes of growth and message of each file that the script tried."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = (line.split("\t") for line in done.stdout.splitlines())
    return [(name, came, int(grown), message) for name, came, grown, message in rows]


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_bombs_and_lies(tmp_path: Path) -> None:
    found = outcomes("bombs", str(tmp_path), seconds=280)
    hostile = [row for row in found if not row[0].startswith("good")]
    assert len(found) - len(hostile) >= 12
    assert len(hostile) >= 20
    assert [row for row in found if row[2] > MOST] == []
    # Where a decoder stops when the pixels are full, what is left of a bomb is never unpacked.
    stopped = {name for name, came, *_ in hostile if came == "read"}
    assert stopped == {
        "png, more rows than it says",
        "tiff, lzw tile that becomes more",
        "geotiff, tile that becomes more",
    }
    assert [row for row in found if row[0].startswith("good") != (row[1] == "read")] == [
        row for row in hostile if row[0] in stopped
    ]


@pytest.mark.parametrize("name", seeds())
def test_damage_is_read_or_refused(tmp_path: Path, name: str) -> None:
    chance, came = random.Random(name), []
    for number in range(4):
        path = tmp_path / str(number)
        path.write_bytes(mutated(seeds()[name], chance))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the readers about what they meet
            came.append(tried(path))
    assert [row for row in came if row[0] == "wrong"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_much_damage_is_read_or_refused_in_little_memory(tmp_path: Path) -> None:
    found = outcomes("mutations", str(tmp_path), "1000", seconds=880)
    assert len(found) == 1000 * len(seeds())
    assert [row for row in found if row[1] == "wrong"] == []
    assert [row for row in found if row[2] > MOST] == []
    refused = [row for row in found if row[1] == "refused"]
    assert len(found) / 5 < len(refused) < len(found)
