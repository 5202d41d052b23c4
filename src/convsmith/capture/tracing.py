# SPDX-License-Identifier: Apache-2.0
"""Tracing a model without its weights: the same graph form as `capture`, shapes alone, no memory.

Where `capture` proves for which sizes a graph holds, `trace` only watches one call on tensors that
have a shape and no numbers: milliseconds a layer, whatever the size of weights and images, and
models that write in place or keep their batch-norm training are watched like any other.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch._subclasses.schema_check_mode import SchemaCheckMode
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from convsmith.capture.explaining import asks_for_numbers, explained
from convsmith.capture.network import Network
from convsmith.capture.quiet import quiet
from convsmith.capture.retelling import retell
from convsmith.capture.twins import input_of, twin_of
from convsmith.errors import ArgumentError, CaptureError

_HERE = Path(__file__).parents[1]
# Whose lines say nothing to the reader: torch's and this library's, its networks excepted.
_OUTSIDE = tuple(str(p) for p in (Path(torch.__file__).parent, _HERE / "capture", _HERE / "convs"))


@dataclass(frozen=True)
class Traced:
    """One call of a model as a graph of torch's own operators, in the order they ran.

    Attributes:
        graph: Nodes in the form of `Captured.graph`; `meta["val"]` holds shapes, `meta["chain"]`
            the number of the chain that a planned network computes in one pass. A parameter or
            buffer is a `get_attr` node under its own name, any other tensor one without a dot.
        model: The model given, untouched.
        first_shapes: For every call of a module ("layer1.0.conv1", its second call
            "layer1.0.conv1@2", "" the model itself) the shape of the first tensor given to it.
        was_training: Whether the model given was in training mode; the inference path is traced.
        was_run: Whether it was run for real, since it asks for the numbers in a tensor.
    """

    graph: fx.Graph
    model: nn.Module
    first_shapes: Mapping[str, tuple[int, ...]]
    was_training: bool
    was_run: bool = False

    @cached_property
    def modules(self) -> Mapping[str, nn.Module]:
        """Every module of the model by its path, "" the model itself."""
        return dict(self.model.named_modules())

    def stored(self, node: object) -> Tensor | None:
        """The tensor of the model behind a `get_attr` node; None for any other."""
        if not isinstance(node, fx.Node) or node.op != "get_attr":
            return None
        owner: Any = self.model
        for part in str(node.target).split("."):
            owner = getattr(owner, part, None)
        return owner if isinstance(owner, Tensor) else None


def trace(
    model: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    may_run: bool = False,
) -> Traced:
    """The operators that one call of a model runs, with their shapes; no weight is read or copied.

    Args:
        model: Any module, on any device, the meta device included.
        args: The positional inputs: tensors, of which only shape and dtype matter, in any nest.
        kwargs: Keyword inputs.
        may_run: A model that asks for the numbers in a tensor is run for real, if it has them; of
            an input that has none they are random.

    Raises:
        ArgumentError: if `model` is not a module or there is no tensor among the inputs.
        CaptureError: if a parameter is not initialised, or the call fails, naming module and line.

    Cost: about a millisecond for each operator; memory for shapes only, unless it is run.

    >>> traced = trace(torch.nn.Conv2d(3, 8, 3), [torch.empty(1, 3, 32, 32, device="meta")])
    >>> [str(node.target) for node in traced.graph.nodes if node.op == "call_function"]
    ['aten.conv2d.default']
    """
    given = (tuple(args), dict(kwargs or {}))
    _check(model, given)
    try:
        return _traced(model, given, FakeTensorMode(allow_non_fake_inputs=True))
    except CaptureError as error:
        is_asking = error.__cause__ is not None and asks_for_numbers(error.__cause__)
        every = (*model.parameters(), *model.buffers())
        if not (may_run and is_asking) or any(tensor.is_meta for tensor in every):
            raise
    return _traced(model, given, None)


def _traced(
    model: nn.Module, given: tuple[tuple[Any, ...], dict[str, Any]], mode: FakeTensorMode | None
) -> Traced:
    """One call on shapes alone, or for real without a mode."""
    home = next((t.device for t in model.parameters() if not t.is_meta), torch.device("cpu"))
    twin = twin_of(model, mode, home)
    inputs = pytree.tree_map_only(Tensor, lambda t: input_of(t, mode, home), given)
    recorder = _Recorder(twin)
    recorder.start(*inputs)
    with ExitStack() as stack, quiet():
        contexts = (_watched(twin, recorder), torch.no_grad(), plain_attention())
        for context in (*contexts, mode or nullcontext()):
            stack.enter_context(context)
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(enable_python_dispatcher())
        stack.enter_context(recorder)
        try:
            if isinstance(twin, Network):
                answer = retell(twin, inputs[0], inputs[1], recorder.tell)
            else:
                answer = twin(*inputs[0], **inputs[1])
        except Exception as error:  # the model's own, or torch's where numbers are asked for
            raise explained(model, twin, given, error) from error
    recorder.finish(answer)
    return Traced(recorder.graph, model, recorder.first_shapes, model.training, mode is None)


def _check(model: Any, given: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"trace: model is a {type(model).__name__}; it must be a torch.nn.Module."
        )
    name = type(model).__name__
    if not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(given)):
        raise ArgumentError(
            f"trace: the inputs of {name} hold no tensor ({given!r:.80}); give a shape, a tensor "
            "or a tuple of inputs."
        )
    for path, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor):
            raise CaptureError(
                f"trace: {name}: {path} has no shape yet; run the model once on an example first."
            )


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention by its own steps: torch's fused inference path hides them in one operator."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _watched(twin: nn.Module, recorder: "_Recorder") -> Iterator[None]:
    """Tell the recorder which module runs. The twin is ours: its hooks need not be removed."""
    calls: dict[str, int] = {}

    def entering(path: str, kind: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            calls[path] = calls.get(path, 0) + 1
            key = path if calls[path] == 1 else f"{path}@{calls[path]}"
            recorder.enter(key, path, kind, (args, kwargs))

        return hook

    def leaving(*_: Any) -> None:
        recorder.stack.pop()

    for path, module in twin.named_modules():
        if path and not isinstance(module, torch.jit.ScriptModule):  # that has no hooks
            kind = f"{type(module).__module__}.{type(module).__qualname__}"
            module.register_forward_pre_hook(entering(path, kind), with_kwargs=True)
            module.register_forward_hook(leaving, always_call=True)
    yield


def written(old: Tensor, value: Tensor) -> Tensor:
    """Stands in a traced graph for memory that was written through a view of it."""
    raise NotImplementedError("a traced graph is read, never run")


class _Recorder(SchemaCheckMode):
    """Notes every operator before torch takes it apart into smaller ones.

    torch admits modes of three classes that early, and this is the plainest of them; nothing of it
    is used.
    """

    def __init__(self, twin: nn.Module) -> None:
        TorchDispatchMode.__init__(self, _dispatch_key=torch._C.DispatchKey.PreDispatch)
        self.graph = fx.Graph()
        self.stack: list[tuple[str, str, str]] = []
        self._line: str | None = None  # of the user's code, where a network remembers it
        self._chain: int | None = None  # what a planner had written as one operator
        self.first_shapes: dict[str, tuple[int, ...]] = {}
        places = [*twin.named_buffers(), *twin.named_parameters()]
        self._names = {id(tensor): name for name, tensor in places}
        modules = twin.named_modules()
        self._scripted = {path for path, m in modules if isinstance(m, torch.jit.ScriptModule)}
        self._nodes: dict[int, fx.Node] = {}
        self._alive: list[Tensor] = []  # an id is a tensor's own only while it lives
        self._sharing: dict[int, list[Tensor]] = {}

    def enter(self, call: str, path: str, kind: str, given: Any) -> None:
        """Note that a module starts to run."""
        self.stack.append((call, path, kind))
        self._note_first(call, given)

    def tell(self, path: str, line: str, chain: int | None) -> None:
        """Note where the next operators of a captured network came from."""
        self.stack = [(path, path, "")] if path else []
        self._line, self._chain = line, chain

    def _note_first(self, call: str, given: Any) -> None:
        tensors = (leaf for leaf in pytree.tree_leaves(given) if isinstance(leaf, Tensor))
        first = next(tensors, None)
        if first is not None:
            self.first_shapes[call] = tuple(first.shape)

    def start(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Make a placeholder for every tensor among the inputs."""
        self._note_first("", (args, kwargs))
        for path, leaf in pytree.tree_leaves_with_path((args, kwargs)):
            if isinstance(leaf, Tensor):
                node = self.graph.placeholder(_input_name(path))
                node.meta["val"] = leaf
                self._note(leaf, node)

    def finish(self, answer: Any) -> None:
        """Make the output node, of the tensors in the answer."""
        leaves = [leaf for leaf in pytree.tree_leaves(answer) if isinstance(leaf, Tensor)]
        self.graph.output(tuple(self._node_of(leaf) for leaf in leaves))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = pytree.tree_map_only(Tensor, self._node_of, (args, kwargs))
        result = func(*args, **kwargs)
        node = self.graph.create_node("call_function", func, given[0], given[1])
        node.meta |= {
            "val": result,
            "nn_module_stack": {key: (path, kind) for key, path, kind in self._modules(given)},
            "stack_trace": _user_line(sys._getframe(1)) if self._line is None else self._line,
        }
        if self._chain is not None:
            node.meta["chain"] = self._chain
        if isinstance(result, Tensor):
            self._note(result, node)
        elif isinstance(result, tuple | list):
            for index, item in enumerate(result):
                if isinstance(item, Tensor):
                    self._note(item, self._item(node, index, item))
        if func._schema.is_mutable:
            self._spread(func, args, kwargs, node)
        return result

    def _modules(self, given: Any) -> list[tuple[str, str, str]]:
        """The modules at work: of scripted ones, which tell nobody, the owner of what is read."""
        read = (n for n in pytree.tree_leaves(given) if isinstance(n, fx.Node))
        owners = (str(n.target).rpartition(".")[0] for n in read if n.op == "get_attr")
        owner = next((path for path in owners if path in self._scripted), None)
        return [*self.stack, (owner, owner, "torch.jit.ScriptModule")] if owner else self.stack

    def _spread(self, func: Any, args: Any, kwargs: Any, node: fx.Node) -> None:
        """Whoever reads memory that was written reads the new value from now on."""
        for place, item in enumerate(func._schema.arguments):
            if item.alias_info is None or not item.alias_info.is_write:
                continue
            target = args[place] if place < len(args) else kwargs.get(item.name)
            if not isinstance(target, Tensor):
                continue
            for other in self._sharing.get(_storage(target), []):
                is_same = other.shape == target.shape and other.stride() == target.stride()
                if other is target or (
                    is_same and other.storage_offset() == target.storage_offset()
                ):
                    self._nodes[id(other)] = node
                    continue
                with_new = self.graph.call_function(written, (self._nodes[id(other)], node))
                with_new.meta |= {**node.meta, "val": other}
                self._nodes[id(other)] = with_new

    def _item(self, node: fx.Node, index: int, value: Tensor) -> fx.Node:
        item = self.graph.call_function(_getitem, (node, index))
        item.meta |= {**node.meta, "val": value}
        return item

    def _note(self, tensor: Tensor, node: fx.Node) -> None:
        if id(tensor) not in self._nodes:
            self._alive.append(tensor)
            self._sharing.setdefault(_storage(tensor), []).append(tensor)
        self._nodes[id(tensor)] = node

    def _node_of(self, tensor: Tensor) -> fx.Node:
        if id(tensor) not in self._nodes:
            name = self._names.get(id(tensor), f"constant_{len(self._alive)}")
            node = self.graph.create_node("get_attr", name)
            node.meta["val"] = tensor
            self._note(tensor, node)
        return self._nodes[id(tensor)]


def _getitem(values: Sequence[Any], index: int) -> Any:
    """One of several results."""
    return values[index]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _input_name(path: Sequence[Any]) -> str:
    """args[0] is "x0"; kwargs["mask"] is "mask"; deeper places are joined by underscores."""
    kind, *inner = [getattr(key, "idx", getattr(key, "key", "")) for key in path]
    words = [str(word) for word in inner]
    return "_".join(["x" + words[0], *words[1:]] if kind == 0 else words)


def _user_line(frame: FrameType | None) -> str:
    """The innermost line of the model outside torch, written as a traceback writes it; none if the
    whole model is torch's.
    """
    while frame is not None and frame.f_code.co_filename.startswith((*_OUTSIDE, "<")):
        if frame.f_code is _traced.__code__:
            return ""
        frame = frame.f_back
    if frame is None:
        return ""
    return f'File "{frame.f_code.co_filename}", line {frame.f_lineno}, in {frame.f_code.co_name}'
