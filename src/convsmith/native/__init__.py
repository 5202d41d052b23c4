# SPDX-License-Identifier: Apache-2.0
"""The compiled core: which target runs, when it may be called directly, and how to call it.

A kernel is a name and a row of integers: addresses, sizes, and last the number of threads. The
family that owns a kernel lays out the row, because it alone knows what the integers mean; this room
knows no kernel. Without the extension (or with `CONVSMITH_NATIVE=0`) `available()` is False and
every family answers through plain torch.

`CONVSMITH_TARGET` names the instruction set to use instead of the best one that this processor has.
"""

from convsmith.native.core import available as available
from convsmith.native.core import info as info
from convsmith.native.core import new_output as new_output
from convsmith.native.core import run as run
from convsmith.native.direct import call_directly as call_directly
from convsmith.native.direct import is_unwatched as is_unwatched
