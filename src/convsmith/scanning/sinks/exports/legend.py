# SPDX-License-Identifier: Apache-2.0
"""A legend at the right of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_LINE, _SWATCH, _MARGIN, _LEAST = 22, 16, 12, 160
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


@dataclass(frozen=True)
class Entry:
    """A colour and what it stands for."""

    colour: tuple[int, ...]
    text: str


def with_legend(
    picture: Image.Image, title: Sequence[str], entries: Sequence[Entry]
) -> Image.Image:
    """The picture with its title and entries beside it, as many as there is room for."""
    font = ImageFont.load_default(14)
    height = max(picture.height, _MARGIN * 2 + _LINE * (len(title) + min(len(entries), 8) + 2))
    room = (height - 2 * _MARGIN) // _LINE - len(title) - 1
    shown = list(entries) if len(entries) <= room else list(entries[: room - 1])
    left_out = len(entries) - len(shown)
    texts = [*title, *(entry.text for entry in shown)]
    width = max(_LEAST, *(int(font.getlength(text)) for text in texts)) + _SWATCH + 3 * _MARGIN
    page = Image.new("RGB", (picture.width + width, height), _PAPER)
    page.paste(picture, (0, 0))
    draw = ImageDraw.Draw(page)
    left, top = picture.width + _MARGIN, _MARGIN
    for line in title:
        draw.text((left, top), line, _INK, font)
        top += _LINE
    top += _LINE // 2
    for entry in shown:
        draw.rectangle((left, top, left + _SWATCH, top + _SWATCH), entry.colour)
        draw.text((left + _SWATCH + _MARGIN, top), entry.text, _INK, font)
        top += _LINE
    if left_out:
        draw.text((left, top), f"and {left_out} more", _INK, font)
    return page
