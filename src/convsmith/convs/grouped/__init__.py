# SPDX-License-Identifier: Apache-2.0
"""Grouped convolution: see README.md in this folder. Its layers and functions are standard's."""

from convsmith.convs.grouped import grouped as grouped

# Registers the kernel.
from convsmith.convs.grouped import planned as _planned  # noqa: F401

__all__: list[str] = []
