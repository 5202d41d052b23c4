# SPDX-License-Identifier: Apache-2.0
"""Rewriting a captured network: rules find and change, the engine proves and rolls back.

Captured --engine, rules/--> Captured' + certificates --optimizing--> Optimized (model, report)
         |--fully_convolutional--> a network that slides over larger images
         '--densifying--> the same network on a finer grid of answers
"""

from convsmith.rewrite.certificate import Certificate as Certificate
from convsmith.rewrite.certificate import Cost as Cost
from convsmith.rewrite.certificate import Refusal as Refusal
from convsmith.rewrite.densifying import densify as densify
from convsmith.rewrite.fully_convolutional import to_fully_convolutional as to_fully_convolutional
from convsmith.rewrite.optimized import Measured as Measured
from convsmith.rewrite.optimized import Optimized as Optimized
from convsmith.rewrite.optimized import Report as Report
from convsmith.rewrite.optimizing import optimize as optimize
from convsmith.rewrite.planning import Choice as Choice
from convsmith.rewrite.planning import Plan as Plan
from convsmith.rewrite.planning.loading import load as load

__all__ = [
    "Certificate",
    "Choice",
    "Cost",
    "Measured",
    "Optimized",
    "Plan",
    "Refusal",
    "Report",
    "densify",
    "load",
    "optimize",
    "to_fully_convolutional",
]
