"""What is in a wheel and an sdist, held against the source tree. usage: contents.py WHEEL SDIST."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEADERS = {
    "gossamer/_core/gossamer.h",
    "gossamer/_core/gossamer_mixed.h",
    "gossamer/_core/gossamer_plan.h",
    "gossamer/_core/gossamer_recurrent.h",
}
CORE = {*HEADERS, "gossamer/_core/libgossamer.so"}
if sys.platform == "darwin":
    CORE = {*HEADERS, "gossamer/_core/libgossamer.dylib"}
TO_BUILD = ("csrc", "CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE", "src", "tests")


def sources(*places: str) -> set[str]:
    """Files of the tree that belong in a package, as paths from its root; none that was compiled or cached."""
    found = set()
    for place in places:
        paths = [ROOT / place] if (ROOT / place).is_file() else (ROOT / place).rglob("*")
        found |= {p.relative_to(ROOT).as_posix() for p in paths if p.is_file()}
    made = (".pyc", ".so", ".dylib", ".dll")
    return {name for name in found if not name.endswith(made) and "/.hypothesis/" not in name}


def differences(what: str, expected: set[str], got: set[str]) -> list[str]:
    """One line for each file that is missing or too many."""
    lines = [f"{what}: expected {name}, got none" for name in sorted(expected - got)]
    return lines + [f"{what}: expected no {name}, got one" for name in sorted(got - expected)]


def main(wheel: str, sdist: str) -> int:
    """Print what is wrong; 0 if nothing is."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    info = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    code = {name.removeprefix("src/") for name in sources("src")} - CORE
    wrong = differences("wheel", code | CORE, names - info)
    if not any(name.endswith("/licenses/LICENSE") for name in info):
        wrong.append("wheel: expected the licence, got none")
    with tarfile.open(sdist) as unpacked:
        packed = {name.partition("/")[2] for name in unpacked.getnames()}
    wrong += [line for line in differences("sdist", sources(*TO_BUILD), packed) if "got none" in line]
    stray = ("benchmarks/results/", "runs/", ".venv/", "build/")
    wrong += [f"sdist: expected no {name}, got one" for name in sorted(packed) if name.startswith(stray)]
    print("\n".join(wrong) or f"{len(names)} files in the wheel, {len(packed)} in the sdist, as expected")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
