# SPDX-License-Identifier: Apache-2.0
"""Shapes of every node, computed without data, and the contract that they imply.

Sizes that may vary become symbols; running the graph on fake tensors leaves expressions of them in
`node.meta["val"]` and leaves in the shape environment every relation the graph relied on.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import sympy  # type: ignore[import-untyped]
import torch
from torch import fx
from torch._dispatch.python import enable_python_dispatcher
from torch._dynamo.source import ConstantSource
from torch._guards import detect_fake_mode
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.utils import _pytree as pytree
from torch.utils._sympy.printers import PythonPrinter

from convsmith.capture.guards import parse_guard
from convsmith.capture.pooling import let_lengths_vary
from convsmith.capture.quiet import quiet
from convsmith.capture.sizes import Contract, Input

let_lengths_vary()
_TORCH = Path(torch.__file__).parent
# Here torch asks about sizes to choose strides ("not 1", "2 or more") or a kernel ("batch < 16"):
# the answers never change values.
_LAYOUT_CODE = tuple(str(_TORCH / name) for name in ("_prims_common", "_prims", "_refs"))
_COMPUTED_FROM = "convsmith_computed_from"
_KERNEL_CODE = str(_TORCH / "_subclasses")


def placeholders(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if node.op == "placeholder"]


def may_vary(tensor: torch.Tensor, *, batch: bool, space: bool) -> tuple[bool, ...]:
    """Which sizes of an input to try as free: the batch, and every axis after the channels."""
    return tuple((axis == 0 and batch) or (axis >= 2 and space) for axis in range(tensor.dim()))


def contract_of(graph: fx.Graph, leaves: Sequence[Any]) -> Contract:
    """The contract that the fake tensors of a graph's placeholders imply.

    Raises:
        ArgumentError: if a relation cannot be written as an expression of input sizes.
    """
    nodes = placeholders(graph)
    names: dict[sympy.Symbol, str] = {}
    equalities: list[tuple[str, sympy.Expr]] = []
    inputs = []
    environment: ShapeEnv | None = None
    for node, leaf in zip(nodes, leaves, strict=True):
        if not isinstance(leaf, torch.Tensor):
            inputs.append(Input(name=node.name, is_tensor=False, constant=leaf))
            continue
        shape = node.meta["val"].shape
        environment = next(
            (size.node.shape_env for size in shape if isinstance(size, torch.SymInt)), environment
        )
        free = []
        for axis, size in enumerate(shape):
            expression = _expression(size)
            free.append(bool(expression.free_symbols))
            if expression.is_Symbol and expression not in names:
                names[expression] = f"{node.name}.size({axis})"
            elif expression.free_symbols:
                equalities.append((f"{node.name}.size({axis})", expression))
        inputs.append(
            Input(name=node.name, sizes=tuple(leaf.shape), free=tuple(free), dtype=leaf.dtype)
        )
    printer = _Printer(names)
    guards = [f"{left} == {printer.doprint(expression)}" for left, expression in equalities]
    guards += _guards(environment, printer) if environment is not None else []
    for guard in guards:
        parse_guard(guard, {item.name: len(item.sizes) for item in inputs})
    return Contract(tuple(inputs), tuple(dict.fromkeys(guards)))


def _expression(size: int | torch.SymInt) -> sympy.Expr:
    if isinstance(size, torch.SymInt):
        return size.node.shape_env.simplify(size.node.expr)
    return sympy.Integer(size)


class _Printer(PythonPrinter):
    """Prints a symbol as the input size it stands for."""

    def __init__(self, names: dict[sympy.Symbol, str]) -> None:
        super().__init__()
        self._names = names

    def _print_Symbol(self, expr: sympy.Symbol) -> str:
        return self._names.get(expr, str(expr))


def _guards(environment: ShapeEnv, printer: _Printer) -> list[str]:
    simplified = [(environment.simplify(guard.expr), guard) for guard in environment.guards]
    return [
        printer.doprint(expression)
        for expression, guard in simplified
        if expression is not sympy.true and not _is_incidental(expression, guard)
    ]


def _is_incidental(expression: sympy.Basic, guard: Any) -> bool:
    location = guard.sloc.framework_loc
    file = str(getattr(location, "filename", location))
    return file.startswith(_KERNEL_CODE) or (
        file.startswith(_LAYOUT_CODE) and not isinstance(expression, sympy.Eq)
    )


class _Shapes(fx.Interpreter):
    """Runs a graph on fake tensors and notes every result in `meta["val"]`."""

    def __init__(self, module: fx.GraphModule, mode: FakeTensorMode) -> None:
        super().__init__(module)
        self._mode = mode
        self.vals: dict[fx.Node, Any] = {}

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().get_attr(target, args, kwargs)
        return (
            self._mode.from_tensor(value, static_shapes=True)
            if isinstance(value, torch.Tensor)
            else value
        )

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op != "output":
            self.vals[n] = result
        return result


def propagate(
    module: fx.GraphModule, leaves: Sequence[Any], free: Sequence[tuple[bool, ...]]
) -> None:
    """Recompute `meta["val"]` of every node, with a symbol for each free size; all or nothing.

    Raises:
        Exception: whatever torch raises if the graph cannot run on such sizes.
    """
    mode = FakeTensorMode(shape_env=ShapeEnv(duck_shape=False))
    fakes = [
        _fake(leaf, mode, flags, node.name) if isinstance(leaf, torch.Tensor) else leaf
        for leaf, flags, node in zip(leaves, free, placeholders(module.graph), strict=True)
    ]
    for node, value in _run(module, mode, fakes).items():
        node.meta["val"] = value
    mark_current(module.graph)


def compute_shapes(module: fx.GraphModule, inputs: Sequence[Input]) -> dict[fx.Node, Any]:
    """The fake result of every node at the sizes of capture; nothing is noted in the graph.

    Raises:
        Exception: whatever torch raises if the graph cannot run on such sizes.
    """
    mode = FakeTensorMode()
    with mode:
        fakes = [
            torch.empty(item.sizes, dtype=item.dtype) if item.is_tensor else item.constant
            for item in inputs
        ]
    return _run(module, mode, fakes)


def fix_sizes(module: fx.GraphModule, contract: Contract) -> Contract:
    """Note shapes in numbers, those of capture, and return the contract that admits no others."""
    for node, value in compute_shapes(module, contract.inputs).items():
        node.meta["val"] = value
    mark_current(module.graph)
    inputs = (replace(item, free=(False,) * len(item.sizes)) for item in contract.inputs)
    return Contract(tuple(inputs))


def _run(module: fx.GraphModule, mode: FakeTensorMode, fakes: Sequence[Any]) -> dict[fx.Node, Any]:
    interpreter = _Shapes(module, mode)
    # Without it, operators such as `pad` run in C++ on plain numbers and fix every size they meet.
    with mode, enable_python_dispatcher(), torch.no_grad():
        interpreter.run(*fakes, enable_io_processing=False)
    return interpreter.vals


def _fake(
    leaf: torch.Tensor, mode: FakeTensorMode, free: tuple[bool, ...], name: str
) -> torch.Tensor:
    sizes = [DimDynamic.DYNAMIC if is_free else DimDynamic.STATIC for is_free in free]
    context: StatelessSymbolicContext[Any, Any] = StatelessSymbolicContext(dynamic_sizes=sizes)
    return mode.from_tensor(leaf, symbolic_context=context, source=ConstantSource(name))


def settle(module: fx.GraphModule, leaves: Sequence[Any]) -> Contract:
    """The contract of the shapes now noted in a graph, with sizes that its guards pin turned from
    symbols into numbers.

    Raises:
        Exception: whatever torch raises if shapes cannot be recomputed.
    """
    implied = contract_of(module.graph, leaves)
    contract = implied.settled()
    if [item.free for item in contract.inputs] != [item.free for item in implied.inputs]:
        propagate(module, leaves, [item.free for item in contract.inputs])
    return contract


def mark_current(graph: fx.Graph) -> None:
    """Note of every node what its shape was computed from, so that only changes are recomputed."""
    for node in graph.nodes:
        node.meta[_COMPUTED_FROM] = _origin(node)


def widened_from(graph: fx.Graph, other: fx.Graph) -> bool:
    """Note in a float64 twin the shapes of the graph that it is the twin of; False, and nothing
    noted, if their nodes differ.
    """
    pairs = list(zip(graph.nodes, other.nodes, strict=False))
    if len(graph.nodes) != len(other.nodes) or any(a.name != b.name for a, b in pairs):
        return False
    for node, same in pairs:
        if "val" in same.meta:
            node.meta["val"] = pytree.tree_map(_widened, same.meta["val"])
    mark_current(graph)
    return True


def _widened(value: Any) -> Any:
    is_real = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.double() if is_real else value


class _Named(NamedTuple):
    name: str


def _origin(node: fx.Node) -> Any:
    """A node's operator and arguments by name: equal in a copy of the graph."""
    by_name = fx.map_arg((node.args, node.kwargs), lambda given: _Named(given.name))
    return node.op, node.target, by_name


