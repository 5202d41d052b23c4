# SPDX-License-Identifier: Apache-2.0
"""Exports a result and prints by how many bytes the process has grown; run by test_peak.py.

peak.py FOLDER TARGET BUDGET
"""

import sys
from pathlib import Path

import numpy as np

from convsmith.scanning.plan import Plan
from convsmith.scanning.sinks import Store, export
from convsmith.scanning.sources import SyntheticSource
from convsmith.scanning.tiling import AxisPlan

SIZE, CORE = 9000, 900


def create(folder: Path, size: int) -> Store:
    """A result of size x size scores of one class."""
    axis = AxisPlan.fitted(size=size, outputs=size, stride=1, a=0, b=0, period=1, core=CORE)
    plan = Plan(axes=(axis, axis), in_channels=1, out_channels=1)
    store = Store.create(folder, plan)
    for number in range(len(plan)):
        tile = plan.tile(number)
        store.write(tile, [np.full((1, CORE, CORE), number, np.float32)])
    return store


def memory(kind: str) -> int:
    """Bytes of this process, resident (VmRSS) or at their peak (VmHWM)."""
    (line,) = (s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith(kind))
    return 1024 * int(line.split()[1])


def main(folder: Path, target: Path, budget: int) -> None:
    # A small one first, so that what libraries take once is not counted.
    for name, size in (("small", CORE), ("large", SIZE)):
        store, image = create(folder / name, size), SyntheticSource((1, size, size))
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
        export(store, target, image=image, size=300, budget=budget)
        grown = memory("VmHWM") - before
    print(grown)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
