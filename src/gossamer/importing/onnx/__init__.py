"""Files of ONNX: numbers, nodes."""

import gossamer.importing.onnx.nodes  # noqa: F401 (fills the table of operators)
from gossamer.importing.onnx.build import NotOurs, build
from gossamer.importing.onnx.file import File

__all__ = ["File", "NotOurs", "build"]
