# SPDX-License-Identifier: Apache-2.0
"""The result of a scan on disk: Zarr version 3, a tile's core a chunk, whole or absent.

    zarr.json            the array, or for the k best classes a group of two
    c/...                its chunks: zstd, then a checksum (CRC-32C) that every reader tests
    convsmith/plan.json  what was asked for; the folder holds the run's journal and lock, too

A chunk is a file of its own, so tiles are written by any thread, process or machine without asking
the others. Zarr's own writer does not wait for the disk; this one does.
"""

import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs.zstd import Zstd

from convsmith.errors import ArgumentError, FormatError
from convsmith.scanning.lettering import Lettering
from convsmith.scanning.plan import Plan, Tile
from convsmith.scanning.sinks.describing import LEVEL, OWN, facts, metadata, outside
from convsmith.scanning.sinks.durable import write_durably
from convsmith.scanning.sinks.reduction import Part, parts_of
from convsmith.scanning.sources.protocol import Place


@dataclass(frozen=True)
class Written:
    """What a tile left on disk: its size, and the CRC-32 of its files' bytes in their order."""

    checksum: int
    num_bytes: int


@dataclass(frozen=True)
class Store:
    """The result of one plan. `Store.create` makes it, `Store.open` finds it again.

    Every array is (channels, *outputs) unless its `axes` say otherwise. What pickles is the folder
    and the plan.
    """

    folder: Path
    plan: Plan
    lettering: Lettering

    @staticmethod
    def create(
        folder: str | os.PathLike[str],
        plan: Plan,
        *,
        axes: str | None = None,
        place: Place | None = None,
        classes: Sequence[str] | None = None,
    ) -> "Store":
        """Make an empty result in a new or empty folder.

        Args:
            folder: Where; a Zarr reader opens this very folder.
            plan: What will be written.
            axes: The order of the array's axes; "CHW" if nothing is said.
            place: Where the *image* lies; that of the result follows from the plan.
            classes: The names of the channels, kept beside the array.

        Raises:
            ArgumentError: if the folder holds something else, or the axes do not fit the plan.
            OSError: if it cannot be written.
        """
        folder = Path(folder).absolute()
        lettering = Lettering(axes) if axes else Lettering.usual(len(plan.axes))
        if lettering.num_space != len(plan.axes) or not lettering.has_channels:
            raise ArgumentError(
                f"scan: axes {lettering.axes!r} have {lettering.num_space} of space; the result "
                f"has {len(plan.axes)}, and C for its channels"
            )
        if classes is not None and len(classes) != plan.out_channels:
            raise ArgumentError(
                f"scan: {len(classes)} names for {plan.out_channels} classes; give one for each"
            )
        _check_free(folder)
        store = Store(folder, plan, lettering)
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in metadata(plan, lettering, facts(plan, place, classes)).items():
            store._put(folder / name, data)
        # Last: a folder with a plan is a whole one.
        text = json.dumps(plan.to_json(), indent=1, sort_keys=True) + "\n"
        store._put(_plan_file(folder), text.encode())
        return store

    @staticmethod
    def exists(folder: str | os.PathLike[str]) -> bool:
        """Whether a folder holds a result, finished or not."""
        return _plan_file(Path(folder)).is_file()

    @staticmethod
    def open(folder: str | os.PathLike[str]) -> "Store":
        """The result in a folder.

        Raises:
            FormatError: if there is none, or it is damaged.
        """
        folder = Path(folder).absolute()
        if not Store.exists(folder):
            raise FormatError(
                f"scan: {folder} is no result of a scan: it has no {OWN}/plan.json; name the "
                f"folder that was given as the sink"
            )
        try:
            plan = Plan.from_json(json.loads(_plan_file(folder).read_bytes()))
        except ValueError as error:
            raise FormatError(f"scan: the plan of {folder} is damaged: {error}") from error
        part = parts_of(plan)[0]
        node = _open_zarr(folder / part.name)
        names = getattr(node.metadata, "dimension_names", None) or ()
        letters = "".join((name or "?")[0].upper() for name in names)
        return Store(folder, plan, Lettering(letters))

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.folder, self.plan, self.lettering)

    @property
    def own(self) -> Path:
        """The folder beside the chunks for what belongs to the run: its journal, its lock."""
        return self.folder / OWN

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        return parts_of(self.plan)

    @cached_property
    def arrays(self) -> Mapping[str, zarr.Array]:
        """The arrays for reading, by the name of their part; "" where there is one alone."""
        return {part.name: _open_zarr(self.folder / part.name) for part in self.parts}

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the result says of itself: output, promise, stride, corner, place, classes."""
        said = zarr.open(self.folder, mode="r").attrs.asdict().get(OWN)
        return said if isinstance(said, Mapping) else {}

    @property
    def place(self) -> Place | None:
        """Where the result lies, if the image's place was known."""
        place = self.facts.get("place")
        return Place(crs=place["crs"], transform=tuple(place["transform"])) if place else None

    def write(self, tile: Tile, arrays: Sequence[np.ndarray]) -> Written:
        """Write one tile; it is durable when this returns, and whole or absent at any time.

        Args:
            tile: Of the plan.
            arrays: One for each part, each (channels, *core), as `reduced` gives for one tile.

        Raises:
            ArgumentError: if the arrays are not those that the plan asks for.
            OSError: if the disk refuses, with the chunk's name.
        """
        chunks = [self._chunk(tile, *pair) for pair in zip(self.parts, arrays, strict=True)]
        checksum = 0
        for part, chunk in zip(self.parts, chunks, strict=True):
            self._put(self._file(tile, part), chunk)
            checksum = zlib.crc32(chunk, checksum)
        return Written(checksum, sum(map(len, chunks)))

    def verify(self, tile: Tile, checksum: int | None = None) -> bool:
        """Whether a tile is on disk and whole: its own checksums, and the given one, hold."""
        found = 0
        for part in self.parts:
            try:
                chunk = self._file(tile, part).read_bytes()
            except FileNotFoundError:
                return False
            if chunk[-4:] != _crc32c(chunk[:-4]):
                return False
            found = zlib.crc32(chunk, found)
        return checksum is None or found == checksum

    def missing(self) -> Iterator[int]:
        """The numbers of the tiles that are not there."""
        for number in range(len(self.plan)):
            tile = self.plan.tile(number)
            if not all(self._file(tile, part).is_file() for part in self.parts):
                yield number

    def read(self, window: tuple[slice, ...], *, part: str = "") -> np.ndarray:
        """A window of one array as (channels, *window), whatever the order on disk.

        Raises:
            FormatError: if a chunk does not match its checksum.
        """
        selection = (slice(None), *window)
        try:
            values = self.arrays[part][outside(self.lettering, selection)]
        except (ValueError, RuntimeError) as error:
            raise FormatError(
                f"scan: {self.folder} holds a damaged chunk in {window}: {error}; delete it and "
                f"scan again into the same folder"
            ) from error
        return self.lettering.inside(np.asarray(values))

    def sweep(self) -> None:
        """Delete what a crash left of unfinished chunks. Only while nobody writes."""
        if self._scratch.is_dir():
            for unfinished in self._scratch.iterdir():
                unfinished.unlink(missing_ok=True)

    @property
    def _scratch(self) -> Path:
        return self.own / "unfinished"

    def _put(self, path: Path, data: bytes) -> None:
        write_durably(path, data, root=self.folder, scratch=self._scratch)

    def _file(self, tile: Tile, part: Part) -> Path:
        index = outside(self.lettering, (0, *tile.index))
        return self.folder.joinpath(part.name, "c", *map(str, index))

    def _chunk(self, tile: Tile, part: Part, array: np.ndarray) -> bytes:
        """The file of one chunk, filled up at the far edges: Zarr's chunks have one size."""
        core = tuple(part_of.stop - part_of.start for part_of in tile.write)
        if array.shape != (part.channels, *core) or array.dtype != part.dtype:
            raise ArgumentError(
                f"scan: tile {tile.number} came as {array.shape} {array.dtype}; the plan's "
                f"{part.name or self.plan.output} are {(part.channels, *core)} {part.dtype}"
            )
        whole = np.full((part.channels, *self.plan.cores), part.missing, part.dtype)
        whole[(slice(None), *(slice(size) for size in core))] = array
        stored = np.ascontiguousarray(self.lettering.outside(whole))
        little = stored.astype(stored.dtype.newbyteorder("<"), copy=False)
        packed = bytes(Zstd(level=LEVEL).encode(little))
        return packed + _crc32c(packed)


def _crc32c(data: bytes) -> bytes:
    return google_crc32c.value(data).to_bytes(4, "little")


def _plan_file(folder: Path) -> Path:
    return folder / OWN / "plan.json"


def _open_zarr(folder: Path) -> zarr.Array:
    try:
        return zarr.open_array(folder, mode="r", zarr_format=3)
    except Exception as error:  # whatever damaged metadata make of themselves
        raise FormatError(
            f"scan: {folder} has no readable zarr.json: {error}; it is damaged: scan into a new "
            f"folder"
        ) from error


def _check_free(folder: Path) -> None:
    """A folder may hold what an interrupted `create` left, and nothing else."""
    if not folder.exists():
        return
    if Store.exists(folder):
        raise ArgumentError(
            f"scan: {folder} holds the result of a scan already; continue it, or name a new folder"
        )
    found = {child.name for child in folder.iterdir()} if folder.is_dir() else {folder.name}
    begun = found <= {OWN, "zarr.json", "indices", "values"} and OWN in found
    if found and not begun:
        raise ArgumentError(
            f"scan: {folder} is there already and holds {sorted(found)[0]!r}; name a new or an "
            f"empty folder"
        )
