# SPDX-License-Identifier: Apache-2.0
"""How to read the nodes of a captured graph: operators, arguments by name, where they come from."""

import re
from pathlib import PurePath
from typing import Any

import torch
from torch import fx

from convsmith.errors import ArgumentError


def overload(node: fx.Node) -> torch._ops.OpOverload | None:
    """The torch operator that a node calls; None for inputs, tensors and Python's operators."""
    return node.target if isinstance(node.target, torch._ops.OpOverload) else None


def arguments(node: fx.Node) -> dict[str, Any]:
    """Every argument of an operator call by its schema's name, defaults filled in; never read
    `node.args` by index.

    >>> from convsmith.capture import capture
    >>> captured = capture(torch.nn.Conv2d(3, 8, 3), torch.zeros(2, 3, 8, 8))
    >>> conv = next(n for n in captured.graph.nodes if n.target is torch.ops.aten.conv2d.default)
    >>> {name: arguments(conv)[name] for name in ("stride", "padding", "dilation", "groups")}
    {'stride': [1, 1], 'padding': [0, 0], 'dilation': [1, 1], 'groups': 1}

    Raises:
        ArgumentError: if the node is not a call of a torch operator.
    """
    called = overload(node)
    if called is None:
        raise ArgumentError(
            f"arguments: {node.name} ({node.op} {node.target}) is not a call of a torch operator."
        )
    schema = called._schema.arguments
    positional = [argument for argument in schema if not argument.kwarg_only]
    given = {
        argument.name: value for argument, value in zip(positional, node.args, strict=False)
    } | node.kwargs
    return {argument.name: given.get(argument.name, argument.default_value) for argument in schema}


def module_path(node: fx.Node) -> str:
    """The path of the user's module that made this node ("layer2.0.conv1"); "" for the model itself
    or a new node.
    """
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack.values()), ("", None))[0]
    return path if not path.startswith("_empty_nn_module_stack") else ""


_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')


def source_line(node: fx.Node) -> str:
    """The line of the user's own code that made this node ("net.py:41"), or "an unknown line"."""
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [frame for frame in frames if "torch" not in PurePath(frame[0]).parts] or frames
    return f"{PurePath(own[-1][0]).name}:{own[-1][1]}" if own else "an unknown line"