def update(module: fx.GraphModule) -> None:
    """Recompute the shapes of new and changed nodes, and of those behind them as far as they
    differ.

    Symbolic shapes cost milliseconds a node, and a rule changes a few nodes of hundreds.

    Raises:
        Exception: whatever torch raises if a node cannot run on its inputs.
    """
    mode: Any = detect_fake_mode([node.meta["val"] for node in placeholders(module.graph)])
    runner = _Shapes(module, mode)
    changed: set[fx.Node] = set()
    with mode, torch.no_grad():
        for node in module.graph.nodes:
            is_known = node.meta.get(_COMPUTED_FROM) == _origin(node) and node.op != "get_attr"
            if node.op in ("placeholder", "output") or (
                is_known and changed.isdisjoint(node.all_input_nodes)
            ):
                continue
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda item: item.meta["val"])
            value = getattr(runner, node.op)(node.target, args, kwargs)
            if _described(value) != _described(node.meta.get("val")):
                changed.add(node)
            node.meta["val"] = value  # in any case: a new weight was noted as it is, with numbers
            node.meta[_COMPUTED_FROM] = _origin(node)


def _described(value: Any) -> Any:
    """What matters of a fake value, compared without asking torch to prove anything."""
    if isinstance(value, torch.Tensor):
        sizes = [_expression(size) for size in (*value.shape, *value.stride())]
        return sizes, value.dtype, value.device
    if isinstance(value, list | tuple):
        return [_described(item) for item in value]
    return _expression(value) if isinstance(value, torch.SymInt) else value


