# SPDX-License-Identifier: Apache-2.0
"""How a scan is told on the terminal: what it will cost, then how far it is."""

from __future__ import annotations

from math import ceil
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from convsmith.cli.options import progress_console

if TYPE_CHECKING:
    from convsmith.scanning import Progress, Prospect

_PLAIN_SECONDS = 10.0  # between lines where there is no terminal


def say(line: str) -> None:
    """One line to the terminal's second stream."""
    progress_console.print(line, highlight=False, soft_wrap=True, markup=False)


class ScanView:
    """A bar on a terminal, a line now and then elsewhere, nothing when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
            TimeRemainingColumn(),
            console=progress_console,
            transient=True,
            disable=quiet or not progress_console.is_terminal,
        )
        self._task: TaskID | None = None
        self._told = 0.0

    def __enter__(self) -> ScanView:
        self._bar.start()
        self._task = self._bar.add_task("preparing", total=None, pace="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        if not self._quiet:
            say(line)

    def announce(self, prospect: Prospect) -> None:
        """What will be done, and what it will cost."""
        for line in announcement(prospect):
            self.say(line)

    def progress(self, moment: Progress) -> None:
        """How far it is."""
        said = []
        if moment.pixels_per_second is not None:
            said.append(f"{moment.pixels_per_second / 1e6:.2f} Mpixel/s")
        if moment.failed:
            said.append(f"{moment.failed} failed")
        pace = ", ".join(said)
        if self._bar.disable:
            self._plain(moment, pace)
        elif self._task is not None:
            self._bar.update(
                self._task,
                description="tiles",
                total=moment.total,
                completed=moment.done,
                pace=pace,
            )

    def _plain(self, moment: Progress, pace: str) -> None:
        is_last = moment.done + moment.failed == moment.total
        if is_last or monotonic() - self._told >= _PLAIN_SECONDS:
            self._told = monotonic()
            left = "" if moment.seconds_left is None else f", {moment.seconds_left:.0f} s left"
            self.say(f"{moment.done} of {moment.total} tiles {pace}{left}".rstrip())


def announcement(prospect: Prospect) -> list[str]:
    """The lines before the work."""
    plan, estimate = prospect.plan, prospect.estimate
    stride = " x ".join(f"{float(axis.stride):g}" for axis in plan.axes)
    result = " x ".join(map(str, prospect.shape))
    read = " x ".join(map(str, estimate.read))
    each = f" in each of {prospect.workers} processes" if prospect.workers else ""
    lines = [
        f"{plan.output} of {result}, one every {stride} pixels"
        + (f", out of {plan.out_channels} classes" if plan.output in ("labels", "topk") else ""),
        f"{estimate.tiles} tile{'s' * (estimate.tiles > 1)} of {read}, {plan.batch} at once; "
        f"halos make the work {estimate.halo:.2f} of the image's",
        f"memory: about {estimate.memory_bytes / 2**20:.0f} MiB of "
        f"{estimate.budget_bytes / 2**20:.0f} MiB{each}; "
        f"time: about {prospect.seconds() / max(1, prospect.workers):.0f} s",
    ]
    if estimate.memory_bytes > estimate.budget_bytes:
        lines.append(
            "converting the network took more memory than was allowed; the scan keeps to it"
        )
    if estimate.larger is not None:
        enough = ceil(10 * estimate.larger.memory_bytes / 2**30) / 10
        lines.append(
            f"the network looks far: with --memory {enough}GiB the tiles would be larger, and the "
            f"work {estimate.larger.halo:.2f} of the image's"
        )
    if plan.promise == "patch":
        lines.append("promise: the classifier on every crop (patch)")
    elif prospect.coincide is None:
        lines.append("promise: the network on the whole image (fcn)")
    elif prospect.coincide:
        lines.append("promise: fcn, which is patch too: nothing pads")
    else:
        lines.append(
            "promise: the sliding network on the whole image (fcn); its layers pad, so the "
            "classifier on crops (patch) answers a little differently"
        )
    return lines
