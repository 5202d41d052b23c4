# SPDX-License-Identifier: Apache-2.0
"""A result over its image, small enough to look at, with a legend."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convsmith.errors import ArgumentError, UnsupportedError
from convsmith.scanning.sinks.exports.colours import class_colour, heat_colours
from convsmith.scanning.sinks.exports.legend import Entry, with_legend
from convsmith.scanning.sinks.exports.preview import shrunken
from convsmith.scanning.sinks.exports.sampling import Grid
from convsmith.scanning.sinks.store import Store
from convsmith.scanning.sources import Source, open_source

_COVER = 0.55  # how much of a pixel is the result's colour


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """What a picture shows: see `export`."""

    image: Source | np.ndarray | str | os.PathLike[str] | None
    of: int | str | None
    classes: Sequence[str] | None
    size: int
    budget: int


def write_overlay(store: Store, path: Path, asked: Overlay) -> None:
    """Write the picture: labels in the colours of their classes, or the heat map of one class.

    A pixel shows the output whose cell holds its centre; where none does, the image alone.

    Raises:
        UnsupportedError: if the result has not two axes of space.
        ArgumentError: if the image is not at hand or another one, or there is no such class.
    """
    source = _image_of(store, asked)
    factor = max(1, -(-max(source.shape[1:]) // asked.size))
    picture = shrunken(source, factor, asked.budget)
    grid = Grid(store, factor, picture.shape[:2], asked.budget)
    names = list(asked.classes or store.facts.get("classes", ()))
    if store.plan.output in ("labels", "topk"):
        drawn = _labels(grid, names)
    else:
        drawn = _heat(grid, names, asked.of)
    # Over grey, so that no colour is the image's own.
    grey = picture.mean(axis=2, keepdims=True)
    blended = (1 - _COVER) * grey + _COVER * drawn.colours
    shown = np.where(drawn.covered[..., np.newaxis], blended, picture).round().astype(np.uint8)
    promise = {"fcn": "network on the whole image", "patch": "classifier on every crop"}
    lines = [
        drawn.title,
        promise[store.plan.promise],
        f"{source.shape[2]} x {source.shape[1]} pixels",
    ]
    with_legend(Image.fromarray(shown), lines, drawn.entries).save(path)


@dataclass(frozen=True)
class _Drawn:
    """A result in colours, where it covers the picture, and what the colours mean."""

    title: str
    colours: np.ndarray
    covered: np.ndarray
    entries: list[Entry]


def _labels(grid: Grid, names: list[str]) -> _Drawn:
    colours = np.zeros((*grid.shape, 3))
    covered = np.zeros(grid.shape, bool)
    seen: Counter[int] = Counter()
    for at, values in grid.blocks():
        labels, counts = np.unique(values[0], return_counts=True)
        seen.update(dict(zip(labels.tolist(), counts.tolist(), strict=True)))
        palette = np.array([class_colour(int(label)) for label in labels])
        colours[at] = palette[np.searchsorted(labels, values[0])]
        covered[at] = True
    total = sum(seen.values())
    entries = [
        Entry(class_colour(label), f"{_name(names, label)}  {count / total:.1%}")
        for label, count in seen.most_common()
    ]
    return _Drawn("best class", colours, covered, entries)


def _heat(grid: Grid, names: list[str], of: int | str | None) -> _Drawn:
    number = _class_number(grid, names, of)
    heat = np.full(grid.shape, np.nan)
    for at, values in grid.blocks():
        heat[at] = values[number]
    covered = np.isfinite(heat)
    low, high = (float(f(heat[covered])) if covered.any() else 0.0 for f in (np.min, np.max))
    scaled = (np.where(covered, heat, low) - low) / ((high - low) or 1.0)
    steps = np.linspace(1, 0, 5)
    entries = [
        Entry(tuple(heat_colours(step).tolist()), f"{low + step * (high - low):.3g}")
        for step in steps
    ]
    title = f"{grid.store.plan.output}: {_name(names, number)}"
    return _Drawn(title, heat_colours(scaled), covered, entries)


def _class_number(grid: Grid, names: list[str], of: int | str | None) -> int:
    """The class asked for, or the one with the highest score of all."""
    classes = grid.store.plan.out_channels
    if of is None:
        peaks = np.full(classes, -np.inf)
        for _, values in grid.blocks():
            peaks = np.fmax(peaks, np.fmax.reduce(values, axis=(1, 2)))
        return int(peaks.argmax())
    number = names.index(of) if of in names else of
    if not isinstance(number, int) or not 0 <= number < classes:
        raise ArgumentError(
            f"export: of={of!r}, and the result has {classes} classes"
            f"{', such as ' + repr(names[0]) if names else ', without names'}; give a number from "
            f"0 to {classes - 1} or a name"
        )
    return number


def _name(names: list[str], number: int) -> str:
    return names[number] if number < len(names) else f"class {number}"


def _image_of(store: Store, asked: Overlay) -> Source:
    plan = store.plan
    if len(plan.axes) != 2:
        raise UnsupportedError(
            f"export: a picture has two axes of space, and {store.folder} has {len(plan.axes)}; "
            f"write it as .npy"
        )
    image: Any = asked.image if asked.image is not None else plan.source.get("path")
    if image is None:
        raise ArgumentError(
            "export: the plan names no file of the image, which was an array; give it with image="
        )
    source = open_source(image)
    sizes = tuple(axis.size for axis in plan.axes)
    if source.shape[1:] != sizes:
        raise ArgumentError(
            f"export: the image is {source.shape[1:]}, and the one that was scanned {sizes}; give "
            f"that one"
        )
    return source
