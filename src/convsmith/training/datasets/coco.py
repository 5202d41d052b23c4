# SPDX-License-Identifier: Apache-2.0
"""Images and their boxes, described by one file of JSON as COCO's are; all that is wrong with it.

Source: Lin et al., Microsoft COCO: Common Objects in Context, 2014, arXiv:1405.0312.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convsmith.training.datasets.findings import Findings

DESCRIPTION = "annotations.json"
_NUMBER, _ID, _WORD, _BOX = (
    (int, "a whole number"),
    (int | str, "a whole number or a word"),
    (str, "a word"),
    (object, "a box"),
)
# The lists of a description: what one of each is called, and what it needs.
_LISTS: Mapping[str, tuple[str, Mapping[str, tuple[Any, str]]]] = {
    "images": ("image", {"id": _ID, "file_name": _WORD}),
    "annotations": ("annotation", {"image_id": _ID, "category_id": _NUMBER, "bbox": _BOX}),
    "categories": ("category", {"id": _NUMBER}),
}
_SLACK = 0.5  # half a pixel over the edge is rounding; more is another image's box


@dataclass(frozen=True, kw_only=True)
class Described:
    """For each image its boxes (class, left, top, right, bottom), in pixels; how many classes."""

    boxes: Mapping[Path, Sequence[tuple[float, ...]]]
    classes: int


@dataclass(frozen=True)
class _Entry:
    where: str  # for findings
    content: Mapping[str, Any]


@dataclass(frozen=True)
class _File:
    path: Path
    size: tuple[int, int]


def described(folder: Path, findings: Findings) -> Described:
    """What `annotations.json` in a folder says of the images in it or in its `images/`. Classes are
    numbered in the order of the categories' ids; boxes around crowds are left out.
    """
    where = folder / DESCRIPTION
    content = _content(where, findings)
    images, annotations, categories = (
        list(_entries(content, name, where, findings)) for name in _LISTS
    )
    # The last part of a file's name is what counts.
    names = [Path(entry.content["file_name"]).name for entry in images]
    _require_once(images, "file_name", names, findings)
    for entries in (images, categories):
        _require_once(entries, "id", [entry.content["id"] for entry in entries], findings)
    kinds = sorted({entry.content["id"] for entry in categories})
    known = {entry.content["id"] for entry in images}
    files = _files(folder, images, findings)
    boxes: dict[Any, list[tuple[float, ...]]] = {number: [] for number in files}
    for entry in annotations:
        box = _box(entry, kinds, known, files, findings)
        if box is not None:
            boxes[entry.content["image_id"]].append(box)
    return Described(
        boxes={file.path: boxes[number] for number, file in files.items()}, classes=len(kinds)
    )


def _content(file: Path, findings: Findings) -> Mapping[str, Any]:
    """The three lists; none, and a finding, where they cannot be read."""
    try:
        content = json.loads(file.read_text())
        lists = {name: list(content[name]) for name in _LISTS}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        findings.add(file, f"it is no description of images, annotations and categories: {error}")
        return {}
    for name, entries in lists.items():
        if not entries:
            findings.add(file, f"it lists no {name}")
    return lists


def _entries(
    content: Mapping[str, Any], name: str, file: Path, findings: Findings
) -> Iterator[_Entry]:
    """Those that have what they need."""
    one, fields = _LISTS[name]
    for number, entry in enumerate(content.get(name, ())):
        where = f"{file}, {one} {number}"
        given = entry if isinstance(entry, dict) else {}
        wrong = [
            f"its {field} is {given.get(field)!r}, not {words}"
            for field, (kind, words) in fields.items()
            if field not in given or not isinstance(given[field], kind)
        ]
        for what in wrong:
            findings.add(where, what)
        if not wrong:
            yield _Entry(where, given)


def _require_once(
    entries: Sequence[_Entry], field: str, values: Sequence[Any], findings: Findings
) -> None:
    seen: dict[Any, str] = {}
    for entry, value in zip(entries, values, strict=True):
        first = seen.setdefault(value, entry.where)
        if first != entry.where:
            findings.add(entry.where, f"its {field} {value} is that of {first}")


def _files(folder: Path, images: Sequence[_Entry], findings: Findings) -> dict[Any, _File]:
    """The images that can be read, by their ids."""
    found = {}
    for entry in images:
        path = _file(folder, entry.content["file_name"])
        image = findings.image(path)
        if image is None:
            continue
        found[entry.content["id"]] = _File(path, image.size)
        said = tuple(entry.content.get(side) for side in ("width", "height"))
        if None not in said and said != image.size:
            findings.add(path, f"it is {image.width} x {image.height} pixels, described as {said}")
    return found


def _file(folder: Path, name: str) -> Path:
    """A name in a file may not lead out of the folder."""
    plain = Path(name).name
    return next(
        (f for f in (folder / "images" / plain, folder / plain) if f.exists()), folder / plain
    )


def _box(
    entry: _Entry,
    kinds: Sequence[int],
    known: set[Any],
    files: Mapping[Any, _File],
    findings: Findings,
) -> tuple[float, ...] | None:
    """(class, left, top, right, bottom); None where there is none, or none that can be used."""
    number, kind, sides = (entry.content[f] for f in ("image_id", "category_id", "bbox"))
    if number not in known:
        findings.add(entry.where, f"there is no image {number}")
    elif kind not in kinds:
        findings.add(entry.where, f"there is no category {kind}; known are {[*kinds]}")
    elif not _is_box(sides):
        findings.add(entry.where, f"its box {sides} is not [left, top, width, height]")
    elif number in files and not entry.content.get("iscrowd"):  # else the image is a finding
        width, height = files[number].size
        left, top, w, h = map(float, sides)
        if (
            min(w, h) > 0
            and min(left, top) >= -_SLACK
            and left + w <= width + _SLACK
            and top + h <= height + _SLACK
        ):
            return (float(kinds.index(kind)), left, top, left + w, top + h)
        findings.add(entry.where, f"its box {sides} is not within {width} x {height} pixels")
    return None


def _is_box(sides: Any) -> bool:
    return (
        isinstance(sides, list)
        and len(sides) == 4
        and all(isinstance(side, int | float) and not isinstance(side, bool) for side in sides)
    )
