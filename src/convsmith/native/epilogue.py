# SPDX-License-Identifier: Apache-2.0
"""The activations that kernels apply to a sum while it is still in a register.

y = activation(sum + bias + residual)
"""

from convsmith.errors import ArgumentError

# The order of Activation in epilogue.h.
ACTIVATIONS = ("none", "relu", "relu6", "hard_swish", "silu")


def activation_number(name: str) -> int:
    """What a kernel is told.

    Raises:
        ArgumentError: if no kernel knows the activation.

    >>> activation_number("relu")
    1
    """
    if name not in ACTIVATIONS:
        raise ArgumentError(
            f"native: no kernel applies activation {name!r}; choose one of {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS.index(name)
