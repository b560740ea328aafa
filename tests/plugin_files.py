"""Plug-ins that tests write: a file, and installed packages as pip leaves them."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RULE = '''
from dataclasses import dataclass
from gossamer.rules import Rule, rules

@rules.register("{name}")
@dataclass(frozen=True, kw_only=True)
class Wander(Rule):
    """Drop the smallest, grow at random."""

    def grow(self, layer, survivors, want):
        return layer.pattern.grow_random(survivors, want, layer.topology.grid, layer.generator)
'''

PATTERN = '''
from dataclasses import dataclass
from gossamer.patterns import Unstructured, patterns

@patterns.register("{name}")
@dataclass(frozen=True)
class Anywhere(Unstructured):
    """Any connections."""
'''

DATA = """
import numpy as np
from gossamer import data

def _read():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (96, 4, 4), dtype=np.uint8)
    y = (x[:, 0, 0] > 127).astype(np.uint8)
    return data.Arrays(x[:64], y[:64], x[64:], y[64:])

@data.register
def rings():
    spec = data.Spec(n_train=64, n_test=32, shape=(4, 4), n_classes=2)
    return data.Recipe(name="{name}", spec=spec, classes=("in", "out"), licence="CC0",
                       embedded=data.Embedded("a plug-in", _read))
"""

MARK = """
from pathlib import Path
with Path({mark!r}).open("a") as file:
    file.write(__name__.partition("_plugin_")[2][9:] + "\\n")
"""


def write_plugin(path: Path, *parts: str, mark: Path | None = None) -> Path:
    """A file of parts; with a mark it leaves a line there when it runs."""
    path.write_text("".join([*([MARK.format(mark=str(mark))] if mark else []), *parts]), "utf-8")
    return path


def install(site: Path, package: str, points: dict[str, dict[str, str]], **modules: str) -> None:
    """A package as it stands in a folder of installed ones: group -> name -> place, and modules with their text."""
    info = site / f"{package.replace('-', '_')}-1.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
    lines = [
        line
        for group, names in points.items()
        for line in (f"[{group}]", *(f"{name} = {place}" for name, place in names.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for name, text in modules.items():
        (site / f"{name}.py").write_text(text, "utf-8")


@contextmanager
def plugins_forgotten() -> Iterator[None]:
    """Registries and everything that was loaded stand afterwards as before."""
    from gossamer import plugins
    from gossamer.data import recipes
    from gossamer.patterns import patterns
    from gossamer.rules import rules

    recipes._discover()
    tables = [table for each in (rules, patterns, recipes) for table in (each._entries, each._asked)]
    tables += [plugins._files, sys.modules]
    before = [dict(table) for table in tables]
    plugins._installed.cache_clear()
    try:
        yield
    finally:
        plugins._installed.cache_clear()
        for table, old in zip(tables, before, strict=True):
            for name in table.keys() - old.keys():
                if table is not sys.modules or name.startswith(("gossamer_plugin_", "toy_")):
                    del table[name]
