# SPDX-License-Identifier: Apache-2.0
"""How each convolution of a network is computed: measured, chosen, written into the graph."""

from convsmith.rewrite.planning.plan import Choice as Choice
from convsmith.rewrite.planning.plan import Plan as Plan
