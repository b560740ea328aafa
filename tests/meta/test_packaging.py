"""What the package says of itself is true in one place, and who lacks something is told what to install."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import gossamer

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = PYPROJECT["project"]
REQUIREMENTS = [
    *PROJECT["dependencies"],
    *(r for rs in PROJECT["optional-dependencies"].values() for r in rs),
]
OTHERS = sorted({line for line in REQUIREMENTS if not line.startswith("gossamer")})


def numbers(version: str) -> tuple[int, ...]:
    """A release as numbers that can be compared."""
    return tuple(int(part) for part in version.split("."))


def name_and_bound(requirement: str) -> tuple[str, str]:
    """``("torch", "2.10")`` of ``torch>=2.10``."""
    found = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement)
    assert found, f"{requirement} is no range with a lower bound"
    return found[1], found[2]


def test_the_version_stands_in_one_file() -> None:
    """The build reads the same line that Python does, and no second number is written down."""
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    (entry,) = PYPROJECT["tool"]["dynamic-metadata"]
    found = re.findall(entry["regex"], (ROOT / entry["input"]).read_text(), re.MULTILINE)
    assert (entry["field"], found) == ("version", [gossamer.__version__])


def test_types_readme_and_licence_are_there() -> None:
    """Type checkers look at a package only if it has the marker."""
    assert (Path(gossamer.__file__).parent / "py.typed").read_bytes() == b""
    assert (ROOT / PROJECT["readme"]).is_file()
    assert all((ROOT / name).is_file() for name in PROJECT["license-files"])


def test_the_oldest_python_is_the_same_everywhere() -> None:
    """The range, the classifiers, the linter, the type checker and ./run."""
    oldest = PROJECT["requires-python"].removeprefix(">=")
    named = re.findall(r":: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert min(named, key=numbers) == oldest
    tools = PYPROJECT["tool"]
    assert tools["ruff"]["target-version"] == "py" + oldest.replace(".", "")
    assert tools["mypy"]["python_version"] == oldest
    assert f"sys.version_info < {numbers(oldest)}" in (ROOT / "run").read_text()


@pytest.mark.parametrize("requirement", OTHERS)
def test_what_ci_installs_is_in_the_range(requirement: str) -> None:
    """Every package is named with a lower bound, and has a pinned release that is not below it."""
    name, bound = name_and_bound(requirement.replace("mkdocstrings[python]", "mkdocstrings"))
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert numbers(pins[name]) >= numbers(bound)


def test_the_page_on_releases_names_the_ranges() -> None:
    """What is supported, in words for users, is what pip enforces."""
    page = (ROOT / "docs" / "releasing.md").read_text()
    for name, bound in [
        ("Python", PROJECT["requires-python"]),
        *map(name_and_bound, PROJECT["dependencies"]),
    ]:
        assert f"| {name} | {bound.removeprefix('>=')} |" in page, name
    for requirement in PROJECT["optional-dependencies"]["train"]:
        name, bound = name_and_bound(requirement)
        assert name != "torch" or f"| PyTorch | {bound} |" in page


def test_folders_left_out_of_the_sdist_are_those_at_the_top() -> None:
    """``runs`` without a slash is the room of that name as well."""
    assert all(place.startswith("/") for place in PYPROJECT["tool"]["scikit-build"]["sdist"]["exclude"])


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # importing it fails as if it were not installed
import gossamer
gossamer.sparsify
"""


def test_without_torch_the_extra_is_named() -> None:
    """A base install that is asked for training says which words to type."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == (
        "gossamer.errors.MissingPackage: import: expected the package torch, got none; "
        "pip install 'gossamer[train]'"
    )


PACKAGES_WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from importlib import import_module
from pkgutil import iter_modules
import gossamer
for package in sorted(each.name for each in iter_modules(gossamer.__path__) if each.ispkg):
    try:
        import_module(f"gossamer.{package}")
    except gossamer.GossamerError as error:
        print(package, error)
"""


def test_every_package_names_the_extra_without_torch() -> None:
    """Imported by itself, it works or says which words to type, as the package does for its names."""
    done = subprocess.run(
        [sys.executable, "-c", PACKAGES_WITHOUT_TORCH],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    answers = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert {"rules", "estimators", "nn", "training"} <= answers.keys()
    said = "import: expected the package torch, got none; pip install 'gossamer[train]'"
    assert set(answers.values()) == {said}


def test_without_a_compiler_cmake_says_what_to_install(tmp_path: Path) -> None:
    """Which is what pip shows, in place of a page about CMAKE_CXX_COMPILER."""
    path = tmp_path / "bin"
    path.mkdir()
    for name in ("cmake", "make", "ninja", "sh"):
        if found := shutil.which(name):
            (path / name).symlink_to(found)
    if not (path / "cmake").exists():
        pytest.skip("no cmake")
    done = subprocess.run(
        [path / "cmake", "-S", ROOT, "-B", tmp_path / "build"],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "gossamer: expected a C++17 compiler (c++, g++ or clang++), found none that works" in said
    assert (
        "install one, or set CXX (on Debian: apt-get install g++; on macOS: xcode-select --install)" in said
    )
