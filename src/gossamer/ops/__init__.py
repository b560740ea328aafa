"""Sparse products as torch operators on flat tensors: schemas, autograd, and the checked public function."""

from gossamer.kernels import dense_of, explain, transposed_of
from gossamer.ops import schemas
from gossamer.ops.public import linear

__all__ = ["dense_of", "explain", "linear", "schemas", "transposed_of"]
