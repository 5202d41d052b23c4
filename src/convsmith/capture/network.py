# SPDX-License-Identifier: Apache-2.0
"""The runnable form of a captured model: an fx.GraphModule that checks its contract before it
runs.
"""

import inspect
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any
from weakref import ref

import torch
from torch import fx
from torch.fx.graph import PythonCode, _PyTreeCodeGen, _PyTreeInfo
from torch.utils import _pytree as pytree

from convsmith.capture.short_way import short_way
from convsmith.capture.sizes import Contract
from convsmith.errors import ArgumentError, ShapeError
from convsmith.native import is_unwatched
from convsmith.native.chains import has_chains
from convsmith.native.core import layouts

# Names of modules and tensors at the top of a model that would hide the network's own attributes.
RESERVED = frozenset(dir(fx.GraphModule)) | frozenset(
    ("contract", "about", "class_name", "pytree_info", "meta", "training")
)


class Network(fx.GraphModule):
    """A captured network: called like the model it came from, it returns the same structure.

    Parameters keep the model's names; `.to()`, hooks, `deepcopy` work as on any module. `.train()`
    and `.eval()` change nothing but the flag: the graph is the inference path. Inputs that the
    graph was not captured for are refused.
    """

    @property
    def class_name(self) -> str:
        """The class of the model that was captured."""
        return self.meta.get("class_name", "Network")

    @property
    def contract(self) -> Contract:
        """What the network demands of its inputs."""
        return self.meta["contract"]

    @property
    def about(self) -> dict[str, Any]:
        """JSON-like facts that travel with the network: preprocessing, labels, its source."""
        return self.meta.setdefault("about", {})

    @property
    def pytree_info(self) -> _PyTreeInfo:
        """The names of the inputs and the nesting of inputs and results."""
        codegen = self.graph._codegen
        assert isinstance(
            codegen, _PyTreeCodeGen
        )  # every graph comes from torch.export or a record
        return codegen.pytree_info

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            # The compiler guards the sizes itself, and cannot read the contract's.
            return super().__call__(*args, **kwargs)
        way = _way_of(self)
        sizes = b"" if kwargs or way.short is None else layouts(args)
        leaves: Sequence[Any] = args
        if sizes in way.let_in:
            short_way = way.short if self._is_unwatched(args, True) else None
        else:
            leaves = self._leaves(args, kwargs)
            self.contract.check(leaves)
            short_way = self._short_way(leaves)
            if short_way is not None and sizes and _are_tensors(args):
                way.remember(sizes)
        try:
            if short_way is not None:
                return short_way(self, *leaves)
            return super().__call__(*args, **kwargs)
        except ShapeError:
            raise
        except RuntimeError as error:
            got = [tuple(leaf.shape) for leaf in leaves if isinstance(leaf, torch.Tensor)]
            if got == [item.sizes for item in self.contract.inputs if item.is_tensor]:
                raise
            raise ShapeError(
                f"captured network: it fails on inputs of shape {', '.join(map(str, got))}: "
                f"{error}. It was {self.contract.describe()}; use sizes the network can take, or "
                "capture it at these."
            ) from error

    def recompile(self) -> PythonCode:
        _ways.pop(id(self), None)
        code = super().recompile()
        # fx wraps the call of its classes, one for each network, to print their code when it fails.
        # Two functions more in front of every call cost as much as what is done in this one.
        if "__call__" in vars(type(self)):
            del type(self).__call__
        return code

    def _short_way(self, leaves: Sequence[Any]) -> Callable[..., Any] | None:
        """The code without torch's dispatcher, where nothing but the network would notice."""
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        found = _way_of(self).short
        return found if found is not None and self._is_unwatched(tensors, False) else None

    def _is_unwatched(self, tensors: Sequence[torch.Tensor], have_known_layouts: bool) -> bool:
        if torch.is_grad_enabled() or _is_hooked(self):
            return False
        return is_unwatched(*tensors, have_known_layouts=have_known_layouts)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Network":
        with warnings.catch_warnings():
            # torch warns about its own tree specifications when it copies them.
            warnings.filterwarnings("ignore", category=FutureWarning)
            twin: Any = super().__deepcopy__(memo)
        return twin.train(self.training)

    def __reduce__(self) -> tuple[Any, ...]:
        # Saving builds on this module, so it is imported when needed.
        from convsmith.capture.saving import taken_apart

        return taken_apart(self)

    def _leaves(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """The inputs as a flat list, in the order of the placeholders."""
        info = self.pytree_info
        if not kwargs and _fills_each_place(args, info):
            return list(args)  # the usual call, spared the general way's tenth of a millisecond
        try:
            bound = _signature(tuple(info.orig_args)).bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(
                f"captured network: {error}; its inputs are {', '.join(info.orig_args)}."
            ) from None
        positional, named = info.in_spec.children()
        values = list(bound.arguments.values())
        count = positional.num_children
        given = (tuple(values[:count]), dict(zip(named.context, values[count:], strict=True)))
        leaves, spec = pytree.tree_flatten(given)
        if spec != info.in_spec:
            raise ArgumentError(
                f"captured network: the inputs are nested as {pytree.treespec_pprint(spec)}, "
                f"expected {pytree.treespec_pprint(info.in_spec)}, as at capture."
            )
        return leaves


class _Way:
    """A network's short way, or None, and the layouts of tensors that it has let in before."""

    def __init__(self, network: Network) -> None:
        self.short = short_way(network) if has_chains(network.graph) else None
        self.let_in: set[bytes] = set()
        place = id(network)
        self.alive = ref(network, lambda _: _ways.pop(place, None))

    def remember(self, sizes: bytes) -> None:
        """Let these in from now on without asking the contract."""
        if len(self.let_in) >= _MOST_SIZES:
            self.let_in.clear()
        self.let_in.add(sizes)


_MOST_SIZES = 64

# By the id of the network, since a look into a dictionary of weak references costs as much as a
# small layer; outside of the network, which may be copied and pickled.
_ways: dict[int, _Way] = {}


def _way_of(network: Network) -> _Way:
    found = _ways.get(id(network))
    if found is None:
        found = _ways[id(network)] = _Way(network)
    return found


def _are_tensors(values: Sequence[Any]) -> bool:
    return all(isinstance(value, torch.Tensor) for value in values)


def _is_hooked(module: torch.nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or torch.nn.modules.module._has_any_global_hook()
    )


@lru_cache(maxsize=256)
def _signature(names: tuple[str, ...]) -> inspect.Signature:
    """Making one takes longer than a small network."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(name, kind) for name in names])


def _fills_each_place(args: tuple[Any, ...], info: _PyTreeInfo) -> bool:
    """Whether these are all of the inputs, by position, and tensors that stand for themselves."""
    places = info.in_spec.child(0).children()
    return len(args) == len(places) == len(info.orig_args) and all(
        isinstance(arg, torch.Tensor) and place.is_leaf()
        for arg, place in zip(args, places, strict=True)
    )
