# SPDX-License-Identifier: Apache-2.0
"""`densify`: the same network on a finer grid of answers, by dilation in place of stride."""

import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils._pytree import tree_leaves, tree_map

from convsmith.capture import Captured, capture
from convsmith.errors import ArgumentError, RewriteError
from convsmith.rewrite.inputs import Inputs, random_like
from convsmith.rewrite.rules.densify.strides import Steps, density, image_axes, steps_of
from convsmith.rewrite.rules.densify.walk import refine
from convsmith.rewrite.surgery import place, sizes
from convsmith.rewrite.verify import Proof, compare, in_float64, run

aten = torch.ops.aten


def densify(model: nn.Module, example: Any, output_stride: int | Sequence[int] = 8) -> nn.Module:
    """Turn strides into dilation, so that a network gives an answer every `output_stride` pixels.

    dense(x)[..., ::f, ::f] = model(x),    f = S / output_stride

    S is the stride of the model's map, the product of its layers' strides. Layers keep theirs until
    the map has the stride wanted; from there on they move by one, and every later window has its
    dilation and its padding multiplied instead. That holds for convolutions and for max and average
    pooling, with `ceil_mode`, along every branch. A layer that looks at the whole map, such as a
    gate, goes on looking at the old grid. What cannot be refined is refused by name: up-sampling
    and transposed convolutions behind the stride, norms and attention over positions, padding that
    repeats the map's edge. The sizes of the two maps: M to M' with f (M - 1) < M' <= f M.

    A classifier gives no map: convert it with `to_fully_convolutional` first, and give an example
    larger than its native size.

    Args:
        model: A network whose outputs are maps (N, C, *space); it is not changed, and its inference
            path is taken.
        example: Inputs, a tensor or a tuple of tensors.
        output_stride: Pixels from one answer to the next, one number or one for each axis that may
            vary; it divides S. An axis whose size remains fixed keeps its stride.

    Raises:
        ArgumentError: if `output_stride` is no positive integer, or not one for each axis.
        CaptureError: if the graph of the model cannot be taken.
        RewriteError: if the output stride cannot be reached, or a layer cannot be refined; it is
            named.

    Cost: multiply-adds of every refined layer grow by the product of the axes' f; five runs to
    prove it.
    Source: Holschneider et al. 1990, the algorithme a trous; Chen et al. 2015, arXiv:1412.7062,
    section 3.1.

    >>> model = torch.nn.Sequential(
    ...     torch.nn.Conv2d(3, 4, 3, stride=2, padding=1), torch.nn.MaxPool2d(2)
    ... ).eval()
    >>> dense = densify(model, torch.zeros(1, 3, 16, 16), output_stride=2)
    >>> x = torch.randn(1, 3, 16, 24)
    >>> model(x).shape, dense(x).shape
    (torch.Size([1, 4, 4, 6]), torch.Size([1, 4, 7, 11]))
    >>> torch.allclose(dense(x)[..., ::2, ::2], model(x), atol=1e-6)
    True
    """
    captured = capture(model, example)
    wanted = _per_axis(output_stride, captured)
    steps = steps_of(captured)
    finer = _refinement(captured, steps, wanted)
    if all(f == 1 for axes in finer for f in axes):
        return captured.module
    proof = Proof(captured, random_like(Inputs(captured.example, captured.kwargs), seed=0))
    refine(captured, steps, wanted)
    captured.refresh()
    why = _difference(captured, proof, finer)
    if why:
        raise RewriteError(
            f"densify: the refined {type(model).__name__} differs from the model on the old grid: "
            f"{why}; a layer depends on where it stands or on how large its map is; give the part "
            f"of the network before it."
        )
    return captured.module


