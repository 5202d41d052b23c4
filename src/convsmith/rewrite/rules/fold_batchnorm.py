# SPDX-License-Identifier: Apache-2.0
"""Fold a batch-norm into the convolution, transposed convolution or linear layer beside it.

At inference a batch-norm is y = s x + t per channel, with s = gamma / sqrt(var + eps) and t = beta
- s mean.

    behind a layer   s (W x + b) + t = (s W) x + (s b + t)      also behind a cut of its space
    before a layer   W (s x + t) + b = (W s) x + (W t + b)      where nothing pads: padding is 0,
    not t

Source: Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.1. Folded in float64, then rounded once.
"""

import torch
from torch import Tensor, nn
from torch.fx import Node

from convsmith.capture import Captured, arguments
from convsmith.rewrite.rule import Example, Rule, Site
from convsmith.rewrite.surgery import (
    CONVOLUTIONS,
    TRANSPOSED,
    pads,
    place,
    put,
    replace,
    sibling,
    sizes,
    stored,
)

aten = torch.ops.aten
_CUTS = {aten.slice.Tensor, aten.narrow.default}
_LAYERS = {**CONVOLUTIONS, **TRANSPOSED, aten.linear.default: 0}


def match(captured: Captured, node: Node) -> Site | str | None:
    """Find a batch-norm and the layer that can take it; say why when none can."""
    if node.target is not aten.batch_norm.default:
        return None
    named = arguments(node)
    if named["training"]:
        return "it uses the statistics of each batch, so it is not a fixed scale and shift"
    if stored(captured, named["running_mean"]) is None:
        return "it has no running statistics stored"
    behind = _behind(captured, node)
    if isinstance(behind, Site):
        return behind
    before = _before(captured, node)
    return before if isinstance(before, Site) else behind or before or _neighbour(node)


def apply(captured: Captured, site: Site) -> list[Node]:
    """Scale the layer's weight, shift its bias, and take the batch-norm out."""
    layer, norm = site.nodes
    named = arguments(layer)
    weight, bias = stored(captured, named["weight"]), stored(captured, named["bias"])
    assert weight is not None  # match saw it
    scale, shift = scale_and_shift(captured, norm)
    is_behind = layer not in norm.users
    fold = _fold_behind if is_behind else _fold_before
    new_weight, new_bias = fold(
        weight.detach().double(),
        bias.detach().double() if bias is not None else torch.zeros((), dtype=torch.float64),
        scale,
        shift,
        groups=named.get("groups", 1),
        is_transposed=layer.target in TRANSPOSED,
    )
    old = dict(named)
    for name, value in (("weight", new_weight), ("bias", new_bias)):
        tensor = value.to(weight.dtype).contiguous()
        key = sibling(old["weight"], name)
        named[name] = put(captured, key, tensor, at=layer, instead_of=old[name])
    layer.args, layer.kwargs = tuple(named.values()), {}
    if is_behind:
        replace(captured, norm, norm.all_input_nodes[0])
    else:
        norm.replace_all_uses_with(norm.all_input_nodes[0])
        captured.module.graph.erase_node(norm)
    return [layer]


def _behind(captured: Captured, norm: Node) -> Site | str | None:
    """Match layer -> batch-norm, or layer -> cuts along no channel -> batch-norm."""
    layer = norm.all_input_nodes[0]
    between = [layer]
    while _keeps_channels(layer):
        layer = layer.all_input_nodes[0]
        between.append(layer)
    if layer.target not in _LAYERS:
        return None
    if any(_readers(node) > 1 for node in between):
        return f"the output of {place(layer)} is used elsewhere too"
    return _foldable(captured, layer, norm, value=layer)


def _keeps_channels(node: Node) -> bool:
    """Tell whether a node cuts positions or images out, of every channel alike."""
    return node.target in _CUTS and arguments(node)["dim"] % len(sizes(node)) != 1


def _readers(node: Node) -> int:
    """Count the readers of a node's numbers; asking for its size is not reading."""
    return sum(user.target is not aten.sym_size.int for user in node.users)


