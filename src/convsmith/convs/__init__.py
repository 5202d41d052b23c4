# SPDX-License-Identifier: Apache-2.0
"""The one list of families, general ones first: where several claim a geometry, the last one wins.

Each family's folder exports its layers and functions; all of them together are this module's names.
"""

# ruff: noqa: F403, I001 (each folder has its own __all__; the order is the rule, not the alphabet)

from types import ModuleType as _ModuleType

from convsmith.convs.standard import *
from convsmith.convs.dilated import *
from convsmith.convs.grouped import *
from convsmith.convs.pointwise import *
from convsmith.convs.depthwise import *
from convsmith.convs.depthwise_separable import *
from convsmith.convs.spatially_separable import *
from convsmith.convs.transposed import *
from convsmith.convs.unpooling import *
from convsmith.convs.involution import *
from convsmith.convs.connection_table import *
from convsmith.convs.locally_connected import *

__all__ = [
    name
    for name, value in sorted(globals().items())
    if not name.startswith("_") and not isinstance(value, _ModuleType)
]
