# SPDX-License-Identifier: Apache-2.0
"""Images of any size, read window by window."""

from convsmith.scanning.sources.arrays import ArraySource as ArraySource
from convsmith.scanning.sources.opening import open_source as open_source
from convsmith.scanning.sources.protocol import Place as Place
from convsmith.scanning.sources.protocol import Source as Source
from convsmith.scanning.sources.reading import check_channels as check_channels
from convsmith.scanning.sources.reading import read_window as read_window
from convsmith.scanning.sources.synthetic import SyntheticSource as SyntheticSource
from convsmith.scanning.sources.views import slices as slices
