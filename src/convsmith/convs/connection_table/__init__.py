# SPDX-License-Identifier: Apache-2.0
"""Convolution by a connection table: see README.md in this folder."""

from convsmith.convs.connection_table.connection_table import TableConv2d, table_conv2d
from convsmith.convs.connection_table.tables import full_table, lenet5_table, one_to_one_table

__all__ = ["TableConv2d", "full_table", "lenet5_table", "one_to_one_table", "table_conv2d"]
