"""Sparse products as torch operators on flat tensors: schemas, autograd, and the checked public function."""

from gossamer.kernels import dense_of, explain, transposed_bytes, transposed_of
from gossamer.ops import batched, flops, forward_mode, schemas
from gossamer.ops.dropout import leaky_dropout
from gossamer.ops.public import linear
from gossamer.ops.sparse_input import ByInput, by_input, linear_of_sparse
from gossamer.ops.stored import stored_connections

__all__ = [
    "ByInput",
    "batched",
    "by_input",
    "dense_of",
    "explain",
    "flops",
    "forward_mode",
    "leaky_dropout",
    "linear",
    "linear_of_sparse",
    "schemas",
    "stored_connections",
    "transposed_bytes",
    "transposed_of",
]
