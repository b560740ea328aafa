"""Where a call stands: the module that makes it, and the line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from types import CodeType, FrameType

NOT_THE_MODEL = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


class Place(NamedTuple):
    """Of a call in a model.

    Args:
        module: name of the module whose forward makes it; "" for the model itself.
        file: name of the source file; "" where torch itself makes the call, as an nn.Sequential does.
        line: number in it.

    Example:
        >>> str(Place("blocks.0", "net.py", 7)), str(Place("", "", 0))
        (" in 'blocks.0' (net.py, line 7)", '')
    """

    module: str
    file: str
    line: int

    def __str__(self) -> str:
        inside = f" in {self.module!r}" if self.module else ""
        return f"{inside} ({self.file}, line {self.line})" if self.file else inside


def place(module: str, outermost: CodeType) -> Place:
    """The line of the innermost code of the model that runs now.

    Args:
        module: name of the module.
        outermost: code of the function that called the model; what called it is no part of the model.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 (frames are only read)
    while frame is not None and frame.f_code is not outermost:
        file = frame.f_code.co_filename
        if not file.startswith(NOT_THE_MODEL):
            return Place(module, Path(file).name, frame.f_lineno)
        frame = frame.f_back
    return Place(module, "", 0)
