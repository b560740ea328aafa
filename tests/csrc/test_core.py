"""The C++ tests, under the address and undefined-behaviour sanitizers, for the sets this processor runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gossamer.kernels.cpu import available_isas

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "csrc-tests"  # kept between runs: a second run compiles what changed
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def _run(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=900, env={**os.environ, "PATH": PATH}
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.slow
def test_cpp_tests_pass_under_sanitizers() -> None:
    cmake = shutil.which("cmake", path=PATH)
    if cmake is None:
        pytest.skip("no cmake: install it to build the C++ tests")
    sets = ";".join(available_isas()) or "scalar"
    options = ["-DGOSSAMER_TESTS=ON", "-DGOSSAMER_SANITIZE=ON", f"-DGOSSAMER_SETS={sets}"]
    generator = ["-G", "Ninja"] if shutil.which("ninja", path=PATH) else []
    _run(cmake, "-S", str(ROOT), "-B", str(BUILD), *generator, *options)
    _run(cmake, "--build", str(BUILD), "--parallel", str(os.cpu_count() or 1))
    out = _run(str(BUILD / "csrc" / "tests" / "test_core"))
    assert out.endswith(" 0 failures\n")
