# SPDX-License-Identifier: Apache-2.0
"""`torch.ops.convsmith.convolutions`: a chain as one operator of torch.

It names the kernel that a planner chose. Its tensors' axes say what the chain is made of:
convolutions over images (N, C, H, W) or signals (N, C, L), or linear layers over rows (N, C). Where
the kernel cannot run (another dtype or device, no core, sizes it does not serve) and for every
gradient, torch computes the same formula.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, fx
from torch.nn import functional
from torch.utils.flop_counter import register_flop_formula

from convsmith import native
from convsmith.geometry import Geometry
from convsmith.native.chains.axes import as_images, image_shape, with_axes
from convsmith.native.chains.chain import Chain, Stage
from convsmith.native.chains.kernel import chain_kernels
from convsmith.native.chains.running import call_for
from convsmith.native.layout import CHANNELS_LAST

_T = TypeVar("_T")

_OPERATOR = "convsmith::convolutions"

# The operator of torch that stands for each activation but "none".
OPERATORS: dict[str, Any] = {
    "relu": torch.ops.aten.relu.default,
    "relu6": torch.ops.aten.relu6.default,
    "hard_swish": torch.ops.aten.hardswish.default,
    "silu": torch.ops.aten.silu.default,
}


class StageOptions(NamedTuple):
    """What the operator's lists say of one stage; padding is top, bottom, left, right."""

    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    activation: str


def each_stage(
    strides: Sequence[int],
    paddings: Sequence[int],
    dilations: Sequence[int],
    groups: Sequence[int],
    activations: Sequence[str],
) -> Iterator[StageOptions]:
    """The operator's lists, stage by stage.

    >>> [stage.padding for stage in each_stage([1, 1], [1, 1, 0, 2], [1, 1], [1], ["relu"])]
    [(1, 1, 0, 2)]
    """
    for i, (group, activation) in enumerate(zip(groups, activations, strict=True)):
        row, column = strides[2 * i : 2 * i + 2]
        top, bottom, left, right = paddings[4 * i : 4 * i + 4]
        down, across = dilations[2 * i : 2 * i + 2]
        yield StageOptions(
            (row, column), (top, bottom, left, right), (down, across), group, activation
        )


def options_of(chain: Chain) -> tuple[list[int], list[int], list[int], list[int], list[str]]:
    """The operator's arguments from `strides` to `activations`.

    >>> one = Geometry(in_channels=2, out_channels=2, kernel_size=(3, 3), padding=((1, 1), (0, 2)))
    >>> options_of(Chain((Stage(one, "relu"),)))
    ([1, 1], [1, 1, 0, 2], [1, 1], [1], ['relu'])
    """
    geometries = chain.geometries
    return (
        [s for g in geometries for s in g.stride],
        [p for g in geometries for before, after in _pairs(g) for p in (before, after)],
        [d for g in geometries for d in g.dilation],
        [g.groups for g in geometries],
        [stage.activation for stage in chain.stages],
    )


def _pairs(geometry: Geometry) -> tuple[tuple[int, int], ...]:
    assert geometry.padding != "same"  # a stage has its padding in numbers
    return geometry.padding


@lru_cache(maxsize=4096)
def chain_of(
    weight_shapes: tuple[tuple[int, ...], ...],
    strides: tuple[int, ...],
    paddings: tuple[int, ...],
    dilations: tuple[int, ...],
    groups: tuple[int, ...],
    activations: tuple[str, ...],
    has_residual: bool,
) -> Chain:
    """The chain that the operator's arguments describe."""
    stages = []
    options = each_stage(strides, paddings, dilations, groups, activations)
    for shape, stage in zip(weight_shapes, options, strict=True):
        top, bottom, left, right = stage.padding
        geometry = Geometry(
            in_channels=shape[1] * stage.groups,
            out_channels=shape[0],
            kernel_size=image_shape(shape)[2:],
            stride=stage.stride,
            padding=((top, bottom), (left, right)),
            dilation=stage.dilation,
            groups=stage.groups,
        )
        stages.append(Stage(geometry, stage.activation))
    return Chain(tuple(stages), has_residual)


def is_chain(node: fx.Node) -> bool:
    """Whether a node of a graph calls the operator."""
    called = node.target
    return isinstance(called, torch._ops.OpOverload) and called._schema.name == _OPERATOR


def has_chains(graph: fx.Graph) -> bool:
    """Whether a planner has written a chain into a graph."""
    return any(map(is_chain, graph.nodes))


def each_bias(biases: Sequence[_T], has_bias: Sequence[bool]) -> list[_T | None]:
    """The biases that are there, and None for the stages that have none.

    torch knows no gradients of a list with gaps, so the operator takes it apart.

    >>> each_bias(["b"], [False, True])
    [None, 'b']
    """
    given = iter(biases)
    return [next(given) if has else None for has in has_bias]


