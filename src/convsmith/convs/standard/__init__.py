# SPDX-License-Identifier: Apache-2.0
"""Standard convolution: see README.md in this folder."""

# Registers the kernels.
from convsmith.convs.standard import direct as _direct  # noqa: F401
from convsmith.convs.standard import winograd as _winograd  # noqa: F401
from convsmith.convs.standard.standard import Conv1d, Conv2d, Conv3d, conv1d, conv2d, conv3d

__all__ = ["Conv1d", "Conv2d", "Conv3d", "conv1d", "conv2d", "conv3d"]
