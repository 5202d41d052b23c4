# SPDX-License-Identifier: Apache-2.0
"""Loading the compiled core and calling its kernels on rows of integers."""

import os
from array import array
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

# Before the core: torch brings the OpenMP runtime whose threads both are to share.
import torch

from convsmith.errors import NativeError

_WHY = {
    1: "the sizes do not fit together",
    2: "the sizes overflow 64-bit integers",
    3: "there is no memory for its scratch",
}


def _load() -> tuple[ModuleType | None, str]:
    """The extension, or None and the reason."""
    if os.environ.get("CONVSMITH_NATIVE") == "0":
        return None, "switched off by CONVSMITH_NATIVE=0"
    try:
        core = import_module("convsmith.native._core")
    except ImportError as error:  # not built, or without its OpenMP runtime
        return None, str(error)
    table = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    if table is None or not core.use_dlpack_table(table):
        return None, f"torch {torch.__version__} has no table of DLPack 1; 2.10 has it"
    return core, ""


def _choose_target(core: ModuleType, wanted: str | None) -> None:
    choices = core.target_names(only_supported=True)
    if wanted is not None and wanted not in choices:
        raise NativeError(
            f"native: CONVSMITH_TARGET={wanted!r} is not a target of this machine; "
            f"choose one of {', '.join(choices)}, or leave it unset for {choices[0]}."
        )
    core.use_target(choices[0] if wanted is None else wanted)


_core, _why_missing = _load()
if _core is not None:
    _choose_target(_core, os.environ.get("CONVSMITH_TARGET"))
_INDEX = {} if _core is None else {name: i for i, name in enumerate(_core.kernel_names())}


def available() -> bool:
    """Whether the compiled core is loaded."""
    return _core is not None


def run(kernel: str, *integers: int) -> None:
    """Run a kernel on addresses and sizes, in the order of its Args struct, on torch's threads.

    Nothing is looked up behind an address: the caller vouches for dtype, layout and lifetime.

    Raises:
        NativeError: if the core is missing, has no such kernel, or refuses the sizes.
    """
    index = index_of(kernel)
    assert _core is not None  # else there was no number
    try:
        status = _core.run(index, (*integers, torch.get_num_threads()))
    except (ValueError, RuntimeError, OverflowError) as error:
        raise NativeError(f"native: {kernel} was called with {integers}: {error}.") from None
    if status != 0:
        raise _refusal(kernel, integers, status)


def _refusal(kernel: str, integers: tuple[int, ...], status: int) -> NativeError:
    return NativeError(f"native: {kernel} refused {integers}: {_WHY[status]}.")


def index_of(kernel: str) -> int:
    """The number of a kernel, by which `run_rows` calls it.

    Raises:
        NativeError: if the core is missing or has no such kernel.
    """
    if _core is None or kernel not in _INDEX:
        raise NativeError(
            f"native: no kernel {kernel!r} (there are: {', '.join(_INDEX) or 'none'}); "
            "ask native.available() first and fall back to the reference."
        )
    return _INDEX[kernel]


def run_rows(rows: "array[int]", patches: "array[int]", tensors: Sequence[torch.Tensor]) -> None:
    """Run kernels one behind another, on rows into which addresses of tensors are written first.

    Args:
        rows: For each kernel its number, how many integers it takes, and these, the number of
            threads last; the rest as for `run`. Written to.
        patches: For each address its place in the rows and the number of its tensor.
        tensors: Strided ones that have memory.

    Raises:
        NativeError: if a row fits no kernel, a kernel refuses its sizes, or a patch fits neither
            rows nor tensors.
    """
    assert _core is not None  # else there was no number
    try:
        status, begin = _core.run_rows(*rows.buffer_info(), *patches.buffer_info(), tensors)
    except ValueError as error:
        raise NativeError(f"native: {len(rows)} integers were to run as rows: {error}.") from None
    if status != 0:
        index, length = rows[begin - 2 : begin]
        integers = tuple(rows[begin : begin + length - 1])
        raise _refusal(list(_INDEX)[index], integers, status)


class Prepared(Protocol):
    """A call that has been made before and is made again, by one call into the core."""

    def __call__(
        self, owner: torch.nn.Module, values: tuple[torch.Tensor, ...]
    ) -> list[torch.Tensor] | None:
        """The results; None, and nothing has been done, if anything is not as it was prepared for,
        another thread is in here, or a kernel refuses."""

    def retire(self) -> bool:
        """Whether nobody is in here; and nobody will be from now on."""


