# SPDX-License-Identifier: Apache-2.0
"""Measured comparisons: convsmith and its peers on the same work, turn by turn, in one run.

cases --measuring (peers.py, workers.py, turns.py)--> rows --results--> JSON
                                                                '--report--> table, chart
"""

from convsmith.bench.case import Case as Case
from convsmith.bench.cases import select as select
from convsmith.bench.machine import describe as describe
from convsmith.bench.measuring import measure as measure
from convsmith.bench.peers import present as present
from convsmith.bench.results import Machine as Machine
from convsmith.bench.results import Results as Results
from convsmith.bench.results import Row as Row
from convsmith.bench.results import Time as Time
from convsmith.bench.results import load as load
