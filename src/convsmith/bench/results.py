# SPDX-License-Identifier: Apache-2.0
"""What one run of the comparison found, as a file: measured numbers, and what follows from them."""

import json
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from convsmith.errors import FormatError

OURS = "convsmith"  # and what begins with it: the others are peers


class _Record(BaseModel):
    # What follows from the numbers is written beside them and not read back.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Time(_Record):
    """Milliseconds per call: median and quartiles."""

    median_ms: float
    low_ms: float
    high_ms: float


class Machine(_Record):
    """Where it was measured; `load` is the machine's one-minute average when the run began."""

    cpu: str
    cores: int
    system: str
    python: str
    packages: dict[str, str]
    native_target: str
    load: float | None
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
    times: dict[str, Time]
    errors: dict[str, str]

    @property
    def best_peer(self) -> str | None:
        """The fastest of the others."""
        peers = [name for name in self.times if not name.startswith(OURS)]
        return min(peers, key=lambda name: self.times[name].median_ms, default=None)

    @property
    def ratio(self) -> float | None:
        """The best peer's time over convsmith's: above 1, convsmith is faster."""
        if self.best_peer is None or OURS not in self.times:
            return None
        return self.times[self.best_peer].median_ms / self.times[OURS].median_ms

    @property
    def ratio_between(self) -> tuple[float, float] | None:
        """The ratio if one side were at its lower and the other at its upper quartile."""
        if self.best_peer is None or OURS not in self.times:
            return None
        theirs, ours = self.times[self.best_peer], self.times[OURS]
        return theirs.low_ms / ours.high_ms, theirs.high_ms / ours.low_ms

    @property
    def gflops(self) -> float | None:
        """2 live macs over convsmith's time, in 1e9 a second."""
        return 2e-6 * self.macs / self.times[OURS].median_ms if OURS in self.times else None

    @property
    def gb_per_s(self) -> float | None:
        """The least traffic over convsmith's time, in 1e9 bytes a second."""
        return 1e-6 * self.bytes / self.times[OURS].median_ms if OURS in self.times else None


class Results(_Record):
    """One run: rows in the order they were measured; `absent` says why a peer was not there."""

    format: Literal["convsmith-bench"] = "convsmith-bench"
    version: Literal[1] = 1
    date: str
    machine: Machine
    threads: int
    rounds: int
    quick: bool
    absent: dict[str, str]
    rows: tuple[Row, ...]

    def saved_share(self, row: Row) -> float | None:
        """Time saved over macs saved against the dense convolution that a row replaces.

        (its time / this time) / (its macs / this one's macs), both convsmith's: 1 means that every
        multiplication saved is time saved.
        """
        dense = next((other for other in self.rows if other.name == row.replaces), None)
        if dense is None or not {OURS} <= dense.times.keys() & row.times.keys():
            return None
        saved = dense.times[OURS].median_ms / row.times[OURS].median_ms
        return saved / (dense.macs / row.macs)

    def columns(self, row: Row) -> dict[str, Any]:
        """What follows from a row's numbers on this machine, None where something is missing."""
        gflops, gb_per_s = row.gflops, row.gb_per_s
        return {
            "best_peer": row.best_peer,
            "ratio": row.ratio,
            "ratio_between": row.ratio_between,
            "gflops": gflops,
            "share_of_sgemm": gflops and gflops / self.machine.sgemm_gflops,
            "share_of_copy": gb_per_s and gb_per_s / self.machine.copy_gb_per_s,
            "saved_share": self.saved_share(row),
        }

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`: what was measured, and `columns` in each row."""
        plain = self.model_dump(mode="json")
        for written, row in zip(plain["rows"], self.rows, strict=True):
            written["columns"] = self.columns(row)
        return plain

    def save(self, folder: Path) -> Path:
        """Write `<date>-<machine>-<threads>t.json`, never over another run's file."""
        folder.mkdir(parents=True, exist_ok=True)
        machine = re.sub(r"[^a-z0-9]+", "-", self.machine.cpu.lower()).strip("-")
        stem = f"{self.date[:10]}-{machine}-{self.threads}t"
        path, number = folder / f"{stem}.json", 2
        while path.exists():
            path, number = folder / f"{stem}-{number}.json", number + 1
        path.write_text(json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")
        return path


def load(path: Path) -> Results:
    """Read what `save` wrote.

    Raises:
        FormatError: if it is something else, or of another version.
    """
    try:
        return Results.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise FormatError(
            f"bench: {path.name} is no result of version 1: {where}: {first['msg']}"
        ) from None
