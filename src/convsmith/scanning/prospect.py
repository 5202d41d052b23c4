# SPDX-License-Identifier: Apache-2.0
"""Before a scan: the network that will run, the plan, and what it will cost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from math import prod
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor, nn

from convsmith import native
from convsmith.capture import Network
from convsmith.errors import ArgumentError, ShapeError, UnsupportedError
from convsmith.geometry import Cone
from convsmith.scanning.plan import Output, Plan, Promise
from convsmith.scanning.planning import Estimate, UncutAxis, plan_scan
from convsmith.scanning.preparing import (
    check_size,
    crop_bytes,
    crops_at_once,
    digests_of,
    example_for,
    frame_by_frame,
    gives_map,
    network_of,
    pixel_steps,
    refined,
    runnable,
)
from convsmith.scanning.running.resident import installed, keeping_pages, peak, release, share
from convsmith.scanning.running.threads import threads as computing_with
from convsmith.scanning.sinks.reduction import parts_of
from convsmith.scanning.sliding import AxisSliding, Sliding, sliding
from convsmith.scanning.sliding.together import TOGETHER, check_apart
from convsmith.scanning.sliding.watching import watch
from convsmith.scanning.sources import Source
from convsmith.scanning.sources.protocol import held_bytes
from convsmith.scanning.statistics import Moments, measured, moments_of_image, stages


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the caller of `scan` asked for; see there."""

    example: Tensor | None
    output: Output
    k: int
    promise: Promise
    output_stride: int | None
    two_pass: bool
    nan: Literal["error", "allow"]
    preprocess: Mapping[str, Any] | Literal["model"] | None
    memory: int | None
    workers: int
    core: int | Sequence[int] | None
    batch: int | None
    threads: int | None

    def allowed(self, before: Plan | None) -> int:
        """Bytes that each process may take. What a run chose by itself, later runs keep, unless the
        machine has less.
        """
        if self.memory is not None:
            return self.memory
        return installed() if before else share(1 + self.workers)

    @property
    def allowed_alone(self) -> int:
        """The same for statistics, which are taken here, and must not depend on the workers."""
        return self.memory or share(1)


@dataclass(frozen=True, kw_only=True)
class Prospect:
    """What a scan will do and cost.

    Attributes:
        network: What runs: the sliding network, or for "patch" the classifier.
        plan, estimate: As plain data.
        coincide: Whether the promises "fcn" and "patch" give the same here; None where only one of
            them makes sense, or nobody looked.
        uncut: The axes of the image, before they were cut.
        passes: How often the image is read: once, and once for the statistics of each layer that
            looks at the whole map.
        workers: Local processes that share the work; 0: this one.
    """

    network: Network
    plan: Plan
    estimate: Estimate
    uncut: tuple[UncutAxis, ...]
    coincide: bool | None
    passes: int
    workers: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what is written, the channels first."""
        return (parts_of(self.plan)[0].channels, *self.plan.outputs)

    def seconds(self) -> float:
        """How long all tiles will take, from the time of a batch of zeros: smaller tiles than the
        plan's where there are few, so that trying takes a twentieth of the whole.
        """
        plan = self.plan
        batches = -(-len(plan) // plan.batch)
        share = min(1.0, batches / 20) ** (1 / len(plan.axes))
        lengths = [
            min(axis.read, uncut.cut(int(axis.read * share)).read)
            for axis, uncut in zip(plan.axes, self.uncut, strict=True)
        ]
        batch = torch.zeros(plan.batch, plan.in_channels, *lengths)
        network = runnable(self.network, plan)
        with torch.no_grad(), keeping_pages(), computing_with(plan.threads):
            began = perf_counter()
            network(batch)
        shares = [axis.read / length for axis, length in zip(plan.axes, lengths, strict=True)]
        return (perf_counter() - began) * prod(shares) * batches

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`; the plan is in the result's folder."""
        plan = self.plan
        return {
            "shape": list(self.shape),
            "output": plan.output,
            "stride": [float(axis.stride) for axis in plan.axes],
            "promise": plan.promise,
            "promises_coincide": self.coincide,
            "passes": self.passes,
            "batch": plan.batch,
            "threads": plan.threads,
            **asdict(self.estimate),
        }


