# SPDX-License-Identifier: Apache-2.0
"""Networks in which a layer looks at the whole map: its statistics first, then the tiles.

moments   what the positions of a map amount to, tile by tile, in float64
layers    the layers that need no more of the whole map than that
stages    a network cut before each of them, and the same network on given statistics
passing   the moments of one map of an image, read tile by tile
"""

from convsmith.scanning.statistics.moments import Moments as Moments
from convsmith.scanning.statistics.moments import combined as combined
from convsmith.scanning.statistics.passing import moments_of_image as moments_of_image
from convsmith.scanning.statistics.stages import Stage as Stage
from convsmith.scanning.statistics.stages import measured as measured
from convsmith.scanning.statistics.stages import settled as settled
from convsmith.scanning.statistics.stages import stages as stages

__all__ = ["Moments", "Stage", "combined", "measured", "moments_of_image", "settled", "stages"]
