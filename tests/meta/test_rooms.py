"""Who may import whom: the house of the design, as a table. Imports point downwards only."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "gossamer"
LEAVES = {"bounds", "errors", "registry", "storage", "measure", "version"}
STRUCTURE = {"patterns", "topology", "rules"}
ARITHMETIC = {"kernels", "ops", "nn"}
SHIPPING = {"layouts", "network"}
JOBS = {"training", "parallel", "compress", "freezing"}

# room -> rooms below it; leaves may be imported from everywhere.
MAY_IMPORT: dict[str, set[str]] = {
    "bounds": set(),
    "version": set(),
    "errors": set(),
    "registry": {"errors"},
    "storage": {"errors"},
    "measure": {"errors", "registry"},
    "data": LEAVES,
    "layouts": LEAVES,
    "kernels": {"layouts"} | LEAVES,
    "ops": {"kernels", "layouts"} | LEAVES,
    "patterns": {"layouts"} | LEAVES,
    "topology": {"patterns"} | LEAVES,
    "rules": {"topology", "patterns"} | LEAVES,
    "nn": {"ops", "topology", "patterns"} | LEAVES,
    "network": {"layouts", "kernels"} | LEAVES,
    "runtime": {"network", "layouts"} | LEAVES,
    "trace": ARITHMETIC | STRUCTURE | SHIPPING | LEAVES,
    "training": ARITHMETIC | STRUCTURE | LEAVES | {"trace", "network"},
    "parallel": ARITHMETIC | STRUCTURE | LEAVES | {"training"},
    "compress": ARITHMETIC | STRUCTURE | LEAVES | {"training"},
    "freezing": ARITHMETIC | STRUCTURE | SHIPPING | LEAVES | {"trace"},
    "estimators": ARITHMETIC | STRUCTURE | LEAVES | {"training", "freezing", "data"},
    "hardware": ARITHMETIC | STRUCTURE | SHIPPING | LEAVES | {"freezing"},
    "runs": ARITHMETIC | STRUCTURE | LEAVES | JOBS | {"data"},
    "report": ARITHMETIC | STRUCTURE | SHIPPING | LEAVES | JOBS | {"data", "runs"},
    "cli": ARITHMETIC | STRUCTURE | SHIPPING | LEAVES | JOBS | {"data", "report", "runs", "hardware"},
    "__init__": {
        "compress",
        "errors",
        "freezing",
        "nn",
        "patterns",
        "rules",
        "training",
        "version",
    },  # the public names, loaded on first use
    "__main__": {"cli"},
}


def room_of(path: Path) -> str:
    """The folder or file directly under the package."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def files() -> Iterator[Path]:
    """Every module of the package."""
    return (path for path in sorted(SOURCE.rglob("*.py")))


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module imported anywhere in a file, inside functions and for type checkers too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_room_is_in_the_table() -> None:
    """A new folder under the package needs a line here, and a place in the picture."""
    assert {room_of(path) for path in files()} <= set(MAY_IMPORT)


@pytest.mark.parametrize("room", sorted({room_of(path) for path in files()}))
def test_imports_point_downwards(room: str) -> None:
    """Only rooms below, and never up; file and import are named."""
    wrong = []
    for path in files():
        if room_of(path) != room:
            continue
        for name in imports(ast.parse(path.read_text())):
            parts = name.split(".")
            if parts[0] != "gossamer" or len(parts) == 1:
                continue
            # `from gossamer import x` is seen a second time as gossamer.x
            if parts[1] not in MAY_IMPORT[room] | {room} and (SOURCE / parts[1]).with_suffix("").exists():
                wrong.append(f"{path.relative_to(SOURCE)} imports {name}")
            if parts[1] not in MAY_IMPORT[room] | {room} and (SOURCE / f"{parts[1]}.py").exists():
                wrong.append(f"{path.relative_to(SOURCE)} imports {name}")
    assert wrong == []


def test_the_two_wings_do_not_know_each_other() -> None:
    """Layers and algorithms meet in training only; the table itself must say so."""
    assert "rules" not in MAY_IMPORT["nn"]
    assert not MAY_IMPORT["rules"] & ARITHMETIC
    assert not MAY_IMPORT["kernels"] & (STRUCTURE | {"ops", "nn"})
    assert all(not MAY_IMPORT[leaf] - LEAVES for leaf in LEAVES)


def test_the_table_has_no_circle() -> None:
    """Downwards means that there is a bottom."""
    done: set[str] = set()
    while left := set(MAY_IMPORT) - done:
        ready = {room for room in left if MAY_IMPORT[room] - {room} <= done}
        assert ready, f"a circle among {sorted(left)}"
        done |= ready


LIGHT = """
import sys
before = set(sys.modules)
import gossamer
heavy = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(heavy & {"torch", "numpy", "triton", "safetensors", "scipy", "matplotlib", "pydantic"}))
"""


def test_importing_the_package_imports_nothing_heavy() -> None:
    """No torch, no NumPy, no Triton: the command line and the runtime start at once."""
    done = subprocess.run(
        [sys.executable, "-c", LIGHT],
        env={"PYTHONPATH": str(SOURCE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("room", ["errors", "registry"])
def test_leaves_import_without_torch(room: str) -> None:
    """They are needed where torch is not installed."""
    script = f"import sys, gossamer.{room}; print('torch' in sys.modules or 'numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(SOURCE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


def test_layouts_import_with_numpy_alone() -> None:
    """They are the floor of what runs where neither torch nor pydantic is installed."""
    script = (
        "import sys, gossamer.layouts; print(sorted({'torch', 'pydantic', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(SOURCE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
