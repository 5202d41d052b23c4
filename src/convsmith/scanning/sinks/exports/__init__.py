# SPDX-License-Identifier: Apache-2.0
"""A finished result in other formats, in one pass and bounded memory."""

from convsmith.scanning.sinks.exports.exporting import export as export
from convsmith.scanning.sinks.exports.exporting import format_of as format_of
