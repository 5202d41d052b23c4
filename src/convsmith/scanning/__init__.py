# SPDX-License-Identifier: Apache-2.0
"""A network on images of any size: tile by tile, equal to the whole."""
