# SPDX-License-Identifier: Apache-2.0
"""The pointwise kernels as a planner may choose them."""

from collections.abc import Sequence

from torch import Tensor

from convsmith.native.chains import Chain, ChainKernel, register_kernel
from convsmith.native.epilogue import activation_number
from convsmith.native.packed import pack_panels
from convsmith.native.strassen import strassen_may_pay


def _serves(chain: Chain, shape: tuple[int, ...]) -> bool:
    if len(chain.stages) != 1:
        return False
    geometry = chain.stages[0].geometry
    return (
        geometry.kernel_size == (1, 1)
        and geometry.groups == 1
        and geometry.padding == ((0, 0), (0, 0))
    )


def _pack(chain: Chain, weights: Sequence[Tensor]) -> list[Tensor]:
    return [pack_panels(weights[0])]


def _integers(chain: Chain, shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """The order of PointwiseArgs in pointwise.kernel.h, from `n` on."""
    stage = chain.stages[0]
    n, channels = shape[:2]
    row_stride, column_stride = stage.geometry.stride
    outputs = chain.output_shape(shape)
    return (
        *(n, channels, outputs[1], 1, *outputs[2:]),
        *(strides[0], 1, 0, strides[2] * row_stride, strides[3] * column_stride),
        activation_number(stage.activation),
    )


def _serves_strassen(chain: Chain, shape: tuple[int, ...]) -> bool:
    return _serves(chain, shape) and strassen_may_pay(
        chain.stages[0].geometry, chain.output_shape(shape)
    )


register_kernel(
    ChainKernel(
        name="pointwise_strassen",
        function="pointwise_strassen",
        serves=_serves_strassen,
        pack=_pack,
        integers=_integers,
        takes_any_strides=False,
        is_direct=False,
    )
)
register_kernel(
    ChainKernel(
        name="pointwise",
        function="pointwise_channels_last",
        serves=_serves,
        pack=_pack,
        integers=_integers,
        takes_any_strides=False,
        # One pixel is bound by the reading of its weights, whoever reads them.
        preference=lambda chain, shape: int(shape[0] * shape[2] * shape[3] > 1),
    )
)
