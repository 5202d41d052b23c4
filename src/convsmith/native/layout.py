# SPDX-License-Identifier: Apache-2.0
"""The order in which a kernel's output lies in memory: that of torch's own convolutions."""

import torch

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
_INWARD_OUT = {4: (1, 3, 2, 0), 5: (1, 4, 3, 2, 0)}


def is_channels_last(t: torch.Tensor) -> bool:
    """Whether torch's convolutions take the order of strides for channels last.

    They ask for strides that grow from the channels over the last axis to the batch; where images
    of one pixel and one channel leave it open, the answer is no.

    >>> x = torch.ones(2, 3, 4, 5)
    >>> is_channels_last(x), is_channels_last(x.contiguous(memory_format=torch.channels_last))
    (False, True)
    """
    if t.ndim not in CHANNELS_LAST:
        return False
    sizes, steps = t.shape, t.stride()
    if 0 in sizes or steps[1] == 0:
        return False
    least = 0
    for axis in _INWARD_OUT[t.ndim]:
        if steps[axis] < least or (axis == 0 and least == steps[1]):
            return False
        least = steps[axis] * sizes[axis]
    return True
