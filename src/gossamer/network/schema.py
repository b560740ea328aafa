"""The JSON of an artifact, version 2: strict types, bounded sizes, nothing unknown."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from gossamer.errors import FormatError
from gossamer.kernels.cpu.pack import Activation
from gossamer.network.operators.base import Border, Number, Size
from gossamer.network.operators.spatial import Pair
from gossamer.network.plan import Plan

KIND, VERSION, VERSIONS = "network", 2, (1, 2)  # written, and read

Name = Annotated[str, Field(min_length=1, max_length=512)]
Parameters = Annotated[dict[Name, Annotated[int, Field(ge=1, le=65536)]], Field(max_length=4)]
T = TypeVar("T", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Run(_Part):
    """How a linear layer runs in one batch class."""

    layout: Name
    engine: Literal["core", "torch"]


class GeometryPart(_Part):
    """How a convolution moves; its columns are tap by tap."""

    channels: Size
    kernel: Pair
    stride: Pair
    padding: tuple[Border, Border, Border, Border]
    dilation: Pair
    groups: Size
    mode: Literal["zeros", "circular", "reflect", "replicate"]


class LinearPart(_Part):
    """A linear layer or, with a geometry, a convolution as stored.

    ``run`` has one entry for each batch class, made from the stored layout.
    """

    op: Literal["linear"]
    name: Name
    inputs: tuple[Name] | tuple[Name, Name]
    shape: tuple[Size, Size]
    layout: Name
    parameters: Parameters
    activation: Activation | None
    slope: Number
    flat: bool = False
    geometry: GeometryPart | None = None
    values: Literal["bfloat16", "int8", "int4", "int2", "int1"] | None
    run: Annotated[list[Run], Field(min_length=1, max_length=16)]
    tensors: Annotated[list[Name], Field(max_length=8)]


class CallPart(_Part):
    """Any other node: the operator's name, its settings, and the names of its tensors."""

    op: Name
    name: Name
    inputs: Annotated[list[Name], Field(min_length=1, max_length=64)]
    settings: dict[Name, JsonValue] = Field(max_length=32)
    tensors: Annotated[list[Name], Field(max_length=8)]


class Document(_Part):
    """The whole network, without its numbers."""

    kind: Literal["network"]
    version: Literal[1, 2]
    inputs: Annotated[list[Name], Field(min_length=1, max_length=16)]
    nodes: Annotated[list[LinearPart | CallPart], Field(max_length=100_000)]
    output: Name
    report: Plan


def parse(model: type[T], data: Any, what: str) -> T:
    """Check JSON-ready data against a model.

    Args:
        model: a pydantic model.
        data: dict.
        what: str - for the message.

    Raises:
        FormatError: with the first thing that is wrong.

    Example:
        >>> parse(Run, {"layout": "csr", "engine": "gpu"}, "run")
        Traceback (most recent call last):
        ...
        gossamer.errors.FormatError: run: expected engine: Input should be 'core' or 'torch', got 'gpu'
    """
    try:
        return model.model_validate_json(json.dumps(data, allow_nan=False))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise FormatError(what, expected=f"{where}: {first['msg']}", got=repr(first["input"])[:80]) from None
    except (ValueError, RecursionError) as error:
        raise FormatError(what, expected="finite numbers", got=str(error)) from None
