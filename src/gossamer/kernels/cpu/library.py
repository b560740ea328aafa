"""The compiled core, found and opened through ctypes. Imports no torch."""

from __future__ import annotations

import ctypes
import importlib.metadata
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from gossamer.errors import KernelUnavailable

ABI_VERSION: Final = 9
BUILD_HINT: Final = (
    "build it with `pip install .` (or `pip install -e .`) in the source folder; a C++17 compiler is needed"
)
ISAS: Final = {"scalar": 0, "avx2": 1, "avx512": 2, "neon": 3}

HALVES: Final = 1  # of gs_unit
MATRIX_UNIT: Final = {  # by gs_matrix_state
    1: "",
    2: "this processor has no matrix unit (AMX)",
    3: "the system does not grant the matrix unit",
    4: "the compiled core has no code for a matrix unit",
}

OF_ONE_STRUCT: Final = (
    "gs_linear", "gs_linear_grad_input", "gs_linear_grad_values", "gs_check_index", "gs_conv_images",
    "gs_conv_grad_input", "gs_conv_grad_values", "gs_recurrent", "gs_recurrent_backward", "gs_plan_prepare",
    "gs_leaky_dropout", "gs_leaky_dropout_backward", "gs_activate", "gs_softmax",
    "gs_mixed_linear", "gs_mixed_gradients",
)  # fmt: skip

_NAMES = {"linux": "libgossamer.so", "darwin": "libgossamer.dylib", "win32": "gossamer.dll"}


def _candidates() -> list[Path]:
    """Where the core may lie: beside this package, or where the distribution recorded it (editable)."""
    name = _NAMES.get(sys.platform, "libgossamer.so")
    places = [Path(__file__).parents[2] / "_core" / name]
    with suppress(importlib.metadata.PackageNotFoundError):
        installed = importlib.metadata.distribution("gossamer")
        places.append(Path(str(installed.locate_file(f"gossamer/_core/{name}"))))
    return places


def _declare(lib: ctypes.CDLL) -> ctypes.CDLL:
    """Argument and result types of every function this package calls."""
    status, pointer, i64 = ctypes.c_int, ctypes.c_void_p, ctypes.c_int64
    for name in OF_ONE_STRUCT:
        function = getattr(lib, name)
        function.argtypes, function.restype = [ctypes.c_char_p], status
    for name in ("gs_transposed_size", "gs_transpose"):
        function = getattr(lib, name)
        function.argtypes, function.restype = [ctypes.c_char_p, ctypes.c_char_p], status
    lib.gs_linear_grad_input_transposed.argtypes = [ctypes.c_char_p, ctypes.c_char_p, pointer]
    lib.gs_linear_grad_input_transposed.restype = status
    lib.gs_to_dense.argtypes, lib.gs_to_dense.restype = [ctypes.c_char_p, pointer, pointer], status
    lib.gs_from_dense.argtypes, lib.gs_from_dense.restype = (
        [ctypes.c_char_p, pointer, pointer, pointer],
        status,
    )
    lib.gs_fingerprint.argtypes, lib.gs_fingerprint.restype = (
        [pointer, i64, ctypes.POINTER(ctypes.c_uint64)],
        status,
    )
    lib.gs_chain_workspace.argtypes = [ctypes.c_char_p, i64, i64, ctypes.POINTER(ctypes.c_size_t)]
    lib.gs_chain_workspace.restype = status
    lib.gs_chain_forward.argtypes = [ctypes.c_char_p, pointer, pointer, pointer]
    lib.gs_chain_forward.restype = status
    lib.gs_conv_room.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_size_t)]
    lib.gs_conv_room.restype = status
    lib.gs_plan_run.argtypes, lib.gs_plan_run.restype = [ctypes.c_char_p, ctypes.c_char_p], status
    lib.gs_grow_in_buckets.argtypes = [ctypes.c_char_p, i64, pointer, pointer, i64]
    lib.gs_grow_above.argtypes = [ctypes.c_char_p, ctypes.c_double, pointer, pointer, i64, pointer]
    lib.gs_grow_best.argtypes = [i64, i64, pointer, pointer, i64, i64, pointer]
    for name in ("gs_grow_in_buckets", "gs_grow_above", "gs_grow_best"):
        getattr(lib, name).restype = status
    for name in ("gs_isa_name", "gs_kernel_name", "gs_status_text"):
        getattr(lib, name).restype = ctypes.c_char_p
    return lib


@cache
def find() -> ctypes.CDLL | None:
    """The compiled core, or None where there is none; `why_missing` says why."""
    for path in _candidates():
        if path.exists():
            lib = ctypes.CDLL(str(path))
            return _declare(lib) if lib.gs_abi_version() == ABI_VERSION else None
    return None


def why_missing() -> str:
    """One sentence on why `find` returned None; empty where it did not."""
    if find() is not None:
        return ""
    there = [str(p) for p in _candidates() if p.exists()]
    if there:
        return f"the compiled core at {there[0]} is of another version than this package"
    return f"no compiled core at {' or '.join(map(str, _candidates()))}"


def core() -> ctypes.CDLL:
    """The compiled core.

    Raises:
        KernelUnavailable: there is none, or it is of another version.
    """
    lib = find()
    if lib is None:
        raise KernelUnavailable(
            "kernels.cpu", expected="the compiled core", got=why_missing(), hint=BUILD_HINT
        )
    return lib


def available_isas() -> tuple[str, ...]:
    """Instruction sets that are compiled in and run here, slowest first; empty without a core."""
    lib = find()
    return () if lib is None else tuple(name for name, i in ISAS.items() if lib.gs_isa_available(i) == 0)


def kernel_names() -> tuple[str, ...]:
    """What the core says it has: ``"op:layout:dtype:isa"``, for the instruction sets that run here."""
    lib = find()
    return () if lib is None else tuple(lib.gs_kernel_name(i).decode() for i in range(lib.gs_kernel_count()))


def matrix_unit() -> str:
    """Why products of tiles do not run on a matrix unit, or "" where they do; their results are the same."""
    lib = find()
    if lib is None:
        return why_missing()
    return MATRIX_UNIT[lib.gs_matrix_unit()]


def half_products() -> str:
    """Why float16 arithmetic does not run on the processor's own, or "" where it does; its results are the same."""
    lib = find()
    if lib is None:
        return why_missing()
    return (
        "" if lib.gs_unit_available(HALVES) == 0 else "this processor has no float16 arithmetic (AVX512-FP16)"
    )


def status_text(status: int) -> str:
    """The core's sentence for a status code."""
    return str(core().gs_status_text(status).decode())


@cache
def _torch_pool() -> int:
    """Address of torch's own parallel_for, or 0 where this torch does not export it."""
    torch = sys.modules["torch"]
    folder = Path(str(torch.__file__)).parent / "lib"
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        if (folder / name).exists():
            lib = ctypes.CDLL(str(folder / name))
            if hasattr(lib, "torch_parallel_for"):
                return ctypes.cast(lib.torch_parallel_for, ctypes.c_void_p).value or 0
    return 0


def parallel_for() -> int:
    """Address of the thread pool: torch's where torch is loaded, else 0 (the calling thread)."""
    return _torch_pool() if sys.modules.get("torch") is not None else 0


def threads() -> int:
    """How many threads the pool has: torch's own number where torch is loaded, else one."""
    torch = sys.modules.get("torch")
    return 1 if torch is None else int(torch.get_num_threads())
