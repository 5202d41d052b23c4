# SPDX-License-Identifier: Apache-2.0
"""The compiled core."""

def available() -> bool:
    return False
