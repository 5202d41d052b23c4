# SPDX-License-Identifier: Apache-2.0
"""How far a scan is, how fast it goes, and how long it will take."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A moment of a scan. Pixels are the image's; speed is that of this run.

    Attributes:
        done, failed, total: Tiles; `done` counts those of earlier runs too.
        pixels_per_second: Nothing before the first tile of this run.
        seconds_left: At that speed.
    """

    done: int
    failed: int
    total: int
    pixels_per_second: float | None
    seconds_left: float | None


Report: TypeAlias = Callable[[Progress], None]


class Pace:
    """Counts tiles and tells `report` about it."""

    def __init__(self, report: Report | None, *, total: int, done: int, pixels: int) -> None:
        """`pixels` is the image's; each tile stands for an equal share of them."""
        self._report, self._total, self._before = report, total, done
        self._share = pixels / total
        self._done = self._failed = 0
        self._began = monotonic()
        self._tell()

    def count(self, *, done: int, failed: int) -> None:
        """Say that so many more tiles are done or given up."""
        self._done += done
        self._failed += failed
        self._tell()

    def _tell(self) -> None:
        if self._report is None:
            return
        seconds = monotonic() - self._began
        tiles_left = self._total - self._before - self._done - self._failed
        has_pace = self._done > 0 and seconds > 0
        self._report(
            Progress(
                done=self._before + self._done,
                failed=self._failed,
                total=self._total,
                pixels_per_second=self._done * self._share / seconds if has_pace else None,
                seconds_left=tiles_left * seconds / self._done if has_pace else None,
            )
        )
