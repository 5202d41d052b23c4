# SPDX-License-Identifier: Apache-2.0
"""Small pictures on a page: bytes in, data URLs out."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

_MARK = (194, 65, 12)  # the colour of what is seen, as the page has it
_SMOOTH_QUALITY = 80


@dataclass(frozen=True, eq=False)
class Picture:
    """Bytes (height, width) or (height, width, 3) and what they show.

    A smooth one may lose a little when it is stored.
    """

    pixels: np.ndarray
    words: str
    is_smooth: bool = False


@dataclass(frozen=True, eq=False)
class Pictures:
    """What a page shows of one layer; `heat` is what its middle output listens to, as bytes."""

    kernels: Picture | None = None
    maps: Picture | None = None
    heat: np.ndarray | None = None

    def to_json(self) -> dict[str, Any]:
        """Return data URLs with their sizes."""
        return {
            "kernels": self.kernels and _shown(self.kernels),
            "maps": self.maps and _shown(self.maps),
            "heat": None if self.heat is None else _heat(self.heat),
        }


def _shown(picture: Picture) -> dict[str, Any]:
    height, width = picture.pixels.shape[:2]
    kind = "JPEG" if picture.is_smooth else "PNG"
    source = stored(picture.pixels, kind)
    return {"src": source, "width": width, "height": height, "words": picture.words}


def _heat(weights: np.ndarray) -> str:
    """One colour, the more of it the more a place matters."""
    import numpy as np

    coloured = np.empty((*weights.shape, 4), np.uint8)
    coloured[..., :3] = _MARK
    coloured[..., 3] = weights
    return stored(coloured, "PNG")


def fitted(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The middle of a picture, as much of it as has these proportions, in this size and colours."""
    from PIL import ImageOps

    return ImageOps.fit(ImageOps.exif_transpose(picture).convert("RGB"), (width, height))


def stored(pixels: np.ndarray, kind: str) -> str:
    """Bytes as a data URL of a PNG or JPEG."""
    from PIL import Image

    file = io.BytesIO()
    options = {"quality": _SMOOTH_QUALITY} if kind == "JPEG" else {"optimize": True}
    Image.fromarray(pixels).save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
