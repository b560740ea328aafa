"""Nodes and constants as the package onnx writes them; only this file imports it, when it is needed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gossamer.errors import MissingPackage
from gossamer.network.spelling import Few
from gossamer.version import __version__

if TYPE_CHECKING:
    from gossamer.export.whole import Known, Whole
    from gossamer.layouts.arrays import Array

OPSET: Final = 20  # the first with GELU; borders that wrap came with 19
IR: Final = 9  # the version of the file format of that time
PRODUCER: Final = "gossamer"


def written(whole: Whole) -> bytes:
    """The file, which the package onnx has checked.

    Args:
        whole: Whole.

    Returns:
        bytes.

    Raises:
        MissingPackage: no onnx.

    Cost: two copies of all constants.
    """
    onnx = _package()
    held = whole.words.constants.items()
    graph = onnx.helper.make_graph(
        [_node(onnx, *spelled) for spelled in whole.words.nodes],
        PRODUCER,
        [_known(onnx, known) for known in whole.inputs],
        [_known(onnx, whole.output)],
        [onnx.numpy_helper.from_array(array, name) for name, array in held if not isinstance(array, Few)],
        sparse_initializer=[_few(onnx, name, few) for name, few in held if isinstance(few, Few)],
    )
    made = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name=PRODUCER,
        producer_version=__version__,
    )
    whole_weights = (
        not graph.sparse_initializer
    )  # those of another form have no type that its full check knows
    onnx.checker.check_model(made, full_check=whole_weights)
    data: bytes = made.SerializeToString()
    return data


def producer(path: Path) -> str:
    """Who wrote a file of ONNX; "" for a file of another kind.

    Args:
        path: Path.

    Raises:
        MissingPackage: no onnx.

    Cost: O(file).
    """
    onnx = _package()
    damaged = import_module("google.protobuf.message").DecodeError
    try:
        return str(onnx.load(path, load_external_data=False).producer_name)
    except damaged:
        return ""


def _package() -> Any:
    """The package onnx; raises MissingPackage."""
    try:
        return import_module("onnx")
    except ModuleNotFoundError as error:
        hint = "pip install 'gossamer[onnx]'"
        raise MissingPackage("export_onnx", expected="the package onnx", got="none", hint=hint) from error


def _type(onnx: Any, dtype: str | np.dtype[Any]) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _known(onnx: Any, known: Known) -> Any:
    return onnx.helper.make_tensor_value_info(known.name, _type(onnx, known.type), known.sizes)


def _node(onnx: Any, op: str, inputs: tuple[str, ...], output: str, attributes: dict[str, Any]) -> Any:
    """One node, called like its output; a type is written as its number."""
    held = {
        name: _type(onnx, value) if isinstance(value, np.dtype) else value
        for name, value in attributes.items()
    }
    return onnx.helper.make_node(op, inputs, [output], name=output, **held)


def _few(onnx: Any, name: str, few: Few) -> Any:
    """Numbers and their places."""
    values: Array = few.values
    places = onnx.numpy_helper.from_array(few.positions.astype(np.int64), f"{name}_places")
    return onnx.helper.make_sparse_tensor(onnx.numpy_helper.from_array(values, name), places, few.shape)
