# SPDX-License-Identifier: Apache-2.0
"""The operators that a saved network may call: each one named, never a namespace.

A saved graph is a list of names from a file. Were any `aten` operator allowed, a file could name
one that opens a path or reads memory out of bounds; a name that is not in this table is refused,
when saving and when loading.
"""

import operator
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

_ATEN_BY_PURPOSE = {
    "convolution": (
        "conv1d.default conv2d.default conv3d.default conv1d.padding conv2d.padding "
        "conv3d.padding convolution.default conv_transpose1d.default conv_transpose2d.input "
        "conv_transpose3d.input"
    ),
    "linear": (
        "linear.default bilinear.default matmul.default mm.default bmm.default addmm.default "
        "baddbmm.default einsum.default scaled_dot_product_attention.default "
        "embedding.default"
    ),
    "pooling": (
        "max_pool1d.default max_pool2d.default max_pool3d.default "
        "max_pool1d_with_indices.default max_pool2d_with_indices.default "
        "max_pool3d_with_indices.default avg_pool1d.default avg_pool2d.default "
        "avg_pool3d.default adaptive_avg_pool1d.default adaptive_avg_pool2d.default "
        "adaptive_avg_pool3d.default adaptive_max_pool1d.default adaptive_max_pool2d.default "
        "adaptive_max_pool3d.default max_unpool2d.default max_unpool3d.default"
    ),
    "normalisation": (
        "batch_norm.default instance_norm.default group_norm.default layer_norm.default "
        "rms_norm.default _weight_norm.default"
    ),
    "activation": (
        "relu.default relu6.default leaky_relu.default prelu.default rrelu.default "
        "elu.default selu.default celu.default gelu.default silu.default mish.default "
        "hardtanh.default hardswish.default hardsigmoid.default hardshrink.default "
        "softshrink.default threshold.default softplus.default sigmoid.default "
        "log_sigmoid.default tanh.default glu.default softmax.int log_softmax.int"
    ),
    "dropout": (
        "dropout.default feature_dropout.default alpha_dropout.default "
        "feature_alpha_dropout.default"
    ),
    "padding": (
        "pad.default constant_pad_nd.default reflection_pad1d.default "
        "reflection_pad2d.default reflection_pad3d.default replication_pad1d.default "
        "replication_pad2d.default replication_pad3d.default"
    ),
    "resizing": (
        "upsample_nearest1d.vec upsample_nearest2d.vec upsample_nearest3d.vec "
        "upsample_linear1d.vec upsample_bilinear2d.vec upsample_bicubic2d.vec "
        "upsample_trilinear3d.vec upsample_nearest1d.default upsample_nearest2d.default "
        "upsample_nearest3d.default upsample_linear1d.default upsample_bilinear2d.default "
        "upsample_bicubic2d.default upsample_trilinear3d.default "
        "_upsample_nearest_exact2d.vec _upsample_bilinear2d_aa.vec _upsample_bicubic2d_aa.vec"
    ),
    "sampling": "grid_sampler.default grid_sampler_2d.default affine_grid_generator.default",
    "patches": (
        "pixel_shuffle.default pixel_unshuffle.default channel_shuffle.default im2col.default "
        "col2im.default unfold.default"
    ),
    "views": (
        "mT.default "
        "view.default reshape.default flatten.using_ints unflatten.int squeeze.default "
        "squeeze.dim squeeze.dims unsqueeze.default permute.default transpose.int t.default "
        "movedim.int movedim.intlist swapaxes.default expand.default expand_as.default "
        "repeat.default repeat_interleave.self_int tile.default contiguous.default "
        "clone.default view_as.default reshape_as.default alias.default detach.default"
    ),
    "joining and indexing": (
        "cat.default concat.default stack.default chunk.default split.Tensor "
        "split_with_sizes.default split.sizes unbind.int tensor_split.sections slice.Tensor "
        "select.int narrow.default index.Tensor index_select.default gather.default "
        "index_put.default index_add.default scatter.src scatter.value scatter_add.default "
        "roll.default flip.default rot90.default tril.default triu.default "
        "slice_scatter.default select_scatter.default masked_fill.Scalar masked_fill.Tensor "
        "where.self where.ScalarSelf where.ScalarOther"
    ),
    "arithmetic": (
        "add.Tensor add.Scalar sub.Tensor sub.Scalar rsub.Tensor rsub.Scalar mul.Tensor "
        "mul.Scalar div.Tensor div.Scalar div.Tensor_mode floor_divide.default "
        "remainder.Scalar remainder.Tensor"
    ),
    "functions": (
        "pow.Tensor_Scalar pow.Tensor_Tensor pow.Scalar square.default sqrt.default "
        "rsqrt.default reciprocal.default neg.default abs.default sign.default exp.default "
        "expm1.default log.default log1p.default log2.default sin.default cos.default "
        "tan.default atan.default erf.default floor.default ceil.default round.default "
        "trunc.default"
    ),
    "limits": (
        "clamp.default clamp.Tensor clamp_min.default clamp_max.default clip.default "
        "maximum.default minimum.default lerp.Scalar lerp.Tensor addcmul.default "
        "addcdiv.default"
    ),
    "comparison": (
        "eq.Scalar eq.Tensor ne.Scalar ne.Tensor lt.Scalar lt.Tensor le.Scalar le.Tensor "
        "gt.Scalar gt.Tensor ge.Scalar ge.Tensor logical_and.default logical_or.default "
        "logical_not.default bitwise_and.Tensor bitwise_or.Tensor bitwise_not.default"
    ),
    "reduction": (
        "mean.default mean.dim sum.default sum.dim_IntList amax.default amin.default "
        "max.default max.dim min.default min.dim argmax.default argmin.default prod.default "
        "prod.dim_int var.correction var_mean.correction std.correction var.dim std.dim "
        "cumsum.default norm.ScalarOpt_dim linalg_vector_norm.default logsumexp.default "
        "topk.default sort.default cosine_similarity.default cdist.default"
    ),
    "conversion": "to.dtype to.device to.dtype_layout to.other type_as.default _to_copy.default",
    "creation": (
        "arange.default arange.start arange.start_step linspace.default zeros.default "
        "ones.default full.default zeros_like.default ones_like.default full_like.default "
        "new_zeros.default new_ones.default new_full.default scalar_tensor.default "
        "eye.default meshgrid.default meshgrid.indexing one_hot.default"
    ),
    "sizes": "sym_size.int sym_numel.default",
}