@dataclass(frozen=True, kw_only=True)
class _Way:
    """How one of the promises is kept: what runs, and what it needs of the image."""

    network: Network
    uncut: tuple[UncutAxis, ...]
    out_channels: int
    live_bytes: Callable[[Sequence[int], int], int]
    coincide: bool | None
    slides: Sliding | None
    passes: int = 1

    @property
    def weight_bytes(self) -> int:
        """Of the network's numbers."""
        return sum(t.nbytes for t in (*self.network.parameters(), *self.network.buffers()))


def prospect_of(model: nn.Module, image: Source, wishes: Wishes, before: Plan | None) -> Prospect:
    """The network and the plan that serve the wishes; where these leave a choice, that of the run
    before.

    Raises:
        ShapeError: if the image has other channels than the model takes.
    """
    before_it, space = peak(), image.shape[1:]
    example = example_for(model, wishes.example, len(space))
    channels = example.shape[1]
    if image.shape[0] != channels:
        raise ShapeError(
            f"scan: the image has {image.shape[0]} channels of {space}, and "
            f"{type(model).__name__} takes {channels}; choose channels with "
            "open_source(..., channels=[...]) (--channels), or give the order of the axes with "
            "axes= (--axes)"
        )
    threads = wishes.threads or (before.threads if before else torch.get_num_threads())
    if wishes.promise == "patch":
        way = _by_crops(model, example, space, wishes)
    else:
        way = _by_sliding(model, example, image, wishes, threads)
    release()
    digests = digests_of(way.network)
    core = (wishes.core,) * len(space) if isinstance(wishes.core, int) else wishes.core
    plan, estimate = plan_scan(
        way.uncut,
        live_bytes=way.live_bytes,
        weight_bytes=way.weight_bytes,
        memory=wishes.allowed(before),
        held_bytes=held_bytes(image),
        core=core or (before.cores if before else None),
        batch=wishes.batch or (before.batch if before else None),
        threads=threads,
        in_channels=channels,
        out_channels=way.out_channels,
        output=wishes.output,
        k=wishes.k if wishes.output == "topk" else 1,
        promise=wishes.promise,
        weights=digests.weights,
        graph=digests.graph,
        source=dict(image.identity),
        preprocess=_steps(model, wishes),
        versions=_versions(),
    )
    if way.slides is not None:
        way.slides.check(plan.axes)
    usual = max(wishes.allowed(None), estimate.memory_bytes)  # tiles of before may take more
    estimate = replace(estimate, budget_bytes=usual)
    if (so_far := peak()) > before_it:  # the conversion and its proof may have taken more
        estimate = replace(estimate, memory_bytes=max(estimate.memory_bytes, so_far))
    return Prospect(
        network=way.network,
        plan=plan,
        estimate=estimate,
        uncut=way.uncut,
        coincide=way.coincide,
        passes=way.passes,
        workers=wishes.workers,
    )


def _by_sliding(
    model: nn.Module, example: Tensor, image: Source, wishes: Wishes, threads: int
) -> _Way:
    network = network_of(model, example, "fcn")
    check_size(network, image.shape[2 - example.dim() :])
    if wishes.output_stride is not None:
        network = refined(network, example, wishes.output_stride)
    if example.dim() == len(image.shape):
        if wishes.two_pass:
            raise ArgumentError(
                "scan: two_pass=True over a row of frames, each of which has statistics of its "
                "own; scan one frame at a time"
            )
        network = frame_by_frame(network, example)
    passes = 1
    if wishes.two_pass:
        passes += len(stages(network))
        with computing_with(threads):
            network = measured(network, partial(_moments, image, _steps(model, wishes), wishes))
    way = _sliding(network, image)
    coincide = None
    if not gives_map(model, example):
        # A layer that looks at the whole image sees more than a crop.
        coincide = passes == 1 and not _pads(way.slides, example)
    return replace(way, passes=passes, coincide=coincide)


