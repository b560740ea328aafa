"""Honest accounting: bytes, operations, time, memory. A leaf: it imports only the errors."""

from gossamer.measure.flops import size_bits, training_flops
from gossamer.measure.held import nbytes
from gossamer.measure.machine import machine
from gossamer.measure.peak import Peak, peak_memory
from gossamer.measure.room import available_memory, require_memory
from gossamer.measure.step import StepMemory, memory
from gossamer.measure.timing import Timing, alternate, threads

__all__ = [
    "Peak",
    "StepMemory",
    "Timing",
    "alternate",
    "available_memory",
    "machine",
    "memory",
    "nbytes",
    "peak_memory",
    "require_memory",
    "size_bits",
    "threads",
    "training_flops",
]
