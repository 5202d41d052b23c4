# SPDX-License-Identifier: Apache-2.0
"""Images of any size, read window by window."""

from convsmith.scanning.sources.protocol import Place as Place
from convsmith.scanning.sources.protocol import Source as Source
from convsmith.scanning.sources.reading import read_window as read_window
from convsmith.scanning.sources.synthetic import SyntheticSource as SyntheticSource
