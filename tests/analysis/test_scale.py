# SPDX-License-Identifier: Apache-2.0
"""Large questions are answered from shapes: deep networks, large images, many weights."""

import subprocess
import sys
import time

import pytest
import torch
from torch import nn

import convsmith as cs


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x))
        y += x
        return y.relu()


def deep(blocks: int, channels: int) -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(nn.Conv2d(3, channels, 1), *[Block(channels) for _ in range(blocks)])


def test_ten_billion_parameters_and_a_hundred_million_pixels() -> None:
    found = cs.analyze(deep(20, 7500), (1, 3, 10_000, 10_000))
    assert found.total.parameters > 10**10
    assert found.total.macs.all == 10**8 * (3 * 7500 + 20 * 7500**2 * 9)
    assert found.cone.axes[0].size == 41


# Run alone: a test before this one may have taken more memory than the question does.
LARGE = """
import resource, time
from convsmith.cli import main
started = time.perf_counter()
try:
    main()
finally:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{time.perf_counter() - started:.1f} s, {peak:.2f} GiB", file=__import__("sys").stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("side", [224, 10_000])
def test_a_hundred_million_pixels_on_the_command_line(side: int) -> None:
    words = ["analyze", "resnet50", "--input", f"1,3,{side},{side}", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", LARGE, *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    took = done.stderr.strip().splitlines()[-1]
    print(f"{side} x {side}: {took}")
    assert float(took.split()[2]) < 2
    assert "483 x 483" in done.stdout


@pytest.mark.slow
def test_a_thousand_convolutions_with_norms_and_skips() -> None:
    started = time.process_time()
    found = cs.analyze(deep(1000, 64), (1, 3, 224, 224))
    print(f"1,000 convolutions: {time.process_time() - started:.1f} s of one core")
    assert len(found.layers) == 1 + 4 * 1000
    assert found.total.macs.all == 224**2 * (3 * 64 + 1000 * 64**2 * 9)
    assert found.cone.axes[0].size == 2001
