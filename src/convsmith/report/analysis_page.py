# SPDX-License-Identifier: Apache-2.0
"""What `analyze` found, as one HTML file that needs nothing else.

Names in an analysis are a stranger's. They travel as JSON that cannot end its script element, the
page's own script makes text of them, and the page's policy lets no other script run.
"""

import base64
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convsmith.errors import ArgumentError
from convsmith.report.pictures import Pictures, fitted

_PARTS = Path(__file__).with_name("analysis_parts")
# One script, in this order: what comes later builds on what comes before.
_SCRIPTS = (
    *("elements", "shared", "pictures", "head", "cone", "gridding", "charts", "findings", "layers"),
    "choosing",
)
_SCRIPTS_OF_TWO = ("elements", "against")
_LONGEST = 1024  # pixels of a side that the page stores
_ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def analysis_page(
    found: Mapping[str, Any],
    image: str | Path | None = None,
    pictures: Mapping[int, Pictures] | None = None,
) -> str:
    """An analysis (its `to_json()`) as a page of HTML: strip, charts, cone, holes, findings, table.

    Args:
        image: A picture to draw the cone on, cut and scaled to the shape of the network's input.
        pictures: Kernels, feature maps and what outputs listen to, by the index of the layer.

    Raises:
        ArgumentError: if `image` cannot be read, or no input has height and width.

    >>> page = analysis_page({"model": "</script><b>", "layers": []})
    >>> "</script><b>" in page, "\\\\u003c/script\\\\u003e" in page
    (False, True)
    """
    picture = _data_url(found, Path(image)) if image is not None else None
    drawn = {index: of_layer.to_json() for index, of_layer in (pictures or {}).items()}
    return _filled("page.html", _SCRIPTS, {"analysis": found, "image": picture, "pictures": drawn})


def analyses_page(left: Mapping[str, Any], right: Mapping[str, Any]) -> str:
    """Two analyses as a page of HTML: totals, strips on one scale, and the layers that differ."""
    return _filled("against.html", _SCRIPTS_OF_TWO, {"sides": [left, right]})


def _filled(body: str, scripts: Sequence[str], data: Mapping[str, Any]) -> str:
    script = "\n".join(_part(f"{name}.js") for name in scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "@POLICY@": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'",
        "@STYLE@": _part("page.css"),
        "@BODY@": _part(body).strip(),
        "@SCRIPT@": script,
        "@DATA@": json.dumps(data, allow_nan=False).translate(_ESCAPED),
    }
    return re.sub("@[A-Z]+@", lambda mark: parts[mark[0]], _part("frame.html"))


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")


def _data_url(found: Mapping[str, Any], path: Path) -> str:
    """The picture as the network would get it: its middle, in the shape of the input."""
    from PIL import Image, UnidentifiedImageError

    shapes = [item["shape"] for item in found["inputs"]]
    shape = next((shape for shape in shapes if len(shape) == 4), None)
    if shape is None:
        raise ArgumentError(
            f"image {path}: the inputs are {shapes}; the cone is drawn on a picture only where an "
            "input is batch, channels, height, width; leave it out"
        )
    height, width = shape[2:]
    shrink = min(1.0, _LONGEST / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    try:
        with Image.open(path) as opened:
            drawn = fitted(opened, *size)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ArgumentError(f"image {path}: {error}; give a picture file, a PNG or JPEG") from None
    stored = io.BytesIO()
    drawn.save(stored, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(stored.getvalue()).decode()
