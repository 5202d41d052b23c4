# SPDX-License-Identifier: Apache-2.0
"""Plain data in, text out: no computing here."""

from convsmith.report.optimization import optimization as optimization
from convsmith.report.tables import table as table
