# SPDX-License-Identifier: Apache-2.0
"""What every example does: read its options, write its results as JSON and a picture.

A result carries the table of its page, so that `tables.py` only sets it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import sys
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from PIL import Image

import convsmith

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What an example was asked for."""

    quick: bool
    data_root: Path | None
    out: Path
    command: str
    names: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One column of bars: a title, and for each row (value, least, largest)."""

    title: str
    spans: Sequence[tuple[float, float, float]]
    digits: int = 2
    start: float = 0.0  # where the bars begin


def options(description: str | None, names: str = "") -> Options:
    """The words of the command line; `names` is what its free words name, if it takes any."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a rehearsal: seconds, no meaning")
    parser.add_argument("--data-root", type=Path, help="the folder of the data sets")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of the results")
    if names:
        parser.add_argument("names", nargs="*", metavar=names.upper(), help=f"only these {names}")
    given = parser.parse_args()
    command = f"python examples/{Path(sys.argv[0]).name}{' --quick' if given.quick else ''}"
    return Options(
        quick=given.quick,
        data_root=given.data_root,
        out=given.out,
        command=command,
        names=getattr(given, "names", ()),
    )


def say(words: str) -> None:
    """Tell the reader how far it is."""
    print(words, file=sys.stderr, flush=True)


def spread(found: Sequence[float], form: str) -> str:
    """The mean, and the least and largest."""
    return f"{mean(found):{form}} ({min(found):{form}} to {max(found):{form}})"


def record(
    name: str,
    given: Options,
    *,
    title: str,
    words: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    data: Any,
    picture: str,
) -> None:
    """Write NAME.json and NAME.svg; a rehearsal writes nothing unless another folder is given."""
    print("\n".join("  ".join(cells) for cells in [columns, *rows]))
    if given.quick and given.out == RESULTS:
        return
    result = {
        "title": title,
        "words": words,
        "command": given.command,
        "columns": list(columns),
        "rows": [list(row) for row in rows],
        "data": data,
        "machine": _machine(),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    (given.out / f"{name}.svg").write_text(picture)
    say(f"wrote {given.out / name}.json and .svg")


def _machine() -> dict[str, Any]:
    names = [line for line in _cpuinfo() if line.startswith("model name")]
    return {
        "cpu": names[0].split(":", 1)[1].strip() if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "convsmith": convsmith.__version__,
        "date": date.today().isoformat(),
        "cores": os.cpu_count(),
        # Over the last five minutes: what is above this example's own thread was other work.
        "load": round(os.getloadavg()[1], 1),
    }


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


_ROW, _LABEL, _PANEL, _GAP, _TOP = 26, 230, 250, 70, 40


def bars(labels: Sequence[str], panels: Sequence[Panel]) -> str:
    """Rows of bars, one column a panel, a whisker from least to largest, as SVG."""
    width = _LABEL + len(panels) * (_PANEL + _GAP)
    height = _TOP + _ROW * len(labels) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for row, label in enumerate(labels):
        y = _TOP + row * _ROW + 17
        parts.append(f'<text x="{_LABEL - 8}" y="{y}" text-anchor="end">{escape(label)}</text>')
    for column, panel in enumerate(panels):
        parts += _panel(panel, _LABEL + column * (_PANEL + _GAP))
    return "\n".join([*parts, "</svg>\n"])


def _panel(panel: Panel, left: int) -> list[str]:
    end = max(high for _, _, high in panel.spans)
    scale = _PANEL / max(end - panel.start, 1e-12)
    parts = [f'<text x="{left}" y="22" font-weight="bold">{escape(panel.title)}</text>']
    for row, (value, low, high) in enumerate(panel.spans):
        top = _TOP + row * _ROW
        at = [left + max(0.0, number - panel.start) * scale for number in (low, value, high)]
        middle = top + 12
        parts += [
            f'<rect x="{left}" y="{top + 3}" width="{at[1] - left:.1f}" height="18" '
            'fill="#4878a8"/>',
            f'<path d="M{at[0]:.1f} {middle}H{at[2]:.1f}" stroke="black"/>',
            f'<text x="{at[2] + 6:.1f}" y="{top + 17}">{value:.{panel.digits}f}</text>',
        ]
    return parts


_BETWEEN, _NAME = 10, 84


def tiles(
    rows: Sequence[Sequence[np.ndarray]],
    row_names: Sequence[str],
    column_names: Sequence[str],
    side: int = 150,
) -> str:
    """Small pictures, uint8 (h, w, 3), in rows and columns with names, as SVG."""
    width = _NAME + len(rows[0]) * (side + _BETWEEN)
    height = 30 + len(rows) * (side + _BETWEEN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for column, name in enumerate(column_names):
        x = _NAME + column * (side + _BETWEEN)
        parts.append(f'<text x="{x}" y="20">{escape(name)}</text>')
    for row, (pictures, name) in enumerate(zip(rows, row_names, strict=True)):
        y = 30 + row * (side + _BETWEEN)
        parts.append(f'<text x="8" y="{y + side / 2}">{escape(name)}</text>')
        for column, pixels in enumerate(pictures):
            x = _NAME + column * (side + _BETWEEN)
            parts.append(
                f'<image x="{x}" y="{y}" width="{side}" height="{side}" '
                f'style="image-rendering:pixelated" href="{_embedded(pixels)}"/>'
            )
    return "\n".join([*parts, "</svg>\n"])


def _embedded(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
