# SPDX-License-Identifier: Apache-2.0
"""`scan`: a network over an image of any size."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from convsmith.capture import save
from convsmith.errors import ArgumentError, ScanError
from convsmith.scanning.plan import ABSENT, Output, Plan, Promise
from convsmith.scanning.preparing import runnable
from convsmith.scanning.prospect import Prospect, Wishes, prospect_of
from convsmith.scanning.running.batches import Batches
from convsmith.scanning.running.cluster import NETWORK, Order, connected, run_cluster
from convsmith.scanning.running.journal import JOURNAL, Finished, Journal, read_journals
from convsmith.scanning.running.local import run_local
from convsmith.scanning.running.ownership import Ownership
from convsmith.scanning.running.progress import Pace, Progress
from convsmith.scanning.running.resident import keeping_pages, share
from convsmith.scanning.running.stopping import Stop, stopping
from convsmith.scanning.running.threads import threads as computing_with
from convsmith.scanning.running.tile import Outcome, Work
from convsmith.scanning.sinks import Store
from convsmith.scanning.sources import Source, open_source
from convsmith.scanning.sources.files.limits import DEFAULT_BUDGET


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """What `scan` wrote.

    Attributes:
        store: The result: `store.read(window)`; any Zarr reader opens `store.folder`.
        prospect: The plan and what it was to cost.
        computed, resumed: Tiles done now, and by earlier runs.
        seconds: Of all of it.
    """

    store: Store
    prospect: Prospect
    computed: int
    resumed: int
    seconds: float

    @property
    def plan(self) -> Plan:
        """What was done, as plain data."""
        return self.store.plan

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        return {
            "folder": str(self.store.folder),
            "computed": self.computed,
            "resumed": self.resumed,
            "seconds": self.seconds,
            **self.prospect.to_json(),
        }


def scan(
    model: nn.Module,
    source: Source | np.ndarray | Tensor | str | os.PathLike[str],
    sink: str | os.PathLike[str],
    *,
    example: Tensor | None = None,
    output: Output = "scores",
    k: int = 5,
    promise: Promise = "fcn",
    output_stride: int | None = None,
    two_pass: bool = False,
    preprocess: Mapping[str, Any] | Literal["model"] | None = "model",
    axes: str | None = None,
    memory: int | None = None,
    core: int | Sequence[int] | None = None,
    batch: int | None = None,
    threads: int | None = None,
    nan: Literal["error", "allow"] = "error",
    workers: int = 0,
    dask: Any = None,
    retries: int = 2,
    verify: bool = False,
    classes: Sequence[str] | None = None,
    announce: Callable[[Prospect], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ScanResult:
    """Run a network over an image of any size, tile by tile, equal to the whole.

    y = network(image)                                       promise="fcn"
    y[:, p, q] = model(image[:, p S : p S + h, q S : q S + w])    promise="patch"

    A classifier is made fully convolutional first. Where its layers pad, the two promises differ:
    crops see zeros at their edges, the sliding network sees neighbours. The result is one Zarr
    array (channels, *space) in the folder `sink`. The same call goes on where an earlier one ended;
    a call that would give other numbers is refused, and so is a second one at the same time. Ctrl-C
    finishes the tiles at hand and raises KeyboardInterrupt.

    Args:
        model: A classifier, or a network that gives a map; it is not changed.
        source: A path, an array or a tensor (channels, *space), or a `Source`.
        sink: A new folder, or that of an earlier run.
        example: An input of the model's native size; not needed where the model says it.
        output: "scores", "probabilities", "labels", or "topk": the k best classes.
        promise: "fcn" or "patch", see above.
        output_stride: Pixels from one output to the next: a divisor of the network's stride, which
            `densify` brings down to it; for "patch", any number.
        two_pass: Admit layers that look at the whole map: global average and maximum (squeeze and
            excitation, image pooling), group norm, instance norm. Their statistics over the whole
            image are found first, by one pass over its tiles for each such layer, in this process;
            a run that resumes finds them again.
        preprocess: `{"scale":, "mean":, "std":}` for every pixel, the model's own, or None for
            pixels as they are. Nothing is resized.
        axes: The order of the image's axes, such as "HWC"; the result has it too.
        memory: Bytes that each process may take; tiles are cut to fit. A quarter of the machine's
            if not given, or half of it among all local workers.
        core, batch, threads: Outputs of a tile along each axis, tiles at once, threads of the
            network: chosen if not given, and then kept by runs that resume.
        nan: Whether samples that are not numbers are an error or pass.
        workers, dask: So many local processes; or a Dask client or a scheduler's address.
        retries: How often a tile is tried again.
        verify: Read every tile that is done again, and redo the damaged ones.
        classes: Names of the channels, kept with the result.
        announce, progress: Called before the work with what it will cost, and after every batch.

    Raises:
        ArgumentError: if the sink holds another scan or belongs to a running one, or memory is too
            little for one tile.
        ShapeError: if the image does not fit the model.
        UnsupportedError, CaptureError, RewriteError: naming what keeps the network from sliding.
        ScanError: if tiles failed; all others are done, and `failed` says which and why.

    >>> import tempfile
    >>> image = torch.rand(1, 40, 50)
    >>> network = torch.nn.Conv2d(1, 2, 3, padding=1)
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     done = scan(network, image, f"{parent}/out", example=torch.zeros(1, 1, 8, 8), core=16)
    ...     tiled = done.store.read((slice(0, 40), slice(0, 50)))
    >>> len(done.plan), torch.allclose(torch.from_numpy(tiled), network(image), atol=1e-6)
    (12, True)
    """
    began, image = monotonic(), open_source(source, axes=axes, budget=_kept(memory))
    wishes = Wishes(
        example=example,
        output=output,
        k=k,
        promise=promise,
        output_stride=output_stride,
        two_pass=two_pass,
        nan=nan,
        preprocess=preprocess,
        memory=memory,
        workers=workers,
        core=core,
        batch=batch,
        threads=threads,
    )
    with Ownership(Path(sink) / "convsmith" / "lock"):
        found = Store.open(sink) if Store.exists(sink) else None
        prospect = prospect_of(model, image, wishes, found.plan if found else None)
        store = _of_plan(found, prospect.plan) or Store.create(
            sink, prospect.plan, axes=_with_channels(axes), place=image.place, classes=classes
        )
        run = _Run(prospect, store, image, retries, nan, workers, dask)
        finished = run.finished(verify=verify)
        if announce is not None:
            announce(prospect)
        outcome = run.finish(finished, progress)
    return ScanResult(
        store=store,
        prospect=prospect,
        computed=len(set(outcome.done)),
        resumed=len(finished),
        seconds=monotonic() - began,
    )


@dataclass(frozen=True)
class _Run:
    """One run of a plan: here, or under Dask."""

    prospect: Prospect
    store: Store
    image: Source
    retries: int
    nan: Literal["error", "allow"]
    workers: int
    dask: Any

    def finished(self, *, verify: bool) -> Finished:
        """What earlier runs did, less what is damaged."""
        plan = self.store.plan
        self.store.sweep()
        finished = read_journals(self.store.own / JOURNAL, plan.fingerprint, len(plan))
        if verify:
            for number in np.flatnonzero(finished.tiles):
                checksum = int(finished.checksums[number])
                if not self.store.verify(plan.tile(int(number)), checksum):
                    finished.tiles[number] = False
        return finished

    def finish(self, finished: Finished, progress: Callable[[Progress], None] | None) -> Outcome:
        """Do what is missing.

        Raises:
            KeyboardInterrupt: if somebody asked to stop.
            ScanError: if tiles failed.
        """
        plan = self.store.plan
        before = len(finished)
        pixels = int(np.prod([axis.size for axis in plan.axes]))
        pace = Pace(progress, total=len(plan), done=before, pixels=pixels)
        with stopping() as stop:
            outcome = Outcome()
            if before < len(plan):
                there = self.workers > 0 or self.dask is not None
                outcome = (self._there if there else self._here)(finished, pace, stop)
        done = before + len(set(outcome.done))
        if outcome.failed:
            raise _failure(outcome.failed, done, len(plan))
        if done < len(plan):
            raise KeyboardInterrupt(
                f"scan: stopped after {done} of {len(plan)} tiles; the same call goes on from there"
            )
        return outcome

    def _here(self, finished: Finished, pace: Pace, stop: Stop) -> Outcome:
        plan, batches = self.store.plan, Batches(self.store.plan)
        with (
            keeping_pages(),
            computing_with(plan.threads),
            Journal(self.store.own / JOURNAL, plan.fingerprint) as journal,
        ):
            work = Work(
                plan=plan,
                network=runnable(self.prospect.network, plan),
                source=self.image,
                store=self.store,
                journal=journal,
                retries=self.retries,
                nan=self.nan,
            )
            missing = batches.missing(finished.tiles)
            return run_local(work, batches, missing, finished.tiles.__getitem__, pace, stop)

    def _there(self, finished: Finished, pace: Pace, stop: Stop) -> Outcome:
        batches = Batches(self.store.plan)
        save(self.prospect.network, self.store.own / NETWORK)
        order = Order(
            sink=self.store.folder,
            fingerprint=self.store.plan.fingerprint,
            source=self.image,
            retries=self.retries,
            nan=self.nan,
        )
        missing = batches.missing(finished.tiles)
        with connected(self.dask, self.workers) as client:
            is_done = finished.tiles.__getitem__
            return run_cluster(client, order, batches, missing, is_done, pace, stop)


def _kept(memory: int | None) -> int:
    """Bytes of the image that its source may keep decoded."""
    return min(DEFAULT_BUDGET, (memory or share(1)) // 2)


def _with_channels(axes: str | None) -> str | None:
    """The result has channels even where the image has none."""
    return axes if axes is None or "C" in axes else f"C{axes}"


def _of_plan(found: Store | None, plan: Plan) -> Store | None:
    """The result that is there, once it is known to be of this plan."""
    differing = found.plan.differing(plan) if found is not None else {}
    if found is not None and differing:
        raise ArgumentError(
            f"scan: {found.folder} was begun under another plan, which differs in "
            f"{', '.join(_changed(*row) for row in differing.items())}; go on with what began it, "
            "or scan into a new folder"
        )
    return found


def _changed(field: str, values: tuple[Any, Any]) -> str:
    """One field and both of its values; of digests, as much as tells them apart."""
    is_digest = field.rpartition(".")[2] in ("weights", "graph", "digest")
    most = 12 if is_digest else None
    then, now = ("nothing" if value is ABSENT else str(value)[:most] for value in values)
    return f"{field} ({then} then, {now} now)"


def _failure(failed: Mapping[int, str], done: int, total: int) -> ScanError:
    number, why = next(iter(failed.items()))
    return ScanError(
        f"scan: {len(failed)} of {total} tiles failed, {done} are done; tile {number}: {why}; the "
        "same call tries them again",
        failed,
    )
