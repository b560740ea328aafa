"""What layouts say of the compiled core is what it says of itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gossamer.kernels import rows
from gossamer.kernels.cpu import library
from gossamer.layouts import layout, layouts

HEADER = Path(__file__).parents[3] / "csrc" / "include" / "gossamer.h"


def test_numbers_are_those_of_the_header() -> None:
    listed = re.search(r"typedef enum gs_layout \{(.*?)\}", HEADER.read_text(), re.DOTALL)
    assert listed is not None
    numbers = {name.lower(): int(number) for name, number in re.findall(r"GS_(\w+) = (\d+)", listed[1])}
    assert numbers == {name: layout(name).number for name in layouts if layout(name).number is not None}


@pytest.mark.skipif(library.find() is None, reason="there is no compiled core")
@pytest.mark.parametrize("name", [name for name in layouts if layout(name).number is not None])
def test_types_and_gradients_are_those_of_the_table(name: str) -> None:
    kind = layout(name)
    compiled = [row for row in rows() if row.layout == name and row.isa != "reference"]
    types = {row.dtype.removeprefix("float32-") for row in compiled if row.op == "linear"}
    assert types == set(kind.values)
    trained = {row.op for row in compiled if row.dtype == "float32"}
    assert kind.trains == ("linear_grad_values" in trained)


@pytest.mark.parametrize("name", sorted(layouts))
def test_a_layout_says_all_that_its_kernels_ask(name: str) -> None:
    kind = layout(name)
    integers = {"m": 8, "n": 2, "h": 4, "w": 4, "group": 16 if name.startswith("shared") else 4, "band": 96}
    own = {each: integers[each] for each in kind.parameters}
    spec = kind.spec((96, 96), own)
    if kind.kernel:
        assert list(kind.accepts) == list(spec)
        assert all(dtype in kind.accepts[array] for array, (dtype, _) in spec.items())
    assert not kind.trains or kind.rated(own).linear