def _cpu(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    residual: Tensor | None,
    has_bias: Sequence[bool],
    *arguments: Any,
) -> Tensor:
    *options, kernel = arguments
    chosen = chain_kernels().get(kernel)
    tensors = [x, *weights, *biases, *([] if residual is None else [residual])]
    if native.available() and chosen and all(t.dtype == torch.float32 for t in tensors):
        shapes = tuple(tuple(w.shape) for w in weights)
        chain = chain_of(shapes, *map(tuple, options), residual is not None)
        if chosen.serves(chain, image_shape(x.shape)):
            call = call_for(chosen, chain, weights[0])
            return call(x, weights, each_bias(biases, has_bias), residual)
    return by_torch(x, weights, each_bias(biases, has_bias), residual, *options)


def _any_device(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    residual: Tensor | None,
    has_bias: Sequence[bool],
    *arguments: Any,
) -> Tensor:
    *options, _ = arguments
    return by_torch(x, weights, each_bias(biases, has_bias), residual, *options)


def by_torch(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    residual: Tensor | None,
    *options: Any,
) -> Tensor:
    """The chain's formula by torch's own operators, on any device and in any dtype.

    Args:
        options: The operator's lists from `strides` to `activations`.
    """
    for i, (weight, stage) in enumerate(zip(weights, each_stage(*options), strict=True)):
        x = _layer(x, weight, biases[i], stage)
        if residual is not None and i == len(weights) - 1:
            x = x + residual
        if stage.activation != "none":
            x = OPERATORS[stage.activation](x)
    return with_axes(as_images(x).contiguous(memory_format=CHANNELS_LAST[4]), x.dim())


def _layer(x: Tensor, weight: Tensor, bias: Tensor | None, stage: StageOptions) -> Tensor:
    """A linear layer or a convolution, as the weight's axes say."""
    axes = weight.dim() - 2
    if axes == 0:
        return functional.linear(x, weight, bias)
    top, bottom, left, right = stage.padding
    padding = (top, left)
    if padding != (bottom, right):
        x, padding = functional.pad(x, (left, right, top, bottom)[: 2 * axes]), (0, 0)
    convolve = functional.conv1d if axes == 1 else functional.conv2d
    own = (stage.stride[-axes:], padding[-axes:], stage.dilation[-axes:], stage.groups)
    return convolve(x, weight, bias, *own)


def _fake(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    residual: Tensor | None,
    has_bias: Sequence[bool],
    *arguments: Any,
) -> Tensor:
    """Sizes may be symbols, so they are computed here and not by a Geometry."""
    *options, _ = arguments
    n, _, rows, columns = as_images(x).shape
    for weight, stage in zip(weights, each_stage(*options), strict=True):
        top, bottom, left, right = stage.padding
        kernel = as_images(weight).shape[2:]
        tall, wide = ((k - 1) * d for k, d in zip(kernel, stage.dilation, strict=True))
        rows = (rows + top + bottom - tall - 1) // stage.stride[0] + 1
        columns = (columns + left + right - wide - 1) // stage.stride[1] + 1
    shape = (n, weights[-1].shape[0], rows, columns)
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=CHANNELS_LAST[4])
    return with_axes(y, x.dim())


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weights, biases, residual, *options = inputs
    ctx.save_for_backward(x, *weights, *biases, *([] if residual is None else [residual]))
    ctx.counts, ctx.options = (1, len(weights), len(biases)), options


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    """Runs the formula once more by torch, and differentiates that."""
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in ctx.saved_tensors]
        (x,), weights, biases, residual = _parts(leaves, ctx.counts)
        y = _any_device(x, weights, biases, residual[0] if residual else None, *ctx.options)
        grads = torch.autograd.grad(y, leaves, grad)
    (of_x,), of_weights, of_biases, rest = _parts(list(grads), ctx.counts)
    of_residual = rest[0] if rest else None
    return of_x, of_weights, of_biases, of_residual, *[None] * len(ctx.options)


def _parts(tensors: list[Tensor], counts: Sequence[int]) -> list[list[Tensor]]:
    """A list cut into parts of these lengths, and what is left."""
    parts = []
    for count in counts:
        parts.append(tensors[:count])
        tensors = tensors[count:]
    return [*parts, tensors]


def _flops(
    x_shape: Sequence[int],
    weights: Sequence[Any],
    biases: Any,
    residual: Any,
    has_bias: Sequence[bool],
    *arguments: Any,
    **_: Any,
) -> int:
    """torch's unit: two for each multiply-add of the definition."""
    shapes = tuple(tuple(getattr(w, "shape", w)) for w in weights)
    options = map(tuple, arguments[:-1])
    return 2 * chain_of(shapes, *options, False).macs(image_shape(x_shape))


_library = torch.library.Library("convsmith", "FRAGMENT")
_library.define(
    "convolutions(Tensor x, Tensor[] weights, Tensor[] biases, Tensor? residual, bool[] has_bias, "
    "int[] strides, int[] paddings, int[] dilations, int[] groups, str[] activations, str kernel) "
    "-> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library.impl("convolutions", _any_device, "CompositeExplicitAutograd")
_library.impl("convolutions", _cpu, "CPU")
torch.library.register_fake("convsmith::convolutions", _fake, lib=_library)
torch.library.register_autograd(
    "convsmith::convolutions", _backward, setup_context=_setup_context, lib=_library
)
register_flop_formula(torch.ops.convsmith.convolutions)(_flops)
