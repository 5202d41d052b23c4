# SPDX-License-Identifier: Apache-2.0
"""How each operator hands on what its inputs depend on; one table for each sort of operator."""

from convsmith.analysis.spreading.products import PRODUCTS
from convsmith.analysis.spreading.reductions import REDUCTIONS
from convsmith.analysis.spreading.step import Rule as Rule
from convsmith.analysis.spreading.step import Step as Step
from convsmith.analysis.spreading.views import VIEWS
from convsmith.analysis.spreading.windowing import WINDOWS

RULES: dict[str, Rule] = {**VIEWS, **WINDOWS, **REDUCTIONS, **PRODUCTS}

__all__ = ["RULES", "Rule", "Step"]
