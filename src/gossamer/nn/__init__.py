"""Layers that hold connections."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.nn.accounting import LayerCount, count
from gossamer.nn.activations import AllReLU, Dropout, all_relus
from gossamer.nn.connections import topologies
from gossamer.nn.conv import MaskedConv1d, MaskedConv2d, SparseConv1d, SparseConv2d
from gossamer.nn.convert import sparsify
from gossamer.nn.dense import DenseLinear
from gossamer.nn.diffusion import DiffusionConv
from gossamer.nn.gates import GateLinear, MaskedGates, SparseGates
from gossamer.nn.linear import MaskedLinear, SparseLinear
from gossamer.nn.packing import pack
from gossamer.nn.polyphase import AdaptivePolyphaseDownsample, Subsample
from gossamer.nn.quantized import InputRounding, Quantized
from gossamer.nn.recurrent import Recurrent
from gossamer.nn.report import LayerReport, OtherReport, SparsifyReport
from gossamer.nn.rnn import GRU, LSTM, RNN
from gossamer.nn.semi_structured import semi_structured_weight
from gossamer.nn.sparse import SparseModule
from gossamer.nn.walk import Walk, WalkGraph

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AdaptivePolyphaseDownsample",
    "AllReLU",
    "DenseLinear",
    "DiffusionConv",
    "Dropout",
    "GateLinear",
    "InputRounding",
    "LayerCount",
    "LayerReport",
    "MaskedConv1d",
    "MaskedConv2d",
    "MaskedGates",
    "MaskedLinear",
    "OtherReport",
    "Quantized",
    "Recurrent",
    "SparseConv1d",
    "SparseConv2d",
    "SparseGates",
    "SparseLinear",
    "SparseModule",
    "SparsifyReport",
    "Subsample",
    "Walk",
    "WalkGraph",
    "all_relus",
    "count",
    "pack",
    "semi_structured_weight",
    "sparsify",
    "topologies",
]
