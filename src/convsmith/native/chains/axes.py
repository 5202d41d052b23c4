# SPDX-License-Identifier: Apache-2.0
"""Linear layers and one-axis convolutions as convolutions over images.

(N, C)     rows of a linear layer    = images (N, C, 1, 1);  its weight (O, I)     = (O, I, 1, 1)
(N, C, L)  signals                   = images (N, C, 1, L);  their weight (O, I, k) = (O, I, 1, k)
"""

from collections.abc import Sequence

from torch import Tensor


def image_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape with two spatial axes.

    >>> image_shape((3, 8)), image_shape((3, 8, 5)), image_shape((3, 8, 7, 5))
    ((3, 8, 1, 1), (3, 8, 1, 5), (3, 8, 7, 5))
    """
    outer, spatial = tuple(shape[:2]), tuple(shape[2:])
    return outer + (1,) * (2 - len(spatial)) + spatial


def as_images(t: Tensor) -> Tensor:
    """A view of the tensor with two spatial axes."""
    while t.dim() < 4:
        t = t.unsqueeze(2)
    return t


def with_axes(images: Tensor, number: int) -> Tensor:
    """The reverse: a view with so many axes, batch and channels included."""
    while images.dim() > number:
        images = images.squeeze(2)
    return images
