# SPDX-License-Identifier: Apache-2.0
"""A captured model: its graph, shapes and parameters in one canonical form, saved without pickle.

model --capture--> Captured (graph, sizes that may vary) --save--> folder --load--> Network
"""

from convsmith.capture.chains import spell_out as spell_out
from convsmith.capture.chains import spelt_out as spelt_out
from convsmith.capture.exporting import capture as capture
from convsmith.capture.graph import Captured as Captured
from convsmith.capture.graph import weight_of as weight_of
from convsmith.capture.loading import load as load
from convsmith.capture.network import Network as Network
from convsmith.capture.nodes import arguments as arguments
from convsmith.capture.nodes import module_path as module_path
from convsmith.capture.nodes import source_line as source_line
from convsmith.capture.operators import purpose_of as purpose_of
from convsmith.capture.saving import save as save
from convsmith.capture.sizes import Contract as Contract
from convsmith.capture.sizes import Input as Input
from convsmith.capture.sizes import Tier as Tier
from convsmith.capture.timing import operator_times as operator_times
from convsmith.capture.tracing import Traced as Traced
from convsmith.capture.tracing import trace as trace
from convsmith.capture.tracing import written as written
from convsmith.capture.watching import run_watched as run_watched

__all__ = [
    "Captured",
    "Contract",
    "Input",
    "Network",
    "Tier",
    "Traced",
    "arguments",
    "capture",
    "load",
    "module_path",
    "operator_times",
    "purpose_of",
    "run_watched",
    "save",
    "source_line",
    "spell_out",
    "spelt_out",
    "trace",
    "weight_of",
    "written",
]
