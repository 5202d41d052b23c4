# SPDX-License-Identifier: Apache-2.0
"""The kernels that compute whole blocks, as a planner may choose them.

separable, separable_strassen    depthwise, pointwise
inverted_residual                pointwise, depthwise, pointwise
"""

from collections.abc import Sequence

from torch import Tensor

from convsmith.convs.depthwise.core import pack as pack_filters
from convsmith.geometry import Geometry
from convsmith.native.chains import Chain, ChainKernel, register_kernel
from convsmith.native.epilogue import activation_number
from convsmith.native.packed import pack_panels
from convsmith.native.strassen import strassen_may_pay

Ints = tuple[int, ...]


def _is_depthwise(geometry: Geometry) -> bool:
    """One filter for each channel."""
    return geometry.groups == geometry.in_channels == geometry.out_channels


def _is_pointwise(geometry: Geometry) -> bool:
    return (
        geometry.kernel_size == (1, 1)
        and geometry.groups == 1
        and geometry.stride == (1, 1)
        and geometry.padding == ((0, 0), (0, 0))
    )


def _is_separable(chain: Chain, shape: Ints) -> bool:
    g = chain.geometries
    return len(g) == 2 and _is_depthwise(g[0]) and _is_pointwise(g[1])


def _serves_strassen(chain: Chain, shape: Ints) -> bool:
    return _is_separable(chain, shape) and strassen_may_pay(
        chain.geometries[1], chain.output_shape(shape)
    )


def _is_inverted_residual(chain: Chain, shape: Ints) -> bool:
    g = chain.geometries
    return len(g) == 3 and _is_pointwise(g[0]) and _is_depthwise(g[1]) and _is_pointwise(g[2])


def _pack(chain: Chain, weights: Sequence[Tensor]) -> list[Tensor]:
    *expanding, filters, mixing = weights
    return [*map(pack_panels, expanding), pack_filters(filters), pack_panels(mixing)]


def _last_two_stages(chain: Chain, shape: Ints) -> Ints:
    """The order of SeparableStages in separable.kernel.h, from `n` on.

    Args:
        shape: Of what the depthwise convolution reads; as pointwise convolutions of stride 1 keep
            the image, only its channels differ from those of x.
    """
    depthwise, pointwise = chain.stages[-2:]
    geometry = depthwise.geometry
    top, left = (axis.before for axis in geometry.axes(shape[2:]))
    outputs = geometry.output_shape(shape)
    return (
        *(*shape, *geometry.kernel_size, *outputs[2:], *geometry.stride, top, left),
        *(*geometry.dilation, activation_number(depthwise.activation)),
        *(pointwise.geometry.out_channels, activation_number(pointwise.activation)),
    )


def _separable_integers(chain: Chain, shape: Ints, strides: Ints) -> Ints:
    return (*_last_two_stages(chain, shape), strides[0], *strides[2:])


def _inverted_residual_integers(chain: Chain, shape: Ints, strides: Ints) -> Ints:
    expand = chain.stages[0]
    return (
        *_last_two_stages(chain, expand.geometry.output_shape(shape)),
        *(shape[1], strides[0], *strides[2:], activation_number(expand.activation)),
    )


register_kernel(
    ChainKernel(
        name="separable",
        function="separable",
        serves=_is_separable,
        pack=_pack,
        integers=_separable_integers,
        takes_any_strides=False,
        preference=lambda chain, shape: 2,
    )
)
register_kernel(
    ChainKernel(
        name="separable_strassen",
        function="separable_strassen",
        serves=_serves_strassen,
        pack=_pack,
        integers=_separable_integers,
        takes_any_strides=False,
        is_direct=False,
    )
)
register_kernel(
    ChainKernel(
        name="inverted_residual",
        function="inverted_residual",
        serves=_is_inverted_residual,
        pack=_pack,
        integers=_inverted_residual_integers,
        takes_any_strides=False,
        preference=lambda chain, shape: 3,
    )
)
