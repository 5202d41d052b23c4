# SPDX-License-Identifier: Apache-2.0
"""Find what reads the whole map in a network that is to slide over larger images.

Two questions, each answered by trial rather than by a list of layers:

    one layer    On a map of twice the native size, does a change along the first row or column
                 reach the last position? A window that slides never reaches so far; a norm, softmax
                 or attention over positions does. And does its map grow with the image at all?
    the network  Where nothing pads, y(x) one step on = model(x cropped one step on), in float64.

A convolution is a window by definition and is not tried. Gates are left to look at everything.
"""

from fractions import Fraction
from math import lcm
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx import Node
from torch.fx.node import map_arg
from torch.utils._pytree import tree_leaves, tree_map

from convsmith.capture import Captured, arguments
from convsmith.errors import RewriteError
from convsmith.rewrite.inputs import Inputs, random_like
from convsmith.rewrite.rules.sliding_pool import is_gate, is_pool
from convsmith.rewrite.surgery import CONVOLUTIONS, TRANSPOSED, pads, place, size_hint
from convsmith.rewrite.verify import Proof, compare, run

_FAR = 40320  # 8!: a multiple of every product of small strides


class Larger(fx.Interpreter):
    """Run a network's shapes alone on larger images; the first layer that cannot is named."""

    def __init__(self, captured: Captured, grow: int | None = None) -> None:
        """Grow every size of an image by `grow`, or to twice itself."""
        graph = captured.module.graph
        self.native = {node.name: _shape(node.meta.get("val")) for node in graph.nodes}
        super().__init__(captured.copy(_on_meta).module.to("meta"))
        self.grown: dict[str, list[int]] = {}  # of each node, the axes that grew with the image
        inputs = tree_map(_on_meta, (captured.example, captured.kwargs))
        larger = tree_map(lambda value: enlarged(value, grow), inputs)
        with torch.no_grad():
            self.answer = self.run(*tree_leaves(larger), enable_io_processing=False)

    def run_node(self, n: Node) -> Any:
        """Run one node, note which of its axes grew, and refuse it if it reads the whole map."""
        try:
            value = tree_map(_on_meta, super().run_node(n))  # a tensor made on the way, too
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise _refusal(n, f"is tied to the native size: {reason}") from error
        if n.op != "output":
            pairs = enumerate(zip(self.native[n.name], _shape(value), strict=True))
            self.grown[n.name] = [axis for axis, (old, new) in pairs if new > old]
        return value


class Locality(Larger):
    """The same run, where every layer is asked whether it reads the whole map."""

    def run_node(self, n: Node) -> Any:
        """Run one node, and refuse it if it reads the whole map."""
        value = super().run_node(n)
        is_window = n.target in CONVOLUTIONS or n.target in TRANSPOSED
        sources = [s for s in n.all_input_nodes if isinstance(self.env[s], Tensor)]
        sources = [s for s in sources if self.grown[s.name]]
        is_map = n.op == "call_function" and isinstance(_first(value), Tensor)
        if not is_map or is_window or not sources or _is_gate(n):
            return value
        if not self.grown[n.name]:
            raise _refusal(n, f"gives {self.native[n.name]} however large the image is")
        if arguments(n).get("align_corners"):
            raise _refusal(n, "aligns the corners of the whole map")
        if any(self._reaches_the_end(n, source) for source in sources):
            raise _refusal(n, "reads the whole map at every position")
        return value

    def _reaches_the_end(self, node: Node, source: Node) -> bool:
        """Tell whether the first slice of an input along a grown axis changes the last output."""
        values = {n: tree_map(_numbers, self.env[n]) for n in node.all_input_nodes}
        before = self._last(node, values)
        for axis in self.grown[source.name]:
            changed = values[source].clone()
            changed.select(axis, 0).mul_(2)
            if not torch.equal(before, self._last(node, values | {source: changed})):
                return True
        return False

    def _last(self, node: Node, values: dict[Node, Any]) -> Tensor:
        def given(n: Node) -> Any:
            value = values[n]
            return value.clone() if isinstance(value, Tensor) else value  # it may work in place

        operator: Any = node.target
        found = _first(operator(*map_arg(node.args, given), **map_arg(node.kwargs, given)))
        for axis in self.grown[node.name]:
            found = found.narrow(axis, found.shape[axis] - 1, 1)
        return found.clone()