def _before(captured: Captured, norm: Node) -> Site | str | None:
    """Match batch-norm -> layer."""
    layers = [user for user in norm.users if user.target in _LAYERS]
    if not layers:
        return None
    layer = layers[0]
    if len(norm.users) > 1:
        return "its output is used in several places"
    if arguments(layer)["input"] is not norm:
        return f"it makes the weight of {place(layer)}"
    if layer.target in TRANSPOSED:
        return (
            f"{place(layer)} behind it is transposed: a shift does not reach every output equally"
        )
    if layer.target in CONVOLUTIONS and pads(layer):
        return (
            f"{place(layer)} behind it pads with 0, where the batch-norm would have left its shift"
        )
    return _foldable(captured, layer, norm, value=norm)


def _foldable(captured: Captured, layer: Node, norm: Node, *, value: Node) -> Site | str:
    named = arguments(layer)
    weight = named["weight"]
    if stored(captured, weight) is None:
        return f"the weight of {place(layer)} is computed, not stored"
    if len(weight.users) > 1:
        return f"the weight of {place(layer)} is used more than once"
    if named["bias"] is not None and stored(captured, named["bias"]) is None:
        return f"the bias of {place(layer)} is computed, not stored"
    if len(sizes(value)) != _LAYERS[layer.target] + 2:
        return f"dimension 1 of {place(layer)} is not its channels"
    what = f"batch-norm {place(norm)} folded into {place(layer)}"
    return Site((layer, norm), (place(layer), place(norm)), what)


def _neighbour(norm: Node) -> str:
    around = [norm.all_input_nodes[0], *norm.users]
    return (
        f"no layer with a weight beside it (it stands between {' and '.join(map(place, around))})"
    )


def scale_and_shift(captured: Captured, norm: Node) -> tuple[Tensor, Tensor]:
    """s and t of a batch-norm with stored statistics, in float64."""
    named = arguments(norm)
    names = ("running_mean", "running_var", "weight", "bias")
    mean, var, gamma, beta = (stored(captured, named[name]) for name in names)
    assert mean is not None  # match saw them
    assert var is not None  # match saw them
    scale = 1 / torch.sqrt(var.detach().double() + named["eps"])
    if gamma is not None:
        scale = scale * gamma.detach().double()
    shift = -mean.detach().double() * scale
    return scale, shift if beta is None else shift + beta.detach().double()


def _fold_behind(
    weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor, *, groups: int, is_transposed: bool
) -> tuple[Tensor, Tensor]:
    new_bias = bias * scale + shift
    if not is_transposed:
        return weight * scale.view(-1, *[1] * (weight.dim() - 1)), new_bias
    # (I, O/g, k...): output channel o = group * (O/g) + j is column j of the rows of its group
    rows, columns = weight.shape[0] // groups, weight.shape[1]
    grouped = weight.view(groups, rows, columns, *weight.shape[2:])
    per_column = scale.view(groups, 1, columns, *[1] * (weight.dim() - 2))
    return (grouped * per_column).view_as(weight), new_bias


def _fold_before(
    weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor, *, groups: int, is_transposed: bool
) -> tuple[Tensor, Tensor]:
    # (O, I/g, k...): row o reads the input channels of its group
    outputs, inputs = weight.shape[:2]
    grouped = weight.view(groups, outputs // groups, inputs, -1)
    per_input = scale.view(groups, 1, inputs, 1)
    shifted = (grouped * shift.view(groups, 1, inputs, 1)).sum(dim=(2, 3)).view(outputs)
    return (grouped * per_input).view_as(weight), bias + shifted


def _example() -> tuple[nn.Module, Tensor]:
    norm = nn.BatchNorm2d(2, eps=1.0)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(torch.tensor([1.0, -2.0]))
    norm.running_var.fill_(3.0)  # var + eps is a power of 4: folding is exact in floating point
    convolution = nn.Conv2d(1, 2, 3, padding=1, bias=False)
    with torch.no_grad():
        convolution.weight.copy_(torch.arange(18.0).view(2, 1, 3, 3) - 9)
    return nn.Sequential(convolution, norm), torch.arange(32.0).view(2, 1, 4, 4)


RULE = Rule(
    name="fold_batchnorm",
    promise="A batch-norm beside a layer with weights becomes part of those weights.",
    match=match,
    apply=apply,
    example=Example(_example, before=["conv2d", "batch_norm"], after=["conv2d"]),
)
