"""How products are computed: one table of kernels, and the choice among them. Imports no torch."""

from gossamer.kernels.cpu.densified import dense_of, densifying
from gossamer.kernels.cpu.gathers import gathering, gathers
from gossamer.kernels.cpu.transposed import transposed_bytes, transposed_of, transposing
from gossamer.kernels.dispatch import explain, instruction_set, pick, use
from gossamer.kernels.spec import KernelSpec
from gossamer.kernels.table import rows

__all__ = [
    "KernelSpec",
    "dense_of",
    "densifying",
    "explain",
    "gathering",
    "gathers",
    "instruction_set",
    "pick",
    "rows",
    "transposed_bytes",
    "transposed_of",
    "transposing",
    "use",
]
