"""The tables of layouts and operators on the page about files say what these say of themselves."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from gossamer.layouts import layout, layouts
from gossamer.layouts.grid import narrow
from gossamer.network.operators import operators

PAGE = Path(__file__).parents[2] / "docs" / "artifact-format.md"
ROW = re.compile(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|", re.MULTILINE)
ARRAY = re.compile(r"`(\w+)` (narrow\((?:[^()]|\([^)]*\))*\)|u?int\d+)[^\[]*\[([^\]]*)\]")
SHAPES = ((48, 96), (48 * 70_000, 96), (48, 96 * 70_000))
INTEGERS = {
    "csr_bands": {"band": 96},
    "fanin": {"group": 4},
    "fanin_bytes": {"group": 4},
    "block": {"h": 4, "w": 8},
    "nm": {"n": 2, "m": 8},
    "shared_tiles": {"group": 16},
    "bitmask": {"n": 9},
    "bitmask_bytes": {"n": 9},
    "shared_tile_bytes": {"group": 16},
    "tile_bytes": {"w": 64},
}


def table() -> dict[str, tuple[str, str]]:
    """Layout -> its parameters and its index tensors, as the page has them."""
    text = PAGE.read_text().partition("| layout | parameters |")[2].partition("\n\n")[0]
    return {name: (parameters, index) for name, parameters, index in ROW.findall(text)}


def number(text: str, known: dict[str, object]) -> object:
    """What an expression of the page comes to; None where it has a length of its own."""
    text = re.sub(r"\bin\b", "inputs", text)
    if not set(re.findall(r"[a-z]+", text)) <= set(known):
        return None
    return eval(text, {"__builtins__": {}}, known)  # noqa: S307 (an expression of our own page)


def test_the_page_has_every_layout() -> None:
    assert set(table()) == set(layouts)


@pytest.mark.parametrize("name", sorted(layouts))
def test_the_page_has_parameters_types_and_shapes(name: str) -> None:
    parameters, index = table()[name]
    kind = layout(name)
    assert tuple(re.findall(r"`(\w+)`", parameters)) == kind.parameters
    integers = INTEGERS.get(name, INTEGERS["nm"] if name.startswith("nm") else {})
    checked = 0
    for shape in SHAPES:
        if kind.wants(shape, integers):
            continue
        known: dict[str, object] = {"ceil": math.ceil, "narrow": narrow, "out": shape[0], "inputs": shape[1]}
        known |= {"bands": -(-shape[1] // integers.get("band", 1))} | integers
        found = {
            array: (
                number(dtype, known) if "(" in dtype else dtype,
                tuple(-1 if (n := number(size, known)) is None else n for size in _sizes(sizes)),
            )
            for array, dtype, sizes in ARRAY.findall(index)
        }
        assert found == kind.spec(shape, integers)
        checked += 1
    assert checked


def _sizes(text: str) -> list[str]:
    """Between commas."""
    return [size.strip() for size in text.split(",")]


def operator_rows() -> dict[str, tuple[str, set[str]]]:
    """Operator -> its number of inputs and the words of its settings, as the page has them."""
    text = PAGE.read_text().partition("| op | inputs | settings | tensors |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| `")]
    return {
        name: (inputs.strip(), set(re.findall(r"`(\w+)`", settings)))
        for names, inputs, settings in rows
        for name in re.findall(r"`(\w+)`", names)
    }


def test_the_page_has_every_operator_with_its_settings() -> None:
    rows = operator_rows()
    assert set(rows) == set(operators)
    for name, (inputs, settings) in rows.items():
        assert inputs == str(operators[name].arity or "1 to 64")
        assert set(operators[name].settings.model_fields) <= settings, name
        assert bool(operators[name].settings.model_fields) == bool(settings), name
