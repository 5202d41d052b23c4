# SPDX-License-Identifier: Apache-2.0
"""A batch-norm in front of [an activation and] a pointwise convolution becomes a depthwise one.

    W a(s x + t) + b        s x + t = a 1x1 depthwise convolution with weights s and bias t

An activation between them keeps the batch-norm out of W (DenseNet: Huang et al. 2017,
arXiv:1608.06993, section 3). As a depthwise convolution it is the first step of a separable block,
which a kernel computes in one pass: s x + t is never written to memory.
"""

import torch
from torch import Tensor, nn
from torch.fx import Node

from convsmith.capture import Captured, arguments, module_path
from convsmith.native.chains import OPERATORS
from convsmith.rewrite.rule import Example, Rule, Site
from convsmith.rewrite.rules import fold_batchnorm
from convsmith.rewrite.surgery import call, pads, place, put, replace, sizes, stored

aten = torch.ops.aten
_ACTIVATIONS = set(OPERATORS.values())


def match(captured: Captured, node: Node) -> Site | None:
    """Find a batch-norm over images that no layer can take, with a pointwise reader behind it."""
    if node.target is not aten.batch_norm.default or len(sizes(node)) != 4:
        return None
    named = arguments(node)
    if named["training"] or stored(captured, named["running_mean"]) is None:
        return None
    reader = _only_reader(node)
    if reader is not None and reader.target in _ACTIVATIONS:
        reader = _only_reader(reader)
    if reader is None or not _is_pointwise(reader):
        return None
    if isinstance(fold_batchnorm.match(captured, node), Site):
        return None
    what = f"batch-norm {place(node)} as a depthwise convolution in front of {place(reader)}"
    return Site((node,), (place(node),), what)


def apply(captured: Captured, site: Site) -> list[Node]:
    """Put a convolution in the batch-norm's place."""
    (norm,) = site.nodes
    named = arguments(norm)
    mean, gamma, beta = (named[name] for name in ("running_mean", "weight", "bias"))
    dtype = stored(captured, mean).dtype  # type: ignore[union-attr]  # match saw it
    scale, shift = fold_batchnorm.scale_and_shift(captured, norm)
    path = module_path(norm) or norm.name
    settings = {
        "input": named["input"],
        "weight": put(
            *(captured, f"{path}.weight", scale.to(dtype).view(-1, 1, 1, 1)),
            at=norm,
            instead_of=gamma,
        ),
        "bias": put(captured, f"{path}.bias", shift.to(dtype), at=norm, instead_of=beta),
        **{"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": len(scale)},
    }
    convolution = call(captured, aten.conv2d.default, settings, like=norm)
    replace(captured, norm, convolution)
    return [convolution]


def _only_reader(node: Node) -> Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def _is_pointwise(node: Node) -> bool:
    if node.target is not aten.conv2d.default:
        return False
    named = arguments(node)
    return (
        tuple(sizes(named["weight"])[2:]) == (1, 1)
        and named["groups"] == 1
        and set(named["stride"]) == {1}
        and not pads(node)
    )


def _example() -> tuple[nn.Module, Tensor]:
    norm = nn.BatchNorm2d(2, eps=1.0)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(torch.tensor([1.0, -2.0]))
    norm.running_var.fill_(3.0)  # var + eps is a power of 4: exact in floating point
    mixing = nn.Conv2d(2, 3, 1)
    with torch.no_grad():
        mixing.weight.copy_(torch.arange(6.0).view(3, 2, 1, 1) - 2)
        mixing.bias.fill_(1)  # type: ignore[union-attr]  # it has one
    return nn.Sequential(norm, nn.ReLU(), mixing), torch.arange(64.0).view(2, 2, 4, 4) - 30


RULE = Rule(
    name="batchnorm_as_depthwise",
    promise="A batch-norm that no layer can take becomes the first step of a separable block.",
    match=match,
    apply=apply,
    example=Example(
        _example, before=["batch_norm", "relu", "conv2d"], after=["conv2d", "relu", "conv2d"]
    ),
)
