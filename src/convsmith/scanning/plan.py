# SPDX-License-Identifier: Apache-2.0
"""A plan: what a scan will do, as plain data. Two plans of one fingerprint give the same bytes.

The JSON (`Plan.to_json()`, version 1) has the fields of `Plan` under their own names; an axis is an
object of `AxisPlan`'s fields, and a fraction is [numerator, denominator].
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from math import prod
from typing import Any, Literal, get_args

from convsmith.errors import FormatError, ShapeError
from convsmith.scanning.tiling import AxisPlan

FORMAT, VERSION = "convsmith scan plan", 1
ABSENT: Any = object()  # of a field that only one of two plans has

Output = Literal["scores", "probabilities", "labels", "topk"]
Promise = Literal["fcn", "patch"]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One tile of a plan, with one entry per spatial axis in all but its number.

    Attributes:
        number: Its place in the row-major order of all tiles.
        index: Its place along each axis: the chunk of the result that it writes.
        read: What it reads of the image.
        keep: What it keeps of its own result.
        write: Where that belongs in the whole result.
        shape: The sizes of what it reads.
    """

    number: int
    index: tuple[int, ...]
    read: tuple[slice, ...]
    keep: tuple[slice, ...]
    write: tuple[slice, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a scan reads, runs and writes, tile by tile.

    Attributes:
        axes: The spatial axes, one to three.
        in_channels, out_channels: Of the image and of the network's result.
        batch: Tiles that run at once, of one shape.
        output: What is kept of the scores.
        k: Of `output="topk"`, how many classes.
        promise: "fcn": the network on the whole image. "patch": the classifier on every crop.
        weights, graph: Digests of the network's numbers and of its operators.
        kernels: How its convolutions are computed, where that was chosen by a planner.
        source: What tells this image from another.
        preprocess: The normalisation of each pixel.
        versions: Of the libraries that compute.
        threads: That compute one tile: the order of sums may depend on them.

    Raises:
        ShapeError: if there are no axes or more than three, or a count is below 1.
    """

    axes: tuple[AxisPlan, ...]
    in_channels: int
    out_channels: int
    batch: int = 1
    output: Output = "scores"
    k: int = 1
    promise: Promise = "fcn"
    weights: str = ""
    graph: str = ""
    kernels: tuple[str, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in _COUNTS}
        if not 1 <= len(self.axes) <= 3 or min(counts.values()) < 1:
            raise ShapeError(f"plan: {len(self.axes)} axes must be 1 to 3, and {counts} positive")

    def __len__(self) -> int:
        return prod(self.grid)

    @property
    def grid(self) -> tuple[int, ...]:
        """Tiles along each axis."""
        return tuple(axis.tiles() for axis in self.axes)

    @property
    def cores(self) -> tuple[int, ...]:
        """Outputs that a tile writes along each axis: the chunk of the result."""
        return tuple(axis.core for axis in self.axes)

    @property
    def outputs(self) -> tuple[int, ...]:
        """The sizes of the whole result."""
        return tuple(axis.outputs for axis in self.axes)

    def tile(self, number: int) -> Tile:
        """One tile by its number.

        Raises:
            ShapeError: if there is no such tile.
        """
        if not 0 <= number < len(self):
            raise ShapeError(f"plan: there is no tile {number} among {len(self)}")
        index: list[int] = []
        rest = number
        for size in reversed(self.grid):
            rest, place = divmod(rest, size)
            index.insert(0, place)
        tiles = [axis.tile(place) for axis, place in zip(self.axes, index, strict=True)]
        return Tile(
            number=number,
            index=tuple(index),
            read=tuple(tile.read for tile in tiles),
            keep=tuple(tile.keep for tile in tiles),
            write=tuple(tile.write for tile in tiles),
            shape=tuple(tile.read.stop - tile.read.start for tile in tiles),
        )

    @property
    def fingerprint(self) -> str:
        """A digest of everything in the plan."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def differing(self, other: "Plan") -> dict[str, tuple[Any, Any]]:
        """The fields in which two plans differ, and this one's and the other's value, which may be
        `ABSENT`: {"threads": (1, 2), "axes.0.core": (32, 48)}.
        """
        mine, theirs = (dict(_leaves(plan.to_json())) for plan in (self, other))
        pairs = {
            path: (mine.get(path, ABSENT), theirs.get(path, ABSENT))
            for path in sorted({*mine, *theirs})
        }
        return {path: (a, b) for path, (a, b) in pairs.items() if a != b}

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        return {
            "format": FORMAT,
            "version": VERSION,
            **{f.name: getattr(self, f.name) for f in fields(self)},
            "axes": [_axis_to_json(axis) for axis in self.axes],
            "kernels": list(self.kernels),
        }

    @staticmethod
    def from_json(data: Any) -> "Plan":
        """The plan that `to_json` wrote.

        Raises:
            FormatError: if `data` is not of that form.
        """
        if not isinstance(data, dict) or (data.get("format"), data.get("version")) != (
            FORMAT,
            VERSION,
        ):
            raise FormatError(
                f"plan: {str(data)[:80]} is not a {FORMAT} of version {VERSION}; it is damaged or "
                "was written by another version."
            )
        given = {name: value for name, value in data.items() if name not in ("format", "version")}
        try:
            axes = tuple(_axis_from_json(axis) for axis in given.pop("axes"))
            plan = Plan(axes=axes, kernels=tuple(given.pop("kernels")), **given)
            _check_kinds(plan)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise FormatError(
                f"plan: a field is missing, unknown or wrong ({error}); the file is damaged."
            ) from error
        return plan


_COUNTS = ("in_channels", "out_channels", "batch", "k", "threads")
_CHOICES = {"output": get_args(Output), "promise": get_args(Promise)}
_MAPPINGS = ("source", "preprocess", "versions")


def _check_kinds(plan: Plan) -> None:
    """What a file may get wrong and the type checker cannot see."""
    wrong = [name for name in _COUNTS if type(getattr(plan, name)) is not int]
    wrong += [name for name, choices in _CHOICES.items() if getattr(plan, name) not in choices]
    wrong += [name for name in _MAPPINGS if not isinstance(getattr(plan, name), dict)]
    wrong += [name for name in ("weights", "graph") if not isinstance(getattr(plan, name), str)]
    if wrong:
        raise ValueError(", ".join(f"{name} {getattr(plan, name)!r:.40}" for name in wrong))


def _axis_to_json(axis: AxisPlan) -> dict[str, Any]:
    plain = asdict(axis)
    return {
        name: [value.numerator, value.denominator] if isinstance(value, Fraction) else value
        for name, value in plain.items()
    }


def _axis_from_json(data: Mapping[str, Any]) -> AxisPlan:
    values: dict[str, Any] = {
        f.name: Fraction(*data[f.name]) if f.type is Fraction else data[f.name]
        for f in fields(AxisPlan)
    }
    if any(type(v) not in (int, Fraction) for v in values.values()) or len(data) != len(values):
        raise ValueError(f"axis {data!r:.80}")
    return AxisPlan(**values)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value in nested data, with its path."""
    if not isinstance(value, Mapping | list | tuple):
        yield path, value
        return
    rows = value.items() if isinstance(value, Mapping) else enumerate(value)
    for name, item in rows:
        yield from _leaves(item, f"{path}.{name}" if path else str(name))
