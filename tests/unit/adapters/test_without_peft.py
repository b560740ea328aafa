"""Without peft, an optional package, the adapters say what to install."""

from __future__ import annotations

import sys

import pytest
from torch import nn

import gossamer as gs
from gossamer.errors import MissingPackage


def test_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingPackage, match=r"package peft.*gossamer\[lora\]"):
        gs.add_lora(nn.Sequential(nn.Linear(2, 2)), None)
