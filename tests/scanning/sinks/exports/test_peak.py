# SPDX-License-Identifier: Apache-2.0
"""Exporting takes the memory that it is given, not that of the result."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("peak.py")
BUDGET = 2**24


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("ending", ["tif", "npy", "png"])
def test_the_peak_is_far_below_the_result(tmp_path: Path, ending: str) -> None:
    """A result of 324 MB. What is read, what is written of it, and what libraries keep."""
    if ending == "tif":
        pytest.importorskip("rasterio")
    command = [sys.executable, str(SCRIPT), str(tmp_path), f"{tmp_path}/out.{ending}", str(BUDGET)]
    # One arena: what malloc keeps for each of many threads is not what an export holds.
    alone = os.environ | {"MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=380, env=alone)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 5 * BUDGET
