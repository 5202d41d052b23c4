# SPDX-License-Identifier: Apache-2.0
"""What one run of the comparison found, as a file: measured numbers, and what follows from them."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from statistics import geometric_mean
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from convsmith.errors import ArgumentError, FormatError

# Ways to run convsmith: the others are peers. Like torch's, its input may be in either layout.
OURS, OURS_LAST = "convsmith", "convsmith, channels_last"
STRICT, STRICT_LAST = "convsmith, strict", "convsmith, strict, channels_last"
EAGER = "convsmith, layers as they are"
FAST_WAYS, STRICT_WAYS = (OURS, OURS_LAST), (STRICT, STRICT_LAST)


class _Record(BaseModel):
    # What follows from the numbers is written beside them and not read back.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Time(_Record):
    """Milliseconds per call: median and quartiles."""

    median_ms: float
    low_ms: float
    high_ms: float


class Machine(_Record):
    """Where it was measured; `load` is the machine's one-minute average when the run began.

    `fma_gflops` is its peak at the threads of the run, None without the compiled core.
    """

    cpu: str
    cores: int
    system: str
    python: str
    packages: dict[str, str]
    native_target: str
    load: float | None
    fma_gflops: float | None
    sgemm_gflops: float
    copy_gb_per_s: float


class Row(_Record):
    """One case. `macs` counts live taps; `bytes` is input, weights and output once.

    `times` and `errors` are by contender: who is in neither was not there.
    """

    name: str
    group: str
    input_shape: tuple[int, ...]
    macs: int
    bytes: int
    replaces: str | None
    rounds: int
    times: dict[str, Time]
    errors: dict[str, str]

    def fastest(self, names: Iterable[str]) -> str | None:
        """Who of these has the least median; None if none has a time."""
        timed = [name for name in names if name in self.times]
        return min(timed, key=lambda name: self.times[name].median_ms, default=None)

    @property
    def ours(self) -> str | None:
        """Convsmith's faster layout: the best peer may have chosen its own, too."""
        return self.fastest(FAST_WAYS)

    @property
    def best_peer(self) -> str | None:
        """The fastest of the others."""
        return self.fastest(name for name in self.times if not name.startswith(OURS))

    def ratio(self, ways: Iterable[str] = FAST_WAYS) -> float | None:
        """The best peer's time over convsmith's: above 1, convsmith is faster."""
        ours = self.fastest(ways)
        if self.best_peer is None or ours is None:
            return None
        return self.times[self.best_peer].median_ms / self.times[ours].median_ms

    @property
    def ratio_between(self) -> tuple[float, float] | None:
        """The ratio if one side were at its lower and the other at its upper quartile."""
        if self.best_peer is None or self.ours is None:
            return None
        theirs, ours = self.times[self.best_peer], self.times[self.ours]
        return theirs.low_ms / ours.high_ms, theirs.high_ms / ours.low_ms

    @property
    def gflops(self) -> float | None:
        """2 live macs over convsmith's time, in 1e9 a second."""
        return 2e-6 * self.macs / self.times[self.ours].median_ms if self.ours else None

    @property
    def gb_per_s(self) -> float | None:
        """The least traffic over convsmith's time, in 1e9 bytes a second."""
        return 1e-6 * self.bytes / self.times[self.ours].median_ms if self.ours else None


class Results(_Record):
    """One run: rows in the order they were measured; `absent` says why a peer was not there."""

    format: Literal["convsmith-bench"] = "convsmith-bench"
    version: Literal[2] = 2
    date: str
    machine: Machine
    threads: int
    rounds: int
    quick: bool
    absent: dict[str, str]
    rows: tuple[Row, ...]

    def saved_share(self, row: Row, ways: Iterable[str] = FAST_WAYS) -> float | None:
        """Time saved over macs saved against the dense convolution that a row replaces.

        (its time / this time) / (its macs / this one's macs), both convsmith's, the dense one run
        in the fastest of some ways: 1 means that every multiplication saved is time saved.
        """
        dense = next((other for other in self.rows if other.name == row.replaces), None)
        if dense is None or row.ours is None or (way := dense.fastest(ways)) is None:
            return None
        saved = dense.times[way].median_ms / row.times[row.ours].median_ms
        return saved / (dense.macs / row.macs)

    def columns(self, row: Row) -> dict[str, Any]:
        """What follows from a row's numbers on this machine, None where something is missing."""
        gflops, gb_per_s, peak = row.gflops, row.gb_per_s, self.machine.fma_gflops
        return {
            "ours": row.ours,
            "best_peer": row.best_peer,
            "ratio": row.ratio(),
            "ratio_between": row.ratio_between,
            "ratio_strict": row.ratio(STRICT_WAYS),
            "gflops": gflops,
            "share_of_peak": gflops / peak if gflops and peak else None,
            "gb_per_s": gb_per_s,
            "share_of_copy": gb_per_s and gb_per_s / self.machine.copy_gb_per_s,
            "saved_share": self.saved_share(row),
            "saved_share_strict": self.saved_share(row, STRICT_WAYS),
        }

    def groups(self) -> list[dict[str, Any]]:
        """Geometric mean and least of the ratios of each group that has any."""
        ratios: dict[str, list[float]] = {}
        for row in self.rows:
            if ratio := row.ratio():
                ratios.setdefault(row.group, []).append(ratio)
        return [
            {"group": group, "cases": len(of), "mean": geometric_mean(of), "least": min(of)}
            for group, of in ratios.items()
        ]

    def joined(self, newer: "Results") -> "Results":
        """These rows, those of the same name replaced by newer ones, and the new ones.

        Raises:
            ArgumentError: if the two were not measured under the same conditions.
        """
        for what in ("cpu", "native_target", "packages"):
            _require_equal(what, getattr(self.machine, what), getattr(newer.machine, what))
        for what in ("threads", "quick"):
            _require_equal(what, getattr(self, what), getattr(newer, what))
        rows = {row.name: row for row in (*self.rows, *newer.rows)}
        groups = list(dict.fromkeys(row.group for row in rows.values()))
        ordered = sorted(rows.values(), key=lambda row: groups.index(row.group))
        return newer.model_copy(update={"rows": tuple(ordered)})

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`: what was measured, and what follows from it."""
        plain = self.model_dump(mode="json") | {"groups": self.groups()}
        for written, row in zip(plain["rows"], self.rows, strict=True):
            written["columns"] = self.columns(row)
        return plain

    def write(self, path: Path) -> None:
        """Write the file, over what was there; never half of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        part.write_text(json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")
        part.replace(path)

    def free_path(self, folder: Path) -> Path:
        """`<date>-<machine>-<threads>t.json`, numbered where another run's file has that name."""
        machine = re.sub(r"[^a-z0-9]+", "-", self.machine.cpu.lower()).strip("-")
        stem = f"{self.date[:10]}-{machine}-{self.threads}t"
        path, number = folder / f"{stem}.json", 2
        while path.exists():
            path, number = folder / f"{stem}-{number}.json", number + 1
        return path


def _require_equal(what: str, before: object, now: object) -> None:
    if before != now:
        raise ArgumentError(
            f"bench: {what} was {before} and is {now}; rows of one file are measured under the "
            "same conditions: give another file"
        )


def load(path: Path) -> Results:
    """Read what `Results.write` wrote.

    Raises:
        FormatError: if it is something else, or of another version.
    """
    try:
        return Results.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise FormatError(
            f"bench: {path.name} is no result of version 2: {where}: {first['msg']}"
        ) from None
