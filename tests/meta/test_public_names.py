"""What is public is documented, rules and patterns are one to a file, and files are small: in every room."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import gossamer
from gossamer import patterns as pattern_room
from gossamer import rules as rule_room

SOURCE = Path(__file__).parents[2] / "src" / "gossamer"
ROOMS = sorted(path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file())
FILES = sorted(path.stem for path in SOURCE.glob("[!_]*.py"))


def public(room: str) -> list[str]:
    """Names in the ``__all__`` of a room or file; where there is none, the functions and classes of its own."""
    module = importlib.import_module(f"gossamer.{room}")
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [name for name, thing in vars(module).items() if name[0] != "_" and is_of(thing, module.__name__)]


def is_of(thing: Any, module: str) -> bool:
    """Whether a function or class is defined in a module."""
    return (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__ == module


NAMES = [("gossamer", name) for name in gossamer.__all__]
NAMES += [(f"gossamer.{room}", name) for room in [*ROOMS, *FILES] for name in public(room)]


def look_up(place: str, name: str) -> Any:
    """A public name."""
    return getattr(importlib.import_module(place), name)


def test_public_names_are_sorted_unique_and_there() -> None:
    """``from gossamer import *`` works, and dir() shows what there is."""
    assert len(set(gossamer.__all__)) == len(gossamer.__all__)
    assert set(gossamer.__all__) <= set(dir(gossamer))
    for place, name in NAMES:
        assert look_up(place, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'rigel'"):
        gossamer.rigel  # noqa: B018


@pytest.mark.parametrize(("place", "name"), NAMES, ids=lambda v: v.removeprefix("gossamer."))
def test_every_public_name_has_a_docstring_with_example_or_cost(place: str, name: str) -> None:
    """Classes and functions say what they are; what computes has an Example or a Cost."""
    thing = look_up(place, name)
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return  # a constant, a registry or a type alias
    text = inspect.getdoc(thing) or ""
    assert text.strip(), f"{name} has no docstring"
    first = text.splitlines()[0]
    assert first[0].isupper() or first[0] in "`0123456789"
    if inspect.isfunction(thing):
        assert "Example:" in text or "Cost:" in text
        missing = [p for p in inspect.signature(thing).parameters if p not in text]
        assert not missing, f"{name} does not document {missing}"


@pytest.mark.parametrize("name", sorted(rule_room.rules))
def test_rules_name_source_cost_and_example(name: str) -> None:
    """An algorithm says where it comes from, what an update costs, and shows itself."""
    text = inspect.getdoc(rule_room.rules[name]) or ""
    for section in ("Cost:", "Example:"):
        assert section in text
    assert "Source:" in text or name == "static"


@pytest.mark.parametrize(
    ("room", "registry"),
    [(rule_room, rule_room.rules), (pattern_room, pattern_room.patterns)],
    ids=["rules", "patterns"],
)
def test_one_to_a_file_and_named_like_it(room: Any, registry: Any) -> None:
    """``set.py`` holds the rule "set" and no other; every file that registers is found by existing."""
    for name in registry:
        module = registry[name].__module__
        assert module.rpartition(".")[2].replace("_", "") == name
    homes = [registry[name].__module__ for name in registry]
    assert len(set(homes)) == len(homes)
    kind = room.__name__.rpartition(".")[2]
    for found in pkgutil.iter_modules(room.__path__):
        text = (Path(room.__path__[0]) / f"{found.name}.py").read_text()
        assert text.count(f"\n@{kind}.register(") == (f"{room.__name__}.{found.name}" in homes)


def test_registries_refuse_a_second_class_of_a_name_and_unknown_names() -> None:
    """With what there is."""
    from gossamer.errors import ConfigError
    from gossamer.registry import Registry

    registry: Registry[object] = Registry("thing")
    registry.register("a")(type("A", (), {}))
    with pytest.raises(ConfigError, match="register thing"):
        registry.register("a")(type("B", (), {}))
    with pytest.raises(ConfigError, match="one of a, got 'b'"):
        registry["b"]
    assert (list(registry), len(registry)) == (["a"], 1)


# The project speaks of itself alone, and in its own voice.
FORBIDDEN = ("todo", "fixme", "xxx:", "hack:", "as an ai", "/root/", "/home/")


def test_no_forbidden_words() -> None:
    """No loose ends and nobody's machine in what is shipped."""
    wrong = []
    for path in SOURCE.rglob("*.py"):
        text = path.read_text().lower()
        wrong += [f"{path.relative_to(SOURCE)}: {word}" for word in FORBIDDEN if word in text]
    assert wrong == []


def code_lines(node: ast.AST, text: str) -> int:
    """Lines of a node that are neither blank, nor comment, nor docstring."""
    hidden: set[int] = set()
    for part in ast.walk(node):
        if isinstance(part, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(part):
            hidden |= set(range(part.body[0].lineno, part.body[0].end_lineno + 1))
    lines = text.splitlines()
    first, last = getattr(node, "lineno", 1), getattr(node, "end_lineno", len(lines))
    shown = (n for n in range(first, last + 1) if n not in hidden)
    return sum(bool(lines[n - 1].strip()) and not lines[n - 1].strip().startswith("#") for n in shown)


@pytest.mark.parametrize("room", [*ROOMS, "."])
def test_files_and_functions_stay_small(room: str) -> None:
    """House rule: at most 250 lines of code in a file, 40 in a function, its signature aside."""
    wrong = []
    for path in (SOURCE / room).glob("*.py" if room == "." else "**/*.py"):
        text = path.read_text()
        tree = ast.parse(text)
        if (size := code_lines(tree, text)) > 250:
            wrong.append(f"{path.name}: {size} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                signature = node.body[0].lineno - node.lineno
                if (size := code_lines(node, text) - signature) > 40:
                    wrong.append(f"{path.name}: {node.name} has {size} lines")
    assert wrong == []
