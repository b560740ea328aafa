"""Who may import whom: the house of the design, as a table. Imports point downwards only."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "gossamer"
LEAVES = {"bounds", "errors", "needs_torch", "plugins", "registry", "storage", "measure", "version"}
STRUCTURE = {"patterns", "topology", "rules"}
ARITHMETIC = {"kernels", "ops", "nn"}
SHIPPING = {"layouts", "network"}
JOBS = {"training", "parallel", "compress", "distillation", "adapters", "freezing", "invariance"}

# room -> rooms below it; leaves may be imported from everywhere.
MAY_IMPORT: dict[str, set[str]] = {
    "bounds": set(),
    "version": set(),
    "errors": set(),
    "needs_torch": {"errors"},
    "plugins": {"errors"},
    "registry": {"errors", "plugins"},
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
    "models": {"nn"} | LEAVES,
    "network": {"layouts", "kernels"} | LEAVES,
    "runtime": {"network", "layouts"} | LEAVES,
    "export": {"network", "layouts"} | LEAVES,
    "trace": ARITHMETIC | STRUCTURE | SHIPPING | LEAVES,
    "training": ARITHMETIC | STRUCTURE | LEAVES | {"trace", "network"},
    "parallel": ARITHMETIC | STRUCTURE | LEAVES | {"training"},
    "compress": ARITHMETIC | STRUCTURE | SHIPPING | LEAVES | {"training", "trace"},
    "distillation": ARITHMETIC | STRUCTURE | LEAVES | {"training"},
    "adapters": ARITHMETIC | STRUCTURE | LEAVES,
    "freezing": ARITHMETIC | STRUCTURE | SHIPPING | LEAVES | {"trace"},
    "invariance": ARITHMETIC | STRUCTURE | SHIPPING | LEAVES | {"trace"},
    "estimators": ARITHMETIC | STRUCTURE | LEAVES | {"training", "freezing", "data"},
    "hardware": ARITHMETIC | STRUCTURE | SHIPPING | LEAVES | {"freezing"},
    "importing": ARITHMETIC | STRUCTURE | SHIPPING | LEAVES | {"trace", "freezing"},
    "runs": ARITHMETIC | STRUCTURE | LEAVES | JOBS | {"data", "models"},
    "recipes": ARITHMETIC | STRUCTURE | LEAVES | JOBS | {"data", "models", "runs", "importing"},
    "report": ARITHMETIC | STRUCTURE | SHIPPING | LEAVES | JOBS | {"data", "runs", "recipes"},
    "cli": ARITHMETIC
    | STRUCTURE
    | SHIPPING
    | LEAVES
    | JOBS
    | {"data", "models", "recipes", "report", "runs", "hardware", "export", "importing", "__init__"},
    "__init__": {
        "adapters",
        "compress",
        "distillation",
        "errors",
        "export",
        "freezing",
        "invariance",
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
            # The package itself opens rooms on first use.
            yield from ("gossamer.__init__" if a.name == "gossamer" else a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def rooms() -> list[str]:
    """Every folder and file directly under the package."""
    return sorted({room_of(path) for path in files()})


@cache
def arrows(path: Path) -> list[tuple[str, str]]:
    """The other rooms that a file imports, each with the import."""
    found = []
    for name in imports(ast.parse(path.read_text())):
        package, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        # `from gossamer import x` is a room, or a public name of the package itself.
        if package == "gossamer" and target in rooms() and target != room_of(path):
            found.append((target, name))
    return found


def graph() -> dict[str, set[str]]:
    """Room -> rooms that it imports, as the files have it."""
    found: dict[str, set[str]] = {room: set() for room in rooms()}
    for path in files():
        found[room_of(path)] |= {target for target, _ in arrows(path)}
    return found


def floors(arrows_of: dict[str, set[str]]) -> list[list[str]]:
    """Rooms from the ground up, each above all that it imports; fails where there is a circle."""
    done: list[list[str]] = []
    while left := set(arrows_of) - {room for floor in done for room in floor}:
        ready = sorted(room for room in left if not arrows_of[room] & left)
        assert ready, f"a circle among {sorted(left)}"
        done.append(ready)
    return done


def drawn(arrows_of: dict[str, set[str]]) -> str:
    """The graph as text, the top floor first; of the arrows those that no other way says already."""

    def below(room: str) -> set[str]:
        return set().union(*({near} | below(near) for near in arrows_of[room]))

    def direct(room: str) -> list[str]:
        near = arrows_of[room]
        return sorted(near - set().union(*map(below, near)))

    levels = list(enumerate(floors(arrows_of)))[::-1]
    lines = (f"{level:2}  {room:<12} {' '.join(direct(room))}" for level, floor in levels for room in floor)
    return "\n".join(line.rstrip() for line in lines)


def test_every_room_is_in_the_table() -> None:
    """A new folder under the package needs a line here, and a place in the picture."""
    assert {room_of(path) for path in files()} <= set(MAY_IMPORT)


@pytest.mark.parametrize("room", rooms())
def test_imports_point_downwards(room: str) -> None:
    """Only rooms below, and never up; file and import are named."""
    wrong = [
        f"{path.relative_to(SOURCE)} imports {name}"
        for path in files()
        if room_of(path) == room
        for target, name in arrows(path)
        if target not in MAY_IMPORT[room]
    ]
    assert wrong == []


def test_the_graph_of_imports_has_no_circle() -> None:
    """Computed from the files and not from the table; ``pytest -s`` shows it."""
    text = drawn(graph())
    sys.stdout.write(f"\n{text}\n")
    lines = text.splitlines()
    assert lines[0].split()[1] == "__main__"
    assert [line.split()[1:] for line in lines].count(["errors"]) == 1


def test_a_circle_is_found_and_a_graph_is_drawn() -> None:
    """Arrows that follow from others are not shown."""
    assert drawn({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == " 2  a            b\n 1  b            c\n 0  c"
    with pytest.raises(AssertionError, match=r"a circle among \['a', 'b'\]"):
        floors({"a": {"b"}, "b": {"a"}, "c": set()})


def test_the_two_wings_do_not_know_each_other() -> None:
    """Layers and algorithms meet in training only; the table itself must say so."""
    assert "rules" not in MAY_IMPORT["nn"]
    assert not MAY_IMPORT["rules"] & ARITHMETIC
    assert not MAY_IMPORT["kernels"] & (STRUCTURE | {"ops", "nn"})
    assert all(not MAY_IMPORT[leaf] - LEAVES for leaf in LEAVES)


def test_the_table_has_no_circle() -> None:
    """Downwards means that there is a bottom."""
    floors({room: MAY_IMPORT[room] for room in MAY_IMPORT})


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
