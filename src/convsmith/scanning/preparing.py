# SPDX-License-Identifier: Apache-2.0
"""The network that a scan runs: the model if it gives a map already, else its sliding form; for the
promise "patch" the classifier itself, on every crop.
"""

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from convsmith.analysis.memory import peak_bytes
from convsmith.capture import Network, capture
from convsmith.capture.recording import tensors_of
from convsmith.errors import ArgumentError, ShapeError, UnsupportedError
from convsmith.rewrite import densify, to_fully_convolutional
from convsmith.scanning.plan import Plan, Promise
from convsmith.scanning.sliding.watching import watch

_CROPS_AT_ONCE = 64
_FAR = 512  # pixels within which a size that fits is looked for
_CROP_BYTES = 256 << 20  # activations of crops that go together


def example_for(model: nn.Module, example: Tensor | None, num_axes: int) -> Tensor:
    """An input of the native size: the one given, or what the model says of itself.

    Raises:
        ArgumentError: if nothing says what the model takes, or it takes another number of axes.
    """
    if example is None:
        example = _said_by(model)
    if example is None:
        raise ArgumentError(
            f"scan: nothing says what {type(model).__name__} takes; give example=, an input of its "
            "native size, such as torch.zeros(1, 3, 224, 224)"
        )
    is_frame = (example.dim(), num_axes) == (4, 3)
    if example.dim() != num_axes + 2 and not is_frame:
        raise ArgumentError(
            f"scan: {type(model).__name__} takes inputs of shape {tuple(example.shape)}, and the "
            f"image has {num_axes} axes of space; the example has two axes more, or four where the "
            "image is a row of frames"
        )
    return example


def _said_by(model: nn.Module) -> Tensor | None:
    if isinstance(model, Network):
        first = model.contract.inputs[0]
        return torch.zeros(first.sizes, dtype=first.dtype)
    steps: Any = getattr(model, "preprocess", None)
    if steps is None:
        return None
    return torch.zeros(1, steps.channels, steps.size, steps.size)


def pixel_steps(model: nn.Module) -> Mapping[str, Any]:
    """How the model's pixels are normalised, as far as that is the same at every pixel; nothing if
    it does not say.
    """
    said: Any = getattr(model, "preprocess", None)
    if said is None and isinstance(model, Network):
        said = model.about.get("preprocess")
    if said is None:
        return {}
    steps = said if isinstance(said, Mapping) else said.to_json()
    return {name: steps[name] for name in ("scale", "mean", "std")}


def network_of(model: nn.Module, example: Tensor, promise: Promise) -> Network:
    """The network that runs, with free height and width, in memory of its own.

    Raises:
        CaptureError, RewriteError: if the model cannot be captured or made to slide.
        UnsupportedError: if its sizes are fixed.
    """
    network: nn.Module
    if promise == "patch":
        if gives_map(model, example):
            raise ArgumentError(
                f'scan: promise="patch" cuts crops for a classifier, and {type(model).__name__} '
                'gives a map; scan it with promise="fcn"'
            )
        network = model if isinstance(model, Network) else capture(model, example).module
    elif not gives_map(model, example):
        network = to_fully_convolutional(model, example)
    else:
        network = model if isinstance(model, Network) else capture(model, example).module
        if not any(network.contract.inputs[0].free[2:]):
            raise UnsupportedError(
                f"scan: {type(model).__name__} was {network.contract.describe()}: its height and "
                "width are fixed; compute no size in its code, or capture it on a larger example"
            )
    assert isinstance(network, Network)
    # A copy: where a weight lies in memory may decide how a kernel rounds.
    return copy.deepcopy(network)


def check_size(network: Network, space: Sequence[int]) -> None:
    """Refuse an image that the network itself would not take whole.

    Raises:
        ShapeError: with what the network demands, and the next smaller size that it takes.
    """
    (name, native), *_ = ((item.name, item.sizes) for item in network.contract.inputs)

    def broken(sizes: Sequence[int]) -> str | None:
        return network.contract.broken_by({name: (1, native[1], *sizes)})

    demand = broken(space)
    if demand is None:
        return
    fitting = list(native[2:])
    for axis, size in enumerate(space):
        smaller = range(size, max(0, size - _FAR), -1)
        tried = ([*fitting[:axis], less, *fitting[axis + 1 :]] for less in smaller)
        fitting = next((sizes for sizes in tried if broken(sizes) is None), fitting)
    remedy = "give a larger image"
    if broken(fitting) is None and all(a <= b for a, b in zip(fitting, space, strict=True)):
        remedy = f"cut the image to {' x '.join(map(str, fitting))}, or pad it"
    raise ShapeError(
        f"scan: the network does not take an image of {' x '.join(map(str, space))}: it demands "
        f"{demand}; {remedy}"
    )


