"""Files of TFLite: tables, sparse tensors, operators."""

import gossamer.importing.tflite.nodes  # noqa: F401 (fills the table of operators)
from gossamer.importing.tflite.build import build
from gossamer.importing.tflite.file import MAGIC, File

__all__ = ["MAGIC", "File", "build"]
