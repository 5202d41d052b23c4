# SPDX-License-Identifier: Apache-2.0
"""The kernels under the sanitizers: no access outside their arrays, no undefined arithmetic."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

import convsmith

SOURCE = Path(convsmith.__file__).parent


@pytest.mark.slow
@pytest.mark.timeout(900)  # three targets of templates under sanitizers: minutes on a busy machine
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.skipif(platform.system() != "Linux", reason="links the sanitizers as Linux does")
def test_right_and_within_the_arrays(tmp_path: Path) -> None:
    wide = ["neon"] if platform.machine() == "aarch64" else ["avx2", "avx512"]
    names = ["dispatch", "parallel", "target_baseline", *(f"target_{name}" for name in wide)]
    program = tmp_path / "kernel_bounds"
    sources = [
        Path(__file__).with_name("kernel_bounds.cpp"),
        *(SOURCE / "native" / f"{n}.cpp" for n in names),
    ]
    flags = ["-std=c++20", "-O0", "-g", "-fopenmp", "-ffp-contract=fast", f"-I{SOURCE}"]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run(["g++", *flags, *sanitizers, *sources, "-o", program], check=True)
    result = subprocess.run([program], capture_output=True, text=True, check=False, timeout=250)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.startswith(("avx", "neon", "baseline"))
    assert int(result.stdout.split()[-2]) >= 7 * 11 * 6 * 2