def _per_axis(output_stride: Any, captured: Captured) -> dict[int, int]:
    """The output stride of every axis of the image."""
    axes = image_axes(captured)
    if not axes:
        raise RewriteError(
            f"densify: sizes remain fixed ({captured.contract.describe()}); a network with linear "
            f"layers behind a flatten is given to to_fully_convolutional first."
        )
    listed = [output_stride] * len(axes) if isinstance(output_stride, int) else output_stride
    is_listed = isinstance(listed, Sequence) and len(listed) == len(axes)
    if not is_listed or any(type(n) is not int or n < 1 for n in listed):
        raise ArgumentError(
            f"densify: output_stride is {output_stride!r}; it is a positive integer, or one for "
            f"each of the image's {len(axes)} axes."
        )
    return dict(zip(axes, listed, strict=True))


def _refinement(
    captured: Captured, steps: Mapping[Node, Steps], wanted: Mapping[int, int]
) -> list[tuple[int, ...]]:
    """How many times finer each axis of each output becomes."""
    outputs = [steps[node] for node in _outputs(captured)]
    for node, found in zip(_outputs(captured), outputs, strict=True):
        if not any(found):
            raise RewriteError(
                f"densify: the output {place(node)} has shape {sizes(node)} however large the "
                f"image is; only maps have a stride: give a classifier to to_fully_convolutional "
                f"first."
            )
    for axis, stride in wanted.items():
        here = [s.stride for found in outputs for s in found if s and s.image_axis == axis]
        coarsest = max(here, default=Fraction(1))
        if coarsest % stride:
            divisors = [n for n in range(1, int(coarsest) + 1) if coarsest % n == 0]
            raise RewriteError(
                f"densify: the network's stride along axis {axis} is {coarsest}, of which an "
                f"output_stride of {stride} is no divisor; choose one of {divisors}."
            )
    return [density(found, wanted) for found in outputs]


def _outputs(captured: Captured) -> list[Node]:
    (output,) = (n for n in captured.module.graph.nodes if n.op == "output")
    return list(output.all_input_nodes)


def _difference(dense: Captured, proof: Proof, finer: Sequence[tuple[int, ...]]) -> str | None:
    """What is wrong on the old grid: at the example's size, and a little beyond it in float64."""
    sliced = _on_old_grid(dense, finer)
    twin = in_float64(sliced)
    exact, own = proof.check(sliced, twin)
    if exact.why or own.why:
        return exact.why or own.why
    larger = _larger(proof.twin)
    if larger is None:
        return None
    found = compare(run(proof.twin, larger), run(twin, larger))
    if found.why or found.max_rel > proof.proof_bound:
        return found.why or f"outputs moved by {found.max_rel:.2g} on a larger image"
    return None


def _on_old_grid(captured: Captured, finer: Sequence[tuple[int, ...]]) -> Captured:
    """A copy whose outputs are every f-th position of the network's."""
    sliced = captured.copy()
    graph = sliced.module.graph
    (output,) = (n for n in graph.nodes if n.op == "output")
    for node, factors in zip(_outputs(sliced), finer, strict=True):
        kept = node
        with graph.inserting_before(output):
            for axis, f in enumerate(factors):
                kept = graph.call_function(aten.slice.Tensor, (kept, axis, 0, sys.maxsize, f))
        output.replace_input_with(node, kept)
    sliced.module.recompile()
    return sliced


def _larger(captured: Captured) -> Inputs | None:
    """Random images a little larger than the example, if the network takes any."""
    names = [item.name for item in captured.contract.inputs]
    for grow in (1, 8, 32):
        larger = _grown(captured, grow)
        leaves = tree_leaves((larger.args, larger.kwargs))
        shapes = {n: v.shape for n, v in zip(names, leaves, strict=True) if isinstance(v, Tensor)}
        if captured.contract.accepts(shapes):
            return random_like(larger, seed=1)
    return None


def _grown(captured: Captured, grow: int) -> Inputs:
    """Zeros of the example's size, the axes of the image that may vary longer by `grow`."""
    items = iter(captured.contract.inputs)

    def grown(value: Any) -> Any:
        item = next(items)
        if not isinstance(value, Tensor):
            return value
        axes = enumerate(zip(value.shape, item.free, strict=True))
        return value.new_zeros([n + grow if axis > 1 and free else n for axis, (n, free) in axes])

    return Inputs(*tree_map(grown, (captured.example, captured.kwargs)))
