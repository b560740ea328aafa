"""The pages the tests of this folder look at."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
# page or module -> packages that its examples need and that no other part does: without them they are skipped
NEEDS = {
    "docs/howto/export.md": ("onnx", "onnxruntime"),
    "docs/howto/lora.md": ("peft",),
    "gossamer.adapters.layer": ("peft",),
    "gossamer.adapters.lora": ("peft",),
    "gossamer.export.onnx_file": ("onnx",),
}


def name_of(page: Path) -> str:
    """A short name for test ids."""
    return str(page.relative_to(ROOT))


def script(name: str) -> ModuleType:
    """A script of the folder docs/, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
