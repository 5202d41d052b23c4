# SPDX-License-Identifier: Apache-2.0
"""How a network slides over an image, from its operators, and what keeps one from sliding."""

from convsmith.scanning.sliding.network import Sliding as Sliding
from convsmith.scanning.sliding.network import sliding as sliding
from convsmith.scanning.sliding.result import AxisSliding as AxisSliding

__all__ = ["AxisSliding", "Sliding", "sliding"]
