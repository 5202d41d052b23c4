# SPDX-License-Identifier: Apache-2.0
"""A network on images of any size: tile by tile, equal to the whole."""

from convsmith.scanning.prospect import Prospect as Prospect
from convsmith.scanning.running.progress import Progress as Progress
from convsmith.scanning.scan import ScanResult as ScanResult
from convsmith.scanning.scan import scan as scan
from convsmith.scanning.sinks import export as export
from convsmith.scanning.sources import Source as Source
from convsmith.scanning.sources import SyntheticSource as SyntheticSource
from convsmith.scanning.sources import open_source as open_source
