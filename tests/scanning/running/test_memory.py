# SPDX-License-Identifier: Apache-2.0
"""Memory is that of a few tiles, however large the image, and no more than was said before."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .peak_memory import CASES

SCAN = """
import resource, sys
import torch
import convsmith as cs
from convsmith.scanning import SyntheticSource

torch.set_num_threads(1)
side, sink = int(sys.argv[1]), sys.argv[2]
network = torch.nn.Sequential(
    torch.nn.Conv2d(1, 4, 3, stride=4, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 3, 1)
)
cs.scan(
    network, SyntheticSource((1, side, side)), sink, example=torch.zeros(1, 1, 64, 64),
    output="labels", core=250,
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_memory_is_flat_from_2000_to_40000_pixels_a_side(tmp_path: Path) -> None:
    peaks = []
    for side in (2_000, 40_000):
        done = subprocess.run(
            [sys.executable, "-c", SCAN, str(side), str(tmp_path / str(side))],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stdout) * 1024)
    small, large = peaks
    # 400 times the pixels. A tenth is left to allocators; the image alone would be 1.6 GB.
    assert large < 1.1 * small


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES)
def test_a_scan_takes_no_more_than_it_says(case: str, tmp_path: Path) -> None:
    script = Path(__file__).with_name("peak_memory.py")
    done = subprocess.run(
        [sys.executable, script, case, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    estimate, peak = json.loads(done.stdout)
    assert peak <= estimate
