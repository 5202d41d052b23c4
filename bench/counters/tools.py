# SPDX-License-Identifier: Apache-2.0
"""The counters that are compared, each as its page tells to call it; all answers in MACs."""

import contextlib
import gc
import io
import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from counters import networks

PACKAGES = ("torch", "torchinfo", "fvcore", "calflops", "ptflops", "thop")
Count = Callable[[nn.Module, tuple[int, ...]], float]


def by_convsmith() -> Count:
    import convsmith
    from convsmith.analysis import analyze

    assert convsmith
    return lambda model, shape: analyze(model, shape).total.macs.all


def by_torch() -> Count:
    from torch.utils.flop_counter import FlopCounterMode

    def count(model: nn.Module, shape: tuple[int, ...]) -> float:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.randn(shape))
        return counter.get_total_flops() / 2

    return count


def by_torchinfo() -> Count:
    from torchinfo import summary

    return lambda model, shape: summary(model, shape, verbose=0).total_mult_adds


def by_fvcore() -> Count:
    from fvcore.nn import FlopCountAnalysis

    def count(model: nn.Module, shape: tuple[int, ...]) -> float:
        found = FlopCountAnalysis(model, torch.randn(shape))
        # Its flops are multiply-adds; a norm's and a pooling's are no products.
        by_operator = found.by_operator().items()
        return sum(n for name, n in by_operator if "norm" not in name and "pool" not in name)

    return count


def by_calflops() -> Count:
    from calflops import calculate_flops

    return lambda model, shape: calculate_flops(
        model, input_shape=shape, print_results=False, output_as_string=False
    )[1]


def by_ptflops() -> Count:
    from ptflops import get_model_complexity_info

    return lambda model, shape: get_model_complexity_info(
        model, shape[1:], as_strings=False, print_per_layer_stat=False
    )[0]


def by_thop() -> Count:
    from thop import profile

    return lambda model, shape: profile(model, inputs=(torch.randn(shape),), verbose=False)[0]


TOOLS: dict[str, Callable[[], Count]] = {
    "convsmith": by_convsmith,
    "torch's FlopCounterMode": by_torch,
    "torchinfo": by_torchinfo,
    "fvcore": by_fvcore,
    "calflops": by_calflops,
    "ptflops": by_ptflops,
    "thop": by_thop,
}
NAMES = tuple(TOOLS)


def measured(tool: str, network: str) -> dict[str, object]:
    """What a tool says of a network, and what saying it took."""
    case = (networks.SMALL | networks.LARGE)[network]
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    count = TOOLS[tool]()
    model = case.build().eval()
    gc.collect()
    _forget_peak()
    before, start = _peak(), time.process_time()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            macs = count(model, case.shape)
    except Exception as error:  # whatever a tool raises is its answer
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    seconds = time.process_time() - start
    return {"macs": macs, "seconds": seconds, "megabytes": (_peak() - before) / 2**20}


def _peak() -> float:
    """Bytes of memory held at once since `_forget_peak`, as Linux counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(int(x.split()[1]) for x in lines if x.startswith("VmHWM:"))


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")