def prepared(
    sizes: bytes,
    state: bytes,
    paths: tuple[tuple[str, ...], ...],
    headers: "array[int]",
    samples: "array[int]",
    fingerprint: int,
    threads: int,
    rows: "array[int]",
    patches: "array[int]",
    results: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
    kept: object,
) -> Prepared:
    """A call on inputs of these layouts, with weights in these states, on so many threads.

    Args:
        sizes: The `layouts` of the inputs.
        state: `states_at` these paths.
        headers: As for `states_at`.
        samples: As for `sampled_fingerprints`.
        fingerprint: What that gave for the weights that rows read.
        rows: As for `run_rows`; nobody else may run them.
        patches: As for `run_rows`, of the inputs and the results.
        results: Shapes and strides of the results.
        kept: What the addresses in rows belong to.
    """
    assert _core is not None  # the caller has asked `available`
    made: Prepared = _core.Prepared(
        sizes,
        state,
        paths,
        headers.buffer_info(),
        samples.buffer_info(),
        fingerprint,
        torch.get_num_threads,
        threads,
        rows.buffer_info(),
        patches.buffer_info(),
        torch.empty_strided,
        tuple(results),
        (headers, samples, rows, patches, kept),
    )
    return made


Questions = tuple[tuple[Callable[..., Any], Any], ...]  # and the answers to them


def all_answer(
    about_nothing: Questions,
    about_each: Questions,
    types: tuple[type, ...],
    values: tuple[Any, ...],
) -> bool:
    """Whether each function gives the very object beside it: the first ones called without
    arguments, the others with each of the values, which are of these types and of no subtype.

    Asked one after another by Python, a dozen such questions cost as much as a small layer.

    >>> about = ((len, 3), (bool, True))
    >>> all_answer((), about, (str,), ("one", "two")), all_answer((), about, (str,), ("three",))
    (True, False)
    """
    if _core is not None:
        said: bool = _core.all_answer(about_nothing, about_each, types, values)
        return said
    return all(ask() is answer for ask, answer in about_nothing) and all(
        type(value) in types and all(ask(value) is answer for ask, answer in about_each)
        for value in values
    )


def layouts(tensors: Sequence[torch.Tensor]) -> bytes:
    """Device, dtype, sizes and strides of each; equal where all of these are."""
    assert _core is not None  # the caller has asked `available`
    found: bytes = _core.layouts(tensors)
    return found


def states(tensors: Sequence[torch.Tensor | None]) -> bytes:
    """The layouts with addresses and version counters: equal while torch counts no change."""
    assert _core is not None  # the caller has asked `available`
    found: bytes = _core.states(tensors)
    return found


def states_at(
    module: torch.nn.Module, paths: tuple[tuple[str, ...], ...], headers: "array[int]"
) -> bytes:
    """The states of what `look_up` would find.

    Args:
        headers: Addresses that will be looked at; they are fetched into the caches first, and need
            not be valid.

    Raises:
        KeyError: as `look_up`.
    """
    assert _core is not None  # the caller has asked `available`
    found: bytes = _core.states_at(module, paths, *headers.buffer_info())
    return found


def look_up(module: torch.nn.Module, paths: tuple[tuple[str, ...], ...]) -> list[Any]:
    """Parameters or buffers of a module as they are now, by their paths of names; None for ().

    Raises:
        KeyError: if one is not there any more.
    """
    assert _core is not None  # the caller has asked `available`
    found: list[Any] = _core.look_up(module, paths)
    return found


def sampled_fingerprints(addresses_and_counts: "array[int]") -> int:
    """A hash of up to 16 values of each array of float32 numbers, spread evenly over it."""
    assert _core is not None  # the caller has asked `available`
    address, count = addresses_and_counts.buffer_info()
    found: int = _core.sampled_fingerprints(address, count // 2)
    return found


def ask_for_huge_pages(memory: torch.Tensor) -> None:
    """Ask the system for pages of 2 MB under memory that has not been written yet."""
    if _core is not None:
        _core.ask_for_huge_pages(memory.data_ptr(), memory.nbytes)


def new_output(
    like: torch.Tensor,
    shape: tuple[int, ...],
    memory_format: torch.memory_format = torch.contiguous_format,
) -> torch.Tensor:
    """Memory for a kernel's output; every element is the kernel's to write."""
    if memory_format is torch.contiguous_format:
        return like.new_empty(shape)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=memory_format)


def info() -> dict[str, Any]:
    """What `convsmith doctor` shows: targets, threads, kernels and the OpenMP runtimes mapped."""
    core = _core
    return {
        "available": core is not None,
        "why_missing": _why_missing,
        "target": core and core.target_in_use(),
        "targets_compiled": core.target_names(only_supported=False) if core else [],
        "targets_supported": core.target_names(only_supported=True) if core else [],
        "kernels": list(_INDEX),
        "threads": torch.get_num_threads(),
        "openmp": _openmp_runtimes(),
        "extension": core and core.__file__,
    }


def _openmp_runtimes() -> list[str]:
    """Files of the OpenMP runtimes in this process; more than one means two pools of threads."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return []
    paths = {line.split()[-1] for line in maps.read_text().splitlines() if "/" in line}
    return sorted(p for p in paths if Path(p).name.startswith(("libgomp", "libomp", "libiomp")))
