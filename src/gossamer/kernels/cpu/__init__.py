"""Bindings to the compiled core (``csrc/``). Importing this package imports no torch."""

from gossamer.kernels.cpu.chain import Chain
from gossamer.kernels.cpu.check import check_index
from gossamer.kernels.cpu.growth import CompiledSelector, Factors, pack_inputs
from gossamer.kernels.cpu.library import available_isas, kernel_names

__all__ = [
    "Chain",
    "CompiledSelector",
    "Factors",
    "available_isas",
    "check_index",
    "kernel_names",
    "pack_inputs",
]
