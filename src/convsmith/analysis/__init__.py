# SPDX-License-Identifier: Apache-2.0
"""Knowing a network: what each layer is, costs and sees.

model --trace--> Traced --counting, windows, cones--> Analysis --report--> table, JSON, HTML
"""

from convsmith.analysis.analyzing import analyze as analyze
from convsmith.analysis.counting import node_macs as node_macs
from convsmith.analysis.operators import CONVOLUTIONS as CONVOLUTIONS
from convsmith.analysis.operators import TRANSPOSED as TRANSPOSED
from convsmith.analysis.operators import size_hint as size_hint
from convsmith.analysis.operators import sizes as sizes
from convsmith.analysis.result import Analysis as Analysis
from convsmith.analysis.result import AxisCone as AxisCone
from convsmith.analysis.result import Effective as Effective
from convsmith.analysis.result import Finding as Finding
from convsmith.analysis.result import Gridding as Gridding
from convsmith.analysis.result import Input as Input
from convsmith.analysis.result import Layer as Layer
from convsmith.analysis.result import LayerCone as LayerCone
from convsmith.analysis.result import Total as Total
from convsmith.analysis.result import WholeMap as WholeMap

__all__ = [
    "CONVOLUTIONS",
    "TRANSPOSED",
    "Analysis",
    "AxisCone",
    "Effective",
    "Finding",
    "Gridding",
    "Input",
    "Layer",
    "LayerCone",
    "Total",
    "WholeMap",
    "analyze",
    "node_macs",
    "size_hint",
    "sizes",
]
