# SPDX-License-Identifier: Apache-2.0
"""A captured model.

The graph is in one canonical form on which every rule is written: torch.export's own operators
(`aten.conv2d.default`, `aten.batch_norm.default`, `aten.linear.default`, ...; nothing is
decomposed), without in-place operators, without guards, every argument present. `arguments(node)`
(nodes.py) reads them by name.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from convsmith.capture.network import Network
from convsmith.capture.shapes import fix_sizes, refreshed, widened_from
from convsmith.capture.sizes import Contract, Tier


@dataclass
class Captured:
    """A model's inference graph, runnable, with the example it was captured on.

    Attributes:
        module: The graph with its parameters; call it as the model was called.
        example: The positional inputs used for capture: contiguous, batch at least 2 where the
            batch may vary.
        kwargs: The keyword inputs used for capture.
        was_training: Whether the model given was in training mode (the graph is the inference path
            in any case).
    """

    module: Network
    example: tuple[Any, ...]
    kwargs: dict[str, Any]
    was_training: bool

    @property
    def contract(self) -> Contract:
        """Which sizes may vary, which are baked in, and the relations that must hold."""
        return self.module.contract

    @property
    def dynamic(self) -> Tier:
        """How much of the inputs' sizes may vary."""
        return self.contract.tier

    @property
    def graph(self) -> fx.Graph:
        return self.module.graph

    def copy(self, held: Callable[[torch.Tensor], torch.Tensor] | None = None) -> "Captured":
        """An independent copy: own graph and own parameters; the example is shared.

        With `held`, a parameter or buffer of the copy is what `held` makes of the original's: a
        large network is not held twice only to be converted, or where nothing writes into it.
        """
        memo: dict[int, Any] = {}
        if held is not None:
            own = [*self.module.parameters(), *self.module.buffers()]
            memo = {id(tensor): _as_held(tensor, held(tensor)) for tensor in own}
        module = copy.deepcopy(self.module, memo)
        return Captured(module, self.example, dict(self.kwargs), self.was_training)

    def fix_sizes(self) -> None:
        """Take every size for the example's, until `refresh(widen=True)`.

        Shapes are plain numbers then: a refresh takes milliseconds, where symbols take seconds.
        """
        self.module.meta["contract"] = fix_sizes(self.module, self.contract)

    def refresh(self, *, widen: bool = False, twin_of: "Captured | None" = None) -> None:
        """After a change of the graph: drop dead code, recompile and recompute every node's shape
        in `meta["val"]`.

        The contract stays, unless shapes can no longer be computed for all of its free sizes: then
        fewer stay free. With `widen`, the contract is derived anew from the graph as it now is,
        trying the most dynamic sizes first: for rules that remove what fixed a size (a linear layer
        turned into a convolution).

        With `twin_of`, a network with the same graph whose shapes are known, they are taken from
        there, floating dtypes as float64, and nothing is computed.
        """
        self.module.graph.eliminate_dead_code()
        self.module.graph.lint()
        _drop_unused_tensors(self.module)
        self.module.recompile()
        if twin_of is not None and widened_from(self.graph, twin_of.graph):
            self.module.meta["contract"] = twin_of.contract
            return
        leaves = pytree.tree_leaves((self.example, self.kwargs))
        self.module.meta["contract"] = refreshed(self.module, leaves, self.contract, widen=widen)


def _as_held(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """What stands for a tensor of a network: a parameter for a parameter."""
    if other is tensor or not isinstance(tensor, torch.nn.Parameter):
        return other
    return torch.nn.Parameter(other.detach(), requires_grad=tensor.requires_grad)


def _drop_unused_tensors(module: fx.GraphModule) -> None:
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    names = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    names += [name for name, _ in module.named_buffers(remove_duplicate=False)]
    for name in names:
        if name not in read:
            path, _, leaf = name.rpartition(".")
            delattr(module.get_submodule(path), leaf)
    module.delete_all_unused_submodules()


def weight_of(captured: "Captured | fx.GraphModule", node: object) -> torch.Tensor | None:
    """The parameter or buffer that a `get_attr` node reads; None for any other node or None (a
    missing bias).
    """
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    module: Any = captured.module if isinstance(captured, Captured) else captured
    for part in str(node.target).split("."):
        module = getattr(module, part)
    return module if isinstance(module, torch.Tensor) else None