_ATEN = [f"aten.{name}" for group in _ATEN_BY_PURPOSE.values() for name in group.split()]

_PURPOSES = {
    name.split(".")[0]: purpose
    for purpose, group in _ATEN_BY_PURPOSE.items()
    for name in group.split()
}

# convsmith's own operators, registered by the room of convolutions.
_OWN = ("convsmith.convolutions.default", "convsmith.involution2d.default")

_PYTHON: dict[str, Callable[..., Any]] = {
    f"operator.{name}": getattr(operator, name)
    for name in ("getitem", "add", "sub", "mul", "floordiv", "mod", "neg", "truediv")
}
_PYTHON |= {
    "torch.sym_max": torch.sym_max,
    "torch.sym_min": torch.sym_min,
    "torch.sym_int": torch.sym_int,
    "torch.sym_float": torch.sym_float,
}

ALLOWED = frozenset({*_ATEN, *_OWN, *_PYTHON})


def name_of(target: Any) -> str:
    """The name under which an operator is saved ("aten.conv2d.default"), whether allowed or not."""
    for name, function in _PYTHON.items():
        if target is function:
            return name
    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', target)}"


def operator_of(name: str) -> Callable[..., Any] | None:
    """The allowed operator of this name; None if it is not in the table or this torch does not have
    it.
    """
    if name not in ALLOWED:
        return None
    if name in _PYTHON:
        return _PYTHON[name]
    if name in _OWN:
        import_module("convsmith.convs")
    namespace, packet, overload = name.split(".")
    return getattr(getattr(getattr(torch.ops, namespace), packet, None), overload, None)


def purpose_of(name: str) -> str | None:
    """What an operator is for, by its name in torch; None if it is not in the table.

    >>> purpose_of("avg_pool2d"), purpose_of("rsub"), purpose_of("lstm")
    ('pooling', 'arithmetic', None)
    """
    return _PURPOSES.get(name)


def argument_names(target: Any) -> tuple[tuple[str, bool, bool], ...]:
    """(name, is keyword-only, is required) of every argument; Python's operators name theirs a and
    b.
    """
    if isinstance(target, torch._ops.OpOverload):
        schema = target._schema.arguments
        return tuple((item.name, item.kwarg_only, not item.has_default_value()) for item in schema)
    count = 1 if target in (operator.neg, torch.sym_int, torch.sym_float) else 2
    return tuple((name, False, True) for name in ("a", "b")[:count])
