# SPDX-License-Identifier: Apache-2.0
"""Where the results of a scan go."""

from convsmith.scanning.sinks.exports import export as export
from convsmith.scanning.sinks.reduction import reduced as reduced
from convsmith.scanning.sinks.store import Store as Store
from convsmith.scanning.sinks.store import Written as Written