def _pads(slides: Sliding | None, example: Tensor) -> bool:
    """Whether a classifier pads its native image."""
    assert slides is not None
    frames = [1] * (len(slides.axes) + 2 - example.dim())
    try:
        return slides.is_padded([*frames, *example.shape[2:]])
    except UnsupportedError:
        return True  # by other amounts than the image: padding that follows the size


def _moments(image: Source, steps: Mapping[str, Any], wishes: Wishes, network: Network) -> Moments:
    """The moments of a network's map of the image, read tile by tile."""
    way = _sliding(network, image)
    plan, _ = plan_scan(
        way.uncut,
        live_bytes=way.live_bytes,
        weight_bytes=way.weight_bytes,
        memory=wishes.allowed_alone,
        held_bytes=held_bytes(image),
        batch=1,
        in_channels=image.shape[0],
        out_channels=way.out_channels,
        preprocess=steps,
    )
    assert way.slides is not None
    way.slides.check(plan.axes)
    return moments_of_image(network, plan, image, nan=wishes.nan)


def _sliding(network: Network, image: Source) -> _Way:
    channels, *space = image.shape
    slides = sliding(network, channels, space)
    outputs = slides.outputs(space)
    return _Way(
        network=network,
        uncut=tuple(
            UncutAxis(size, number, axis)
            for axis, size, number in zip(slides.axes, space, outputs, strict=True)
        ),
        out_channels=slides.out_channels,
        live_bytes=slides.live_bytes,
        coincide=None,
        slides=slides,
    )


def _by_crops(model: nn.Module, example: Tensor, space: Sequence[int], wishes: Wishes) -> _Way:
    if wishes.two_pass:
        raise ArgumentError(
            'scan: two_pass=True with promise="patch"; a crop is seen whole, so that no layer '
            "needs the image's statistics: leave two_pass out"
        )
    if example.dim() != len(space) + 2:
        raise ArgumentError(
            'scan: promise="patch" of a row of frames; scan one frame, or with promise="fcn"'
        )
    network = network_of(model, example, "patch")
    if wishes.output_stride is not None:
        strides = [wishes.output_stride] * len(space)
    else:
        slides = sliding(network_of(model, example, "fcn"), example.shape[1], space)
        strides = [int(axis.stride) for axis in slides.axes]
    check_apart(watch(network, example.shape[1], example.shape[2:], TOGETHER))
    crop = example.shape[1:]
    alive = crop_bytes(network, crop, crops_at_once(network, crop))
    with torch.no_grad():
        answer = network(example)
    return _Way(
        network=network,
        uncut=tuple(
            UncutAxis(size, (size - native) // stride + 1, _crops(native, stride))
            for size, native, stride in zip(space, example.shape[2:], strides, strict=True)
        ),
        out_channels=answer.shape[1],
        live_bytes=lambda lengths, tiles: alive,
        coincide=None,
        slides=None,
    )


def _crops(size: int, stride: int) -> AxisSliding:
    """How a classifier moves from crop to crop."""
    return AxisSliding(cone=Cone(stride, ((0, size - 1),)), period=stride, least=1)


def _steps(model: nn.Module, wishes: Wishes) -> Mapping[str, Any]:
    if wishes.preprocess is None:
        return {}
    if wishes.preprocess == "model":
        return pixel_steps(model)
    try:
        return {
            "scale": float(wishes.preprocess["scale"]),
            "mean": [float(value) for value in wishes.preprocess["mean"]],
            "std": [float(value) for value in wishes.preprocess["std"]],
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ArgumentError(
            f"scan: preprocess is {wishes.preprocess!r}: {error!r}; give scale, and mean and std "
            'with a number for each channel, or "model", or None'
        ) from None


def _versions() -> dict[str, str]:
    """Of what computes."""
    return {
        "convsmith": version("convsmith"),
        "torch": torch.__version__,
        "core": str(native.info()["target"]),
    }