def check_crop(converted: Captured, twin: Captured, proof: Proof) -> None:
    """Compare the map one step on with the model on that crop, in float64, where nothing pads.

    Raises:
        RewriteError: if they differ.
    """
    nodes = list(converted.module.graph.nodes)
    if any(_repeats_an_edge(n) or _is_gate(n) for n in nodes):
        return
    native = Inputs(proof.twin.example, proof.twin.kwargs)
    far = tree_leaves(Larger(converted, _FAR).answer)
    here = tree_leaves(run(twin, native))
    steps = [_steps(a, b) for a, b in zip(here, far, strict=True) if isinstance(a, Tensor)]
    shift = lcm(*(step.numerator for leaf in steps for step in leaf if step))
    if shift > max(size for v in tree_leaves(native.args) for size in _shape(v)):
        return  # sizes that grow by no fixed step
    image = random_like(
        Inputs(*tree_map(lambda v: enlarged(v, 2 * shift), (native.args, native.kwargs))), seed=1
    )
    crop = Inputs(*tree_map(lambda v: _cropped(v, shift), (image.args, image.kwargs)))
    expected = [v for v in tree_leaves(run(proof.twin, crop)) if isinstance(v, Tensor)]
    leaves = tree_leaves((image.args, image.kwargs))
    with torch.no_grad():  # step by step: the twin's own contract is for native sizes
        larger = fx.Interpreter(twin.module).run(*leaves, enable_io_processing=False)
    answers = [v for v in tree_leaves(larger) if isinstance(v, Tensor)]
    small = [v for v in here if isinstance(v, Tensor)]
    for k, answer in enumerate(answers):
        for axis, step in enumerate(steps[k]):
            if step:
                answer = answer.narrow(axis, int(shift / step), small[k].shape[axis])
        found = compare(expected[k], answer.reshape(expected[k].shape))
        if found.why or found.max_rel > proof.proof_bound:
            raise RewriteError(
                f"to_fully_convolutional: {shift} pixels on, the converted network differs from "
                f"the model on that crop by {found.why or format(found.max_rel, '.2g')}, allowed "
                f"{proof.proof_bound:.2g}; a layer reads the whole image or depends on where it "
                f"stands; take it out of the part that slides."
            )


def enlarged(value: Any, grow: int | None = None) -> Any:
    """Return zeros of an image's size grown by `grow`, or to twice itself."""
    if not isinstance(value, Tensor):
        return value
    shape = [
        size if axis < 2 else size + (size if grow is None else grow)
        for axis, size in enumerate(value.shape)
    ]
    return value.new_zeros(shape)


def _cropped(value: Any, shift: int) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value[
        (slice(None), slice(None), *[slice(shift, -shift)] * (value.dim() - 2))
    ].contiguous()


def _steps(here: Tensor, far: Tensor) -> list[Fraction | None]:
    """Return, of each axis, the input's pixels for one of the output's; None if it is fixed."""
    growth = [b - a for a, b in zip(here.shape, far.shape, strict=True)]
    return [Fraction(_FAR, g) if g > 0 else None for g in growth]


def _repeats_an_edge(node: Node) -> bool:
    """Tell whether a layer makes up or lacks numbers at the edge of its map."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    if node.target in CONVOLUTIONS:
        return pads(node)
    named, name = arguments(node), str(node.target).split(".")[1]
    is_blend = name.startswith("upsample") and "nearest" not in name
    is_ragged = any(named.get("padding") or ()) or bool(named.get("ceil_mode"))
    return node.target in TRANSPOSED or "pad" in name or is_blend or is_ragged


def _is_gate(node: Node) -> bool:
    is_several = isinstance(node.meta.get("val"), tuple | list)
    return any(is_pool(n) and is_gate(n) for n in (node.users if is_several else [node]))


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple | list) and value else value


def _shape(value: Any) -> tuple[int, ...]:
    """Return the shape of a value, or of the first of several; empty if it is no tensor."""
    first = _first(value)
    return tuple(map(size_hint, first.shape)) if isinstance(first, Tensor) else ()


def _on_meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, Tensor) else value


def _numbers(value: Any) -> Any:
    """Return real numbers for a tensor of which only the shape is known."""
    if not isinstance(value, Tensor):
        return value
    if not value.is_floating_point():
        return torch.zeros(value.shape, dtype=value.dtype)
    generator = torch.Generator().manual_seed(0)
    return torch.rand(value.shape, dtype=torch.float64, generator=generator) + 1


def _refusal(node: Node, why: str) -> RewriteError:
    return RewriteError(
        f"to_fully_convolutional: {place(node)} ({node.target}) {why}; only layers that work at "
        f"every position alike can slide."
    )
