"""Words of older plans, in the words of today."""

from __future__ import annotations

from typing import Final

from pydantic import AliasChoices

from gossamer.layouts.values import EXACT, FLOAT32

COMPUTE: Final = AliasChoices("compute", "activations")  # the arithmetic of a layer, now and then


def arithmetic(said: str, values: str) -> str:
    """The arithmetic of a layer, which older plans called "exact" where it was that of the network.

    Example:
        >>> arithmetic("exact", "float64"), arithmetic("exact", "int8"), arithmetic("int8", "int8")
        ('float64', 'float32', 'int8')
    """
    if said != EXACT:
        return said
    return values if values == "float64" else FLOAT32
