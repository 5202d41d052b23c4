# SPDX-License-Identifier: Apache-2.0
"""When a kernel may be called without going through torch's dispatcher.

The dispatcher costs several microseconds, and gives autograd, tracing, modes and wrappers their
turn. The short way is right only where none of them would have done anything.
"""

from functools import partial
from operator import attrgetter

import torch
from torch import Tensor
from torch._C import _get_tracing_state, _len_torch_dispatch_stack, _len_torch_function_stack
from torch._C._autograd import _profiler_enabled
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import forward_ad
from torch.compiler import is_compiling

from convsmith.native.core import answers

_PLAIN_TYPES = (Tensor, torch.nn.Parameter)

# What is asked, and the answer where nothing watches: dispatch and function modes, functorch,
# forward-mode levels, traces, autocast, the profiler.
_OF_TORCH = (
    (_len_torch_dispatch_stack, 0),
    (_len_torch_function_stack, 0),
    (peek_interpreter_stack, None),
    (partial(getattr, forward_ad, "_current_level"), -1),
    (_get_tracing_state, None),
    (partial(torch.is_autocast_enabled, "cpu"), False),
    (_profiler_enabled, False),
)
# The same of a tensor whose memory is what it says.
_OF_A_TENSOR = (
    (attrgetter("is_cpu"), True),
    (attrgetter("layout"), torch.strided),
    (Tensor.is_complex, False),
    (Tensor.is_neg, False),
    (torch._is_functional_tensor, False),
)


def call_directly(*tensors: Tensor) -> bool:
    """Whether nothing but the kernel would see these tensors.

    True for plain, strided, real CPU tensors when no gradient is needed and nothing watches: no
    compile, export, trace, functorch transform, forward-mode level, autocast, dispatch or function
    mode, or profiler.

    >>> call_directly(torch.ones(3))
    True
    >>> call_directly(torch.ones(3, requires_grad=True))
    False
    """
    # is_compiling() comes first: torch.compile then follows nothing of the rest.
    return not is_compiling() and is_unwatched(*tensors)


def is_unwatched(*tensors: Tensor) -> bool:
    """The same, for who knows that torch.compile does not look."""
    if not answers(_OF_TORCH, ()):
        return False
    needs_grad = torch.is_grad_enabled()
    for tensor in tensors:
        if type(tensor) not in _PLAIN_TYPES or not answers(_OF_A_TENSOR, (tensor,)):
            return False
        if needs_grad and tensor.requires_grad:
            return False
    return True
