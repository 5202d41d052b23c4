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

from convsmith.native.core import all_answer

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
# The same of a tensor whose memory is what it says, and what its layout does not tell.
_SAID_BY_LAYOUTS = (
    (attrgetter("is_cpu"), True),
    (attrgetter("layout"), torch.strided),
    (Tensor.is_complex, False),
)
_OF_ITS_MEMORY = (
    (Tensor.is_neg, False),
    (torch._is_functional_tensor, False),
)
_OF_A_TENSOR = _SAID_BY_LAYOUTS + _OF_ITS_MEMORY


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


def is_unwatched(*tensors: Tensor, have_known_layouts: bool = False) -> bool:
    """The same, for who knows that torch.compile does not look.

    Args:
        have_known_layouts: Whether it was True before of tensors with the same `core.layouts`.
    """
    about_each = _OF_ITS_MEMORY if have_known_layouts else _OF_A_TENSOR
    if not all_answer(_OF_TORCH, about_each, _PLAIN_TYPES, tensors):
        return False
    return not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))