def refreshed(
    module: fx.GraphModule, leaves: Sequence[Any], contract: Contract, *, widen: bool
) -> Contract:
    """Recompute all shapes and return the contract that now holds; see `Captured.refresh`."""
    if not widen:
        with suppress(Exception), quiet():  # what fails here is tried again with fewer free sizes
            update(module)
            return contract
    wanted = [
        may_vary(leaf, batch=True, space=True) if widen and item.is_tensor else item.free
        for item, leaf in zip(contract.inputs, leaves, strict=True)
    ]
    batch_only = [tuple(flag and axis == 0 for axis, flag in enumerate(flags)) for flags in wanted]
    for free in (wanted, batch_only):
        try:
            with quiet():
                propagate(module, leaves, free)
                found = settle(module, leaves)
        except (
            Exception
        ):  # sympy and torch fail here in ways of their own: fewer free sizes are the answer
            continue
        return found if widen else _narrowed(contract, found)
    propagate(module, leaves, [(False,) * len(flags) for flags in wanted])
    return contract_of(module.graph, leaves)


def _narrowed(contract: Contract, found: Contract) -> Contract:
    pairs = zip(contract.inputs, found.inputs, strict=True)
    inputs = tuple(
        replace(old, free=tuple(a and b for a, b in zip(old.free, new.free, strict=True)))
        for old, new in pairs
    )
    return Contract(inputs, contract.guards)
