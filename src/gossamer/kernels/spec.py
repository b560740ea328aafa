"""One row of the kernel table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class KernelSpec:
    """What a kernel computes, on what, and where it is found.

    Args:
        op: ``"linear"``, ``"linear_grad_input"``, ``"linear_grad_values"``, or one of the same three of ``"conv"``.
        layout: name of a layout.
        dtype: of inputs and values, ``"float32"``, ``"float64"``, or ``"any"`` floating type; or of both where they
            differ, ``"float32-bfloat16"``, ``"float32-int8"``.
        device: ``"cpu"``, or ``"any"``.
        isa: instruction set, ``"reference"``, or the name of another backend.
        entry: module whose ``bind(spec)`` returns the callable.
    """

    op: str
    layout: str
    dtype: str
    device: str
    isa: str
    entry: str

    @property
    def name(self) -> str:
        """``"op:layout:dtype:isa"``, as the compiled core spells it."""
        return f"{self.op}:{self.layout}:{self.dtype}:{self.isa}"

    @cached_property
    def call(self) -> Callable[..., Any]:
        """The kernel itself, loaded on first use."""
        loaded: Callable[..., Any] = import_module(self.entry).bind(self)
        return loaded
