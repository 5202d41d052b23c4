# SPDX-License-Identifier: Apache-2.0
"""Tracing a model without its weights: the same graph form as `capture`, shapes alone, no memory.

Where `capture` proves for which sizes a graph holds, `trace` only watches one call on tensors that
have a shape and no numbers: milliseconds a layer, whatever the size of weights and images, and
models that write in place or keep their batch-norm training are watched like any other.
"""

import copy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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

from convsmith.capture.exporting import failing_place
from convsmith.capture.network import Network
from convsmith.capture.quiet import quiet
from convsmith.capture.retelling import retell
from convsmith.errors import ArgumentError, CaptureError

_MOST_ASKED = 64  # numbers of a buffer
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
    """

    graph: fx.Graph
    model: nn.Module
    first_shapes: Mapping[str, tuple[int, ...]]
    was_training: bool

    def stored(self, node: object) -> Tensor | None:
        """The tensor of the model behind a `get_attr` node; None for any other."""
        if not isinstance(node, fx.Node) or node.op != "get_attr":
            return None
        owner: Any = self.model
        for part in str(node.target).split("."):
            owner = getattr(owner, part, None)
        return owner if isinstance(owner, Tensor) else None


def trace(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> Traced:
    """The operators that one call of a model runs, with their shapes; no weight is read or copied.

    Args:
        model: Any module, on any device, the meta device included.
        args: The positional inputs: tensors, of which only shape and dtype matter, in any nest.
        kwargs: Keyword inputs.

    Raises:
        ArgumentError: if `model` is not a module or there is no tensor among the inputs.
        CaptureError: if a parameter is not initialised, or the call fails, naming module and line.

    Cost: about a millisecond for each operator; memory for shapes only.

    >>> traced = trace(torch.nn.Conv2d(3, 8, 3), [torch.empty(1, 3, 32, 32, device="meta")])
    >>> [str(node.target) for node in traced.graph.nodes if node.op == "call_function"]
    ['aten.conv2d.default']
    """
    given = (tuple(args), dict(kwargs or {}))
    _check(model, given)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    home = next((t.device for t in model.parameters() if not t.is_meta), torch.device("cpu"))
    twin = _weightless(model, mode, home)
    fakes = pytree.tree_map_only(Tensor, lambda t: _without_numbers(t, mode, home), given)
    places = [*twin.named_buffers(), *twin.named_parameters()]
    recorder = _Recorder({id(tensor): name for name, tensor in places})
    recorder.start(*fakes)
    with ExitStack() as stack, quiet():
        for context in (_watched(twin, recorder), torch.no_grad(), plain_attention(), mode):
            stack.enter_context(context)
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(enable_python_dispatcher())
        stack.enter_context(recorder)
        try:
            if isinstance(twin, Network):
                answer = retell(twin, fakes[0], fakes[1], recorder.tell)
            else:
                answer = twin(*fakes[0], **fakes[1])
        except Exception as error:  # the model's own, or torch's where numbers are asked for
            raise _explained(model, twin, given, error) from error
    recorder.finish(answer)
    return Traced(recorder.graph, model, recorder.first_shapes, model.training)


def _check(model: Any, given: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"trace: model is a {type(model).__name__}; it must be a torch.nn.Module."
        )
    name = type(model).__name__
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise CaptureError(
            f"trace: {name} holds a scripted module, whose source is gone; trace the original."
        )
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


def _weightless(model: nn.Module, mode: FakeTensorMode, home: torch.device) -> nn.Module:
    """A deep copy in eval mode whose tensors have shapes and no numbers."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        own = [*module._parameters.values(), *module._buffers.values()]
        # A plain attribute keeps its numbers, which a model may need, unless it has none.
        own += [t for t in vars(module).values() if isinstance(t, Tensor) and t.is_meta]
        for tensor in own:
            if tensor is not None and id(tensor) not in memo:
                memo[id(tensor)] = _without_numbers(tensor, mode, home)
    try:
        return copy.deepcopy(model, memo).eval()
    except Exception as error:  # a module may hold anything, and fail to copy in any way
        raise CaptureError(
            f"trace: {type(model).__name__} cannot be deep-copied: {error}; convsmith works on a "
            "copy; keep what cannot be copied (open files, tensors with a graph) out of the module."
        ) from error


def _may_be_asked(tensor: Tensor) -> bool:
    """A few whole numbers that a model may compute sizes from: they keep their values."""
    is_whole = not (tensor.is_floating_point() or tensor.is_complex())
    return is_whole and not tensor.is_meta and tensor.numel() <= _MOST_ASKED


def _without_numbers(tensor: Tensor, mode: FakeTensorMode, home: torch.device) -> Tensor:
    device = home if tensor.is_meta else tensor.device
    with mode:
        fake: Any = torch.empty_strided(
            tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device
        )
        if isinstance(tensor, nn.Parameter):
            return nn.Parameter(fake, requires_grad=tensor.requires_grad)
    if _may_be_asked(tensor):
        fake.constant = tensor.detach().clone()
    return fake


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
        if path:
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

    def __init__(self, names: Mapping[int, str]) -> None:
        TorchDispatchMode.__init__(self, _dispatch_key=torch._C.DispatchKey.PreDispatch)
        self.graph = fx.Graph()
        self.stack: list[tuple[str, str, str]] = []
        self._line: str | None = None  # of the user's code, where a network remembers it
        self._chain: int | None = None  # what a planner had written as one operator
        self.first_shapes: dict[str, tuple[int, ...]] = {}
        self._names = names
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
            "nn_module_stack": {key: (path, kind) for key, path, kind in self.stack},
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
    """The innermost line outside torch and this room, written as a traceback writes it."""
    while frame is not None and frame.f_code.co_filename.startswith((*_OUTSIDE, "<")):
        frame = frame.f_back
    if frame is None:
        return ""
    return f'File "{frame.f_code.co_filename}", line {frame.f_lineno}, in {frame.f_code.co_name}'


def _explained(
    model: nn.Module, twin: nn.Module, given: tuple[Any, Any], error: Exception
) -> CaptureError:
    path, line = failing_place(twin, error)
    reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
    shapes = [tuple(leaf.shape) for leaf in pytree.tree_leaves(given) if isinstance(leaf, Tensor)]
    if type(error).__module__.startswith("torch._subclasses"):
        rule = "that line asks for the numbers in a tensor, and a model is traced by shapes alone"
        remedy = "rewrite it with tensor operations (torch.where)"
    else:
        rule = f"the model does not run on inputs of shape {', '.join(map(str, shapes))}"
        remedy = "give the shapes it takes, batch included, or example tensors of the right dtype"
    return CaptureError(
        f"trace: {type(model).__name__} stops at module {path!r} ({line}): {reason}; {rule}; "
        f"{remedy}."
    )
