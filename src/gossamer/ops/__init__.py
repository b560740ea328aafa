"""Sparse products as torch operators on flat tensors: schemas, autograd, and the checked public function."""

from gossamer.kernels import transposed_of
from gossamer.ops import schemas
from gossamer.ops.public import linear

__all__ = ["linear", "schemas", "transposed_of"]
