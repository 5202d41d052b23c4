# SPDX-License-Identifier: Apache-2.0
"""Networks that give back an image."""

from convsmith.models.restoration.fsrcnn import FSRCNN_SUBPIXEL, FSRCNN_TRANSPOSED

RESTORATION_NETWORKS = (FSRCNN_TRANSPOSED, FSRCNN_SUBPIXEL)
