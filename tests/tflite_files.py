"""Small files of TFLite, written for tests: tables as dictionaries of field numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

FLOAT32, FLOAT16, INT32, UINT8, INT8 = 0, 1, 2, 3, 9
ADD, CONCATENATION, CONV_2D, DEPTHWISE, DEPTH_TO_SPACE, DEQUANTIZE, FULLY_CONNECTED = 0, 2, 3, 4, 5, 6, 9
MAX_POOL, MUL, RELU, RESHAPE, RESIZE, PAD, PRELU, DENSIFY = 17, 18, 19, 22, 23, 34, 54, 124
KINDS = {
    "int8": "Int8",
    "uint8": "Uint8",
    "int32": "Int32",
    "uint32": "Uint32",
    "bool": "Bool",
    "float32": "Float32",
}


def written(root: dict[int, Any]) -> bytes:
    """A table with all below it: numbers are pairs (kind, value), arrays vectors, lists vectors of tables."""
    from flatbuffers import Builder

    builder = Builder(1024)
    builder.Finish(_table(builder, root), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _table(builder: Any, fields: dict[int, Any]) -> int:
    held = {slot: _held(builder, value) for slot, value in fields.items() if not isinstance(value, tuple)}
    builder.StartObject(max(fields, default=0) + 1)
    for slot, value in fields.items():
        if isinstance(value, tuple):
            kind, plain = value
            getattr(builder, f"Prepend{KINDS[kind]}Slot")(slot, plain, None)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, held[slot], 0)
    return int(builder.EndObject())


def _held(builder: Any, value: Any) -> int:
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, dict):
        return _table(builder, value)
    if isinstance(value, np.ndarray):
        return int(builder.CreateNumpyVector(value))
    offsets = [_table(builder, each) for each in value]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


class Model:
    """A file with one subgraph, value by value and operator by operator."""

    def __init__(self, *shape: int) -> None:
        self.buffers: list[dict[int, Any]] = [{}]
        self.tensors: list[dict[int, Any]] = []
        self.operators: list[dict[int, Any]] = []
        self.codes: list[int] = []
        self.input = self.value("x", shape)

    def value(self, name: str, shape: tuple[int, ...], kind: int = FLOAT32, **more: Any) -> int:
        """A value; ``data`` makes a constant of it, ``sparsity`` a sparse one."""
        fields: dict[int, Any] = {
            0: np.array(shape, np.int32),
            1: ("int8", kind),
            2: ("uint32", len(self.buffers) if "data" in more else 0),
            3: name,
        }
        if "data" in more:
            self.buffers.append({0: np.frombuffer(np.ascontiguousarray(more["data"]).tobytes(), np.uint8)})
        for slot, key in ((4, "quantization"), (6, "sparsity")):
            if key in more:
                fields[slot] = more[key]
        self.tensors.append(fields)
        return len(self.tensors) - 1

    def constant(self, data: Any, kind: int = FLOAT32, **more: Any) -> int:
        """A value whose numbers are in the file."""
        return self.value(f"c{len(self.tensors)}", data.shape, kind, data=data, **more)

    def add(
        self, code: int, reads: list[int], shape: tuple[int, ...], options: dict[int, Any] | None = None
    ) -> int:
        """An operator; the number of its result."""
        made = self.value(f"v{len(self.tensors)}", shape)
        self.codes.append(code)
        fields: dict[int, Any] = {
            0: ("uint32", len(self.codes) - 1),
            1: np.array(reads, np.int32),
            2: np.array([made], np.int32),
        }
        if options is not None:
            fields |= {3: ("uint8", 1), 4: options}
        self.operators.append(fields)
        return made

    def bytes(self, *outputs: int) -> bytes:
        """The whole file."""
        graph = {
            0: self.tensors,
            1: np.array([self.input], np.int32),
            2: np.array(outputs, np.int32),
            3: self.operators,
        }
        codes = [{0: ("int8", min(code, 127)), 3: ("int32", code)} for code in self.codes]
        return written({0: ("uint32", 3), 1: codes, 2: [graph], 4: self.buffers})


def sparsity(
    order: list[int], levels: list[int | tuple[Any, Any]], blocks: tuple[int, ...] = (), kind: str = "uint8"
) -> dict[int, Any]:
    """The description of a sparse tensor: a size is a dense level, (segments, indices) a compressed one."""
    union = {"int32": 1, "uint16": 2, "uint8": 3}[kind]
    made: list[dict[int, Any]] = []
    for level in levels:
        if isinstance(level, int):
            made.append({0: ("int8", 0), 1: ("int32", level)})
            continue
        segments, indices = ({0: np.array(each, kind)} for each in level)
        made.append({0: ("int8", 1), 2: ("uint8", union), 3: segments, 4: ("uint8", union), 5: indices})
    found: dict[int, Any] = {0: np.array(order, np.int32), 2: made}
    return found | ({1: np.array(blocks, np.int32)} if blocks else {})