def frame_by_frame(network: Network, example: Tensor) -> Network:
    """The network on every frame of an image whose first axis of space counts them."""
    larger = torch.zeros(2, example.shape[1], 3, *(2 * size for size in example.shape[2:]))
    return copy.deepcopy(capture(EachFrame(network), larger).module)


class EachFrame(nn.Module):
    """y[n, :, t] = network(x[n, :, t])

    >>> EachFrame(torch.nn.MaxPool2d(2))(torch.zeros(1, 3, 7, 8, 10)).shape
    torch.Size([1, 3, 7, 4, 5])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> Tensor:
        """(n, c, t, *space) to (n, channels, t, *outputs)."""
        maps = self.network(frames.transpose(1, 2).flatten(0, 1))
        return maps.unflatten(0, (frames.shape[0], frames.shape[2])).transpose(1, 2)


def refined(network: Network, example: Tensor, output_stride: int) -> Network:
    """The network with an answer every so many pixels, by dilation in place of stride."""
    # Larger than the native size, where torch would take the single answer for a constant.
    larger = torch.zeros(2, example.shape[1], *(2 * size for size in example.shape[2:]))
    dense = densify(network, larger, output_stride=output_stride)
    assert isinstance(dense, Network)
    return copy.deepcopy(dense)


def gives_map(model: nn.Module, example: Tensor) -> bool:
    """Whether the result has the axes of the input; a classifier's has not."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            answer = model(example)
    finally:
        model.train(was_training)
    return isinstance(answer, Tensor) and answer.dim() == example.dim()


@dataclass(frozen=True, kw_only=True)
class Digests:
    """What tells one network from another: its numbers, and what is done with them."""

    weights: str
    graph: str


def digests_of(network: Network) -> Digests:
    """The digests of a network's tensors and of its code."""
    weights = hashlib.sha256()
    for name, tensor in sorted(tensors_of(network).items()):
        weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return Digests(
        weights=weights.hexdigest(), graph=hashlib.sha256(network.code.encode()).hexdigest()
    )


def runnable(network: Network, plan: Plan) -> nn.Module:
    """What is called on a batch of tiles under this plan."""
    if plan.promise == "fcn":
        return network
    sizes = tuple(int(axis.b - axis.a) + 1 for axis in plan.axes)
    at_once = crops_at_once(network, (plan.in_channels, *sizes))
    return Crops(network, sizes, tuple(int(axis.stride) for axis in plan.axes), at_once)


def crops_at_once(network: nn.Module, crop: Sequence[int]) -> int:
    """How many crops go through a classifier together: few of large ones."""
    return max(1, min(_CROPS_AT_ONCE, _CROP_BYTES // crop_bytes(network, crop, 1)))


def crop_bytes(network: nn.Module, crop: Sequence[int], together: int) -> int:
    """The most bytes of activations alive while crops of one size go through a classifier."""
    channels, *sizes = crop
    return peak_bytes(watch(network, channels, sizes, together).source.graph)


class Crops(nn.Module):
    """A classifier on every crop of an image, a stride apart: what sliding saves, honestly done.

    y[n, :, p, q] = classifier(x[n, :, p S : p S + h, q S : q S + w])

    >>> mean = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> Crops(mean, (2, 2), (2, 2))(torch.arange(16.0).reshape(1, 1, 4, 4))
    tensor([[[[ 2.5000,  4.5000],
              [10.5000, 12.5000]]]])
    """

    def __init__(
        self,
        classifier: nn.Module,
        sizes: tuple[int, ...],
        stride: tuple[int, ...],
        at_once: int = _CROPS_AT_ONCE,
    ) -> None:
        super().__init__()
        self.classifier, self.sizes, self.stride = classifier, sizes, stride
        self.at_once = at_once

    def forward(self, image: Tensor) -> Tensor:
        """(n, c, *space) to (n, classes, *crops)."""
        grid = [
            range((length - size) // step + 1)
            for length, size, step in zip(image.shape[2:], self.sizes, self.stride, strict=True)
        ]
        maps = [torch.cat(list(self._answers(one, grid))) for one in image]
        return torch.stack([m.T.reshape(-1, *map(len, grid)) for m in maps])

    def _answers(self, image: Tensor, grid: list[range]) -> Iterator[Tensor]:
        crops = []
        for places in product(*grid):
            corner = zip(places, self.stride, self.sizes, strict=True)
            window = [slice(p * step, p * step + size) for p, step, size in corner]
            crops.append(image[(slice(None), *window)])
            if len(crops) == self.at_once:
                yield self.classifier(torch.stack(crops))
                crops = []
        if crops:
            yield self.classifier(torch.stack(crops))
