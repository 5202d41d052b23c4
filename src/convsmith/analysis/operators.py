# SPDX-License-Identifier: Apache-2.0
"""Which operator does what: the tables that counting, cones and rewrites share."""

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from convsmith.capture import arguments, purpose_of

aten = torch.ops.aten

# Operators and their number of spatial axes.
CONVOLUTIONS: dict[Any, int] = {
    aten.conv1d.default: 1,
    aten.conv2d.default: 2,
    aten.conv3d.default: 3,
    aten.conv1d.padding: 1,
    aten.conv2d.padding: 2,
    aten.conv3d.padding: 3,
}
TRANSPOSED: dict[Any, int] = {
    aten.conv_transpose1d.default: 1,
    aten.conv_transpose2d.input: 2,
    aten.conv_transpose3d.input: 3,
}
GENERAL = {aten.convolution.default, aten._convolution.default}

_KINDS = {
    "pooling": "pooling",
    "normalisation": "norm",
    "activation": "elementwise",
    "dropout": "layout",  # at inference it hands its input on
    "padding": "layout",
    "resizing": "resize",
    "sampling": "resize",
    "patches": "layout",
    "views": "layout",
    "joining and indexing": "layout",
    "arithmetic": "elementwise",
    "functions": "elementwise",
    "limits": "elementwise",
    "comparison": "elementwise",
    "reduction": "reduction",
    "conversion": "layout",
    "creation": "layout",
    "sizes": "layout",
}
_REDUCING_ACTIVATIONS = {"softmax", "log_softmax", "_softmax", "_log_softmax"}
# What stands in no table of saved networks, and bears no tag that says what it is.
_LAYOUT = {
    *("copy", "fill", "zero", "lift_fresh", "detach", "item", "empty", "empty_like", "new_empty"),
    *("empty_permuted", "empty_strided", "rand", "randn", "rand_like", "randn_like", "bernoulli"),
    *("uniform", "normal", "randint", "randperm", "multinomial", "exponential", "unsafe_chunk"),
    *("unsafe_split", "embedding", "broadcast_tensors", "hstack", "vstack", "dstack", "row_stack"),
    *("column_stack", "block_diag", "concatenate", "atleast_1d", "atleast_2d", "atleast_3d"),
    *("take", "take_along_dim", "native_channel_shuffle", "nonzero", "masked_select", "scatter"),
    *("as_strided", "argsort", "fliplr", "flipud", "to", "_local_scalar_dense"),
    *("_shape_as_tensor", "set_data", "cpu", "cuda", "diag", "diag_embed", "diagflat"),
    *("fill_diagonal", "index_copy", "index_fill", "index_reduce", "masked_scatter", "put"),
    *("scatter_reduce", "select_scatter", "diagonal_scatter", "searchsorted", "bucketize"),
    *("triu_indices", "tril_indices", "cartesian_prod", "combinations", "histc", "bincount"),
    *("hann_window", "hamming_window", "blackman_window", "kaiser_window", "bartlett_window"),
    *("_pad_circular", "_pad_enum", "complex", "polar", "msort", "unique_consecutive"),
    *("_unique2", "unique_dim", "_pack_padded_sequence", "_pad_packed_sequence", "pad_sequence"),
    *("swapdims", "is_nonzero", "_assert_async", "narrow_copy", "view_copy", "_unsafe_view"),
}
_ELEMENTWISE = {
    *("__and__", "__or__", "__xor__", "__lshift__", "__rshift__", "absolute", "arccos"),
    *("arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "divide", "true_divide"),
    *("multiply", "subtract", "negative", "fix", "greater", "greater_equal", "less", "less_equal"),
    *("not_equal", "isclose", "isin", "cumprod", "cummax", "cummin", "logcumsumexp", "diff"),
    *("xlogy", "gcd", "lcm", "copysign", "heaviside", "cross", "rrelu_with_noise", "renorm"),
    *("binary_cross_entropy_with_logits", "_prelu_kernel", "_masked_softmax", "_safe_softmax"),
}
_REDUCTIONS = {
    *("linalg_vector_norm", "median", "nanmedian", "mode", "kthvalue", "quantile", "nanquantile"),
    *("nanmean", "dist", "trace", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"),
    *("nll_loss", "nll_loss_nd", "cross_entropy_loss", "embedding_bag", "segment_reduce"),
    *("pairwise_distance", "allclose", "equal", "_is_all_true", "_is_any_true"),
}


def size_hint(size: int | torch.SymInt) -> int:
    """Return a size as it was in the example, though the graph may leave it free."""
    return int(size) if isinstance(size, int) else int(size.node.hint)


def sizes(node: Node) -> tuple[int, ...]:
    """Return the shape of a node's value in the example; empty if it is no tensor."""
    value = node.meta.get("val")
    return tuple(size_hint(s) for s in value.shape) if isinstance(value, Tensor) else ()


def plain_name(node: Node) -> str:
    """Return an operator's own name, without namespace, overload and the mark of writing in place.

    "aten.add_.Tensor" -> "add"
    """
    if not isinstance(node.target, torch._ops.OpOverload):
        return getattr(node.target, "__name__", str(node.target)).strip("_")
    name = node.target._schema.name.split("::")[1]
    is_inside = node.target._schema.is_mutable and name.endswith("_")
    return name.removesuffix("_") if is_inside else name


def kind_of(node: Node) -> str:
    """Return what sort of work a node does that is no multiply-accumulate; "unknown" if so."""
    target, name = node.target, plain_name(node)
    if not isinstance(target, torch._ops.OpOverload):
        return "layout"
    if name in _REDUCING_ACTIVATIONS:
        return "reduction"
    if name.endswith("_norm") and target.namespace == "aten" and "linalg" not in name:
        return "norm"
    purpose = purpose_of(name)
    if purpose in _KINDS:
        return _KINDS[purpose]
    if name in _ELEMENTWISE:
        return "elementwise"
    if name in _REDUCTIONS:
        return "reduction"
    if name.startswith(("grid_sampler", "_upsample", "upsample")):
        return "resize"
    if name.startswith("fractional_max_pool"):
        return "pooling"
    if torch.Tag.pointwise in target.tags:
        return "elementwise"
    if torch.Tag.reduction in target.tags:
        return "reduction"
    aliases = [r.alias_info for r in target._schema.returns]
    if name in _LAYOUT or (aliases and all(a is not None and not a.is_write for a in aliases)):
        return "layout"
    return "unknown"


def is_view(node: Node) -> bool:
    """Whether a node's value lies in the memory of what it reads."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return True
    sources = [n.meta.get("val") for n in node.all_input_nodes]
    return any(isinstance(s, Tensor) and _storage(s) == _storage(value) for s in sources)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def named(node: Node) -> dict[str, Any]:
    """Return a node's arguments by name; none for what is no torch operator."""
    return arguments(node) if isinstance(node.target, torch._ops.OpOverload) else {}
