"""A rule, a pattern, a data set, a command and a pass cost one file each: found because it is there.

Layouts, operators and kinds of layers have such tests of their own beside this one.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer import data
from gossamer.cli.app import app, commands
from gossamer.data import recipes
from gossamer.freezing.passes import graph_passes
from gossamer.patterns import patterns
from gossamer.registry import discover
from gossamer.rules import rules
from plugin_files import DATA, PATTERN, RULE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REGISTRIES = {
    "rules": rules,
    "patterns": patterns,
    "data.sets": recipes,
    "cli.commands": commands,
    "freezing.passes": graph_passes,
}

COMMAND = '''
"""``gossamer toy``: says hello."""

from typing import Annotated

import typer
from rich.text import Text

from gossamer.cli.app import command
from gossamer.cli.output import Output


@command()
def toy(out: Output, name: Annotated[str, typer.Argument(help="Whom to greet.")]) -> None:
    """Greet somebody."""
    out.result({"hello": name}, lambda: Text(f"hello {name}"))
'''

REWRITE = '''
"""A ReLU of a ReLU is one."""

from gossamer.freezing.passes.base import Rewritten, graph_pass
from gossamer.network.graph import Call


@graph_pass(order=15)
def toy(graph, inputs):
    """Leave the second one out."""
    kinds = {node.name: node.body.op for node in graph.nodes if isinstance(node.body, Call)}
    twice = [n for n in graph.nodes if kinds.get(n.name) == kinds.get(n.inputs[0]) == "relu"]
    for node in twice:
        graph = graph.without(node.name)
    return Rewritten(graph)
'''


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Put one file beside those of a folder of ours, as a clone would have it; taken out again at the end."""
    for registry in REGISTRIES.values():
        registry._discover()
    before = {room: dict(registry._entries) for room, registry in REGISTRIES.items()}

    def put(room: str, text: str) -> None:
        package = importlib.import_module(f"gossamer.{room}")
        folder = tmp_path / room
        folder.mkdir()
        (folder / "toy_file.py").write_text(text, "utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        importlib.invalidate_caches()
        discover(package.__name__, list(package.__path__))
        changed = {name for name, held in REGISTRIES.items() if len(held._entries) > len(before[name])}
        assert changed == {room}

    yield put
    for room, registry in REGISTRIES.items():
        registry._entries.clear()
        registry._entries.update(before[room])
        sys.modules.pop(f"gossamer.{room}.toy_file", None)


def trained(pattern: str, rule: str) -> list[Any]:
    """Updates of a small network."""
    model = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4))
    gs.sparsify(model, 0.5, pattern, "uniform", generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = gs.attach(model, optimizer, rule, total_steps=200)
    for _ in range(101):
        optimizer.zero_grad()
        model(torch.randn(8, 16)).square().mean().backward()
        optimizer.step()
    return [row for row in engine.history if row.grown]


def test_a_rule(add: Callable[[str, str], None]) -> None:
    """By its name, in training."""
    add("rules", RULE.format(name="toy"))
    assert trained("unstructured", "toy")


def test_a_pattern(add: Callable[[str, str], None]) -> None:
    """By its name, under a rule."""
    add("patterns", PATTERN.format(name="toy"))
    assert trained("toy", "set")


def test_a_data_set(add: Callable[[str, str], None]) -> None:
    """In the list, and loaded."""
    add("data.sets", DATA.format(name="toy"))
    assert "toy" in data.names()
    assert data.load("toy").shape == (4, 4)


def test_a_command(add: Callable[[str, str], None]) -> None:
    """In the help, and called."""
    from typer.testing import CliRunner

    add("cli.commands", COMMAND)
    assert "Greet somebody." in CliRunner().invoke(app(), ["--help"]).stdout
    assert CliRunner().invoke(app(), ["toy", "you", "--json"]).stdout == '{"hello": "you"}\n'


def nodes(model: nn.Module, x: torch.Tensor) -> list[str]:
    """Operators of a frozen network, without those that are part of a layer."""
    return [node.body.op for node in gs.freeze(model, x).graph.nodes if hasattr(node.body, "op")]


def test_a_pass(add: Callable[[str, str], None]) -> None:
    """In its place; the output is the same."""
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.ReLU(), nn.Sigmoid(), nn.Linear(5, 3)).eval()
    x = torch.randn(2, 6)
    before = nodes(model, x)
    add("freezing.passes", REWRITE)
    assert before.count("relu") - nodes(model, x).count("relu") == 1
    torch.testing.assert_close(gs.freeze(model, x)(x), model(x))
