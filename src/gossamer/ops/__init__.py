"""Sparse products as torch operators on flat tensors: schemas, autograd, and the checked public function."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.kernels import dense_of, explain, transposed_bytes, transposed_of
from gossamer.kernels.operands import used_values
from gossamer.layouts.geometry import Geometry
from gossamer.ops import batched, conv_forward_mode, flops, forward_mode, schemas
from gossamer.ops.convolution import conv
from gossamer.ops.dropout import leaky_dropout
from gossamer.ops.polyphase import circular_blur, strongest_phase, take_phase, take_strongest
from gossamer.ops.public import linear
from gossamer.ops.recurrence import recurrent
from gossamer.ops.recurrent_steps import earlier, widths
from gossamer.ops.recurrent_steps import steps as recurrent_steps
from gossamer.ops.rounding import round_inputs, round_values, rows_of
from gossamer.ops.sampling import sampled
from gossamer.ops.sparse_input import ByInput, by_input, linear_of_sparse

__all__ = [
    "ByInput",
    "Geometry",
    "batched",
    "by_input",
    "circular_blur",
    "conv",
    "conv_forward_mode",
    "dense_of",
    "earlier",
    "explain",
    "flops",
    "forward_mode",
    "leaky_dropout",
    "linear",
    "linear_of_sparse",
    "recurrent",
    "recurrent_steps",
    "round_inputs",
    "round_values",
    "rows_of",
    "sampled",
    "schemas",
    "strongest_phase",
    "take_phase",
    "take_strongest",
    "transposed_bytes",
    "transposed_of",
    "used_values",
    "widths",
]
