# SPDX-License-Identifier: Apache-2.0
"""What is done for a tile, in three steps: read, compute, write. Every runner calls these.

Nothing here depends on which tiles were done before, on the process or on the machine of a cluster:
the same plan gives the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from convsmith.scanning.plan import Plan, Tile
from convsmith.scanning.running.journal import Journal
from convsmith.scanning.sinks import Store, reduced
from convsmith.scanning.sources import Source, read_window

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Work:
    """What all tiles of a scan need.

    Attributes:
        retries: How often a tile is tried again before it counts as failed.
        nan: Whether samples that are not numbers are refused or let through.
    """

    plan: Plan
    network: nn.Module
    source: Source
    store: Store
    journal: Journal
    retries: int = 2
    nan: Literal["error", "allow"] = "error"


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """A batch as it is read: its pixels, by place the tile that each is for, and what failed."""

    tiles: Mapping[int, Tile]
    batch: Tensor
    failed: Mapping[int, str]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Results:
    """A batch as it is computed: what each tile writes, and what failed."""

    arrays: Sequence[tuple[Tile, tuple[np.ndarray, ...]]]
    failed: Mapping[int, str]
    seconds: float


@dataclass(kw_only=True)
class Outcome:
    """Which tiles are done, and why others are not."""

    done: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)

    def add(self, other: "Outcome") -> None:
        """Take in what another batch did."""
        self.done += other.done
        self.failed |= other.failed


def run_tiles(work: Work, tiles: Sequence[int], done: Callable[[int], bool]) -> Outcome:
    """Read, compute and write one batch of `Batches`, but for its tiles that are done."""
    return write(work, compute(work, read(work, tiles, done)))


def read(work: Work, tiles: Sequence[int], done: Callable[[int], bool]) -> Pixels:
    """The pixels of a batch, normalised. Every tile keeps its place; where there is none to
    compute, another one stands, so that the network always runs on one number of tiles.
    """
    began = perf_counter()
    found: dict[int, Tile] = {}
    pixels: dict[int, np.ndarray] = {}
    failed: dict[int, str] = {}
    for place, number in enumerate(tiles):
        if done(number):
            continue
        tile = work.plan.tile(number)
        try:
            pixels[place] = _tried(partial(_read, work, tile), work.retries)
            found[place] = tile
        except Exception as error:  # a source may be anybody's code
            failed[number] = f"reading: {error}"
    return Pixels(
        tiles=found,
        batch=_stacked(pixels, work.plan.batch),
        failed=failed,
        seconds=perf_counter() - began,
    )


def compute(work: Work, pixels: Pixels) -> Results:
    """Run the network on a batch; of each tile, keep what it is to write."""
    began = perf_counter()
    arrays: list[tuple[Tile, tuple[np.ndarray, ...]]] = []
    failed = dict(pixels.failed)
    if pixels.tiles:
        try:
            scores = _tried(partial(_run, work.network, pixels.batch), work.retries)
            for place, tile in pixels.tiles.items():
                kept = reduced(scores[place : place + 1, :, *tile.keep], work.plan)
                arrays.append((tile, tuple(array[0] for array in kept)))
        except Exception as error:  # a network may raise anything
            arrays = []
            failed |= {t.number: f"computing: {error}" for t in pixels.tiles.values()}
    return Results(arrays=arrays, failed=failed, seconds=pixels.seconds + perf_counter() - began)


def write(work: Work, results: Results) -> Outcome:
    """Write each tile's chunk, and record it once it is durable.

    Raises:
        OSError: if the disk does not take it: other tiles would fare no better.
    """
    seconds = results.seconds / max(1, len(results.arrays))
    outcome = Outcome(failed=dict(results.failed))
    for tile, arrays in results.arrays:
        began = perf_counter()
        written = work.store.write(tile, arrays)
        work.journal.record(
            tile.number,
            checksum=written.checksum,
            num_bytes=written.num_bytes,
            seconds=seconds + perf_counter() - began,
        )
        outcome.done.append(tile.number)
    return outcome


def _tried(action: Callable[[], T], retries: int) -> T:
    for _ in range(retries):
        try:
            return action()
        except Exception:
            continue
    return action()


def _read(work: Work, tile: Tile) -> np.ndarray:
    samples = read_window(work.source, tile.read, nan=work.nan)
    return normalised(samples, work.plan.preprocess)


def normalised(samples: np.ndarray, steps: Mapping[str, Any]) -> np.ndarray:
    """(samples / scale - mean) / std in float32, the channels first; without steps, as they are.

    >>> normalised(np.full((1, 2), 255, np.uint8), {"scale": 255.0, "mean": [0.5], "std": [0.5]})
    array([[1., 1.]], dtype=float32)
    """
    values = samples.astype(np.float32)
    if steps:
        sizes = (-1,) + (1,) * (samples.ndim - 1)
        mean, std = (np.array(steps[name], np.float32).reshape(sizes) for name in ("mean", "std"))
        values /= np.float32(steps["scale"])
        values -= mean
        values /= std
    return values


def _stacked(pixels: Mapping[int, np.ndarray], size: int) -> Tensor:
    if not pixels:
        return torch.empty(0)
    stand_in = next(iter(pixels.values()))
    return torch.from_numpy(np.stack([pixels.get(place, stand_in) for place in range(size)]))


def _run(network: nn.Module, batch: Tensor) -> Tensor:
    with torch.no_grad():
        return network(batch)
