# SPDX-License-Identifier: Apache-2.0
"""Dilated convolution: see README.md in this folder. Its layers and functions are standard's."""

from convsmith.convs.dilated import dilated as dilated

__all__: list[str] = []
