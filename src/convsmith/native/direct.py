# SPDX-License-Identifier: Apache-2.0
"""When a kernel may be called without going through torch's dispatcher.

The dispatcher costs several microseconds, and gives autograd, tracing, modes and wrappers their
turn. The short way is right only where none of them would have done anything.
"""

import torch
from torch._C import _get_tracing_state, _len_torch_dispatch_stack, _len_torch_function_stack
from torch._C._autograd import _profiler_enabled
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import forward_ad
from torch.compiler import is_compiling

_PLAIN_TYPES = (torch.Tensor, torch.nn.Parameter)


def call_directly(*tensors: torch.Tensor) -> bool:
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
    if is_compiling() or _something_watches():
        return False
    needs_grad = torch.is_grad_enabled()
    for tensor in tensors:
        if not _is_plain(tensor) or (needs_grad and tensor.requires_grad):
            return False
    return True


def _something_watches() -> bool:
    return (
        _len_torch_dispatch_stack() > 0
        or _len_torch_function_stack() > 0
        or peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or _get_tracing_state() is not None
        or torch.is_autocast_enabled("cpu")
        or _profiler_enabled()
    )


def _is_plain(tensor: torch.Tensor) -> bool:
    return (
        type(tensor) in _PLAIN_TYPES
        and tensor.is_cpu
        and tensor.layout is torch.strided
        and not tensor.is_complex()
        and not tensor.is_neg()
        and not torch._is_functional_tensor(tensor)
    )
