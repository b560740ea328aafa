"""Honest accounting: connections, bytes, operations, time, memory. A leaf: it imports only the errors."""

from gossamer.measure.accounting import LayerCount, count
from gossamer.measure.flops import size_bits, training_flops
from gossamer.measure.machine import machine
from gossamer.measure.memory import Peak, peak_memory
from gossamer.measure.timing import Timing, alternate, threads

__all__ = [
    "LayerCount",
    "Peak",
    "Timing",
    "alternate",
    "count",
    "machine",
    "peak_memory",
    "size_bits",
    "threads",
    "training_flops",
]
