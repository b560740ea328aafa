"""A file beside those of a folder of the package, in a process of its own: found because it is there."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# What importing the folder does, with one file more in it, before anything else reads the list.
BESIDE = """
import importlib, shutil, sys
from pathlib import Path
from gossamer.registry import discover
folder, toy = importlib.import_module(sys.argv[1]), sys.argv[2]
place = Path("beside"); place.mkdir(); shutil.copy(toy, place)
folder.__path__.append(str(place))
discover(folder.__name__, list(folder.__path__))
"""


def run_beside(folder: str, toy: Path, script: str, scratch: Path) -> None:
    """Run a script that prints "taken" at its end, with a toy in a folder of the package; fails with what it said."""
    done = subprocess.run(
        [sys.executable, "-c", BESIDE + script, folder, str(toy)],
        cwd=scratch,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip().endswith("taken"), done.stderr[-3000:]
