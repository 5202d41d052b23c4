# SPDX-License-Identifier: Apache-2.0
"""What times depend on."""

import platform
from pathlib import Path
from typing import Any

import torch

from convsmith import native


def machine() -> dict[str, Any]:
    """Return what times depend on: processor, threads and versions."""
    return {
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "target": native.info()["target"],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")
