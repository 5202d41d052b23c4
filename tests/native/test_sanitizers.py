# SPDX-License-Identifier: Apache-2.0
"""The whole core under AddressSanitizer and UndefinedBehaviorSanitizer, every kernel and target.

Kernels read and write tensors, and the tensors come from the sanitizer's allocator: an access
outside one, like any undefined arithmetic, ends the process.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.system() != "Linux", reason="links the sanitizers as Linux does"),
    pytest.mark.timeout(3600),  # a build without optimization, minutes on a busy machine
]

TESTS = Path(__file__).parents[1]
UNDER_TEST = ["native/chains", "convs/pointwise/test_core.py", "convs/involution/test_op.py"]

# The second is what the first one's interceptors of exceptions look for.
LIBRARIES = ["libasan.so", "libstdc++.so.6"]

# torch first, whose OpenMP the core takes; then the core, in the place of the installed one.
LOADED = """
import sys
from importlib.util import module_from_spec, spec_from_file_location

import torch

spec = spec_from_file_location("convsmith.native._core", sys.argv[1])
core = sys.modules[spec.name] = module_from_spec(spec)
spec.loader.exec_module(core)

from convsmith import native

assert native.info()["extension"] == sys.argv[1]
"""
TESTED = """
import pytest

raise SystemExit(pytest.main(sys.argv[2:]))
"""
OUT_OF_BOUNDS = """
x, panels = torch.ones(100), torch.zeros(2048)
native.run("pack_panels", x.data_ptr(), panels.data_ptr(), 10, 11, 11, 1)
"""


def output_of(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension built with sanitizers, from the sources beside the tests."""
    cmake, nanobind = pytest.importorskip("cmake"), pytest.importorskip("nanobind")
    folder = tmp_path_factory.mktemp("sanitized")
    program = str(Path(cmake.CMAKE_BIN_DIR) / "cmake")
    flags = "-O0 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all"
    output_of(
        *(program, "-S", str(TESTS.parent), "-B", str(folder), f"-DCMAKE_CXX_FLAGS={flags}"),
        *("-DCMAKE_BUILD_TYPE=None", f"-DPython_EXECUTABLE={sys.executable}"),
        f"-Dnanobind_DIR={nanobind.cmake_dir()}",
    )
    output_of(program, "--build", str(folder), "--parallel", "2")
    return next(folder.glob("_core*.so"))


def run(code: str, extension: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    libraries = [output_of("g++", f"-print-file-name={name}") for name in LIBRARIES]
    environment = {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "CONVSMITH_NATIVE": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", LOADED + code, str(extension), *arguments],
        env={**os.environ, **environment},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_access_outside_is_found(sanitized: Path) -> None:
    """Ten rows of eleven are more than a hundred numbers."""
    result = run(OUT_OF_BOUNDS, sanitized)
    assert result.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in result.stderr


def test_every_kernel_stays_within_its_arrays(sanitized: Path) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow"]
    paths = [str(TESTS / path) for path in UNDER_TEST]
    result = run(TESTED, sanitized, *options, *paths)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
