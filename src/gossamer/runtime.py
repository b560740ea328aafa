"""Frozen networks on NumPy arrays: the file, the compiled core, and no torch."""

from __future__ import annotations

from bisect import bisect_left
from copy import copy
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gossamer.errors import DtypeError, KernelUnavailable, ShapeError
from gossamer.measure import require_memory
from gossamer.network import artifact
from gossamer.network.array_steps import ARRAYS
from gossamer.network.calling import arranged
from gossamer.network.exactness import Difference, differences
from gossamer.network.program import programs
from gossamer.network.shapes import Value, follow
from gossamer.network.streaming import Stream, streaming

if TYPE_CHECKING:
    from gossamer.layouts.arrays import Array
    from gossamer.network.graph import Graph
    from gossamer.network.plan import Plan

__all__ = ["Runtime"]

LARGEST_NUMBER_OF_SHAPES = 256  # of inputs that are known to fit
LARGE = 1 << 26  # bytes of a copy, from which the system is asked whether it fits: that takes a while


class Runtime:
    """A frozen network as ``gossamer.save`` wrote it, called with arrays. Threads may share it.

    Args:
        path: str or Path - of the file.
        exact: bool - the same bits as the network has in torch, or an error; False also takes what NumPy computes
            to within rounding: ``rounded`` says where.

    Raises:
        FormatError: damaged, hostile, of an unknown version, or with an unknown operator or layout.
        KernelUnavailable: parts of the network that only torch computes; with ``exact``, parts to which NumPy does
            not give the same bits; or no compiled core. The message names them.
        FileNotFoundError.

    Cost: O(file) time and memory.

    Example:
        >>> import tempfile, torch, gossamer as gs
        >>> file = Path(tempfile.mkdtemp()) / "net.safetensors"
        >>> frozen = gs.freeze(torch.nn.Sequential(torch.nn.Linear(4, 2)), torch.ones(1, 4), keep="csr")
        >>> gs.save(frozen, file)
        >>> net, x = Runtime(file), np.ones((3, 4), np.float32)
        >>> bool((net(x) == frozen(torch.from_numpy(x)).numpy()).all())
        True
    """

    def __init__(self, path: str | Path, *, exact: bool = True) -> None:
        self._prepare(*artifact.read(path), Path(path).name, exact)

    def _prepare(self, graph: Graph, report: Plan, name: str, exact: bool) -> None:
        """Make a network that was read ready to run."""
        self.graph, self.report, self.name, self.exact = graph, report, name, exact
        rows = zip(self.graph.inputs, self.report.inputs, strict=True)
        self._described = {name: Value(row.dtype, tuple(row.shape)) for name, row in rows}
        known = follow(self.graph, self._described, "load")
        found = differences(self.graph, known)
        self._refuse(found)
        self.rounded = tuple(f"{each.node}: {each.what}" for each in found)
        self._programs, self._limits = programs(self.graph, self.report, ARRAYS)
        self._fit = lru_cache(LARGEST_NUMBER_OF_SHAPES)(self._follow)

    def __getstate__(self) -> tuple[Graph, Plan, str, bool]:
        return self.graph, self.report, self.name, self.exact  # copies build their own calls into the core

    def __setstate__(self, state: tuple[Graph, Plan, str, bool]) -> None:
        self._prepare(*state)

    def _refuse(self, found: list[Difference]) -> None:
        """Say what this network has that arrays do not compute as wanted; raises KernelUnavailable."""
        torch_alone = [each for each in found if each.needs_torch]
        refused = torch_alone or (found if self.exact else [])
        if not refused:
            return
        some = ", ".join(f"{each.node!r} ({each.what})" for each in refused[:4])
        more = f" and {len(refused) - 4} more" if len(refused) > 4 else ""
        if torch_alone:
            expected, hint = (
                "what NumPy and the core compute",
                "load it with gossamer.load, which needs torch",
            )
        else:
            expected = "parts to which NumPy gives the same bits as torch"
            hint = "exact=False computes them to within rounding, gossamer.load with torch to the bit"
        raise KernelUnavailable(f"Runtime {self.name}", expected=expected, got=some + more, hint=hint)

    def __call__(self, *given: Any, **named: Any) -> Array:
        """What the network computes.

        Args:
            given: arrays [batch, ...] in the order of the network's inputs, of the types it was frozen with; any
                batch size, any memory order, read-only ones too.
            named: by name.

        Returns:
            Array - new, contiguous.

        Raises:
            ConfigError: an input that is missing, unknown, or given twice.
            DtypeError: not an array, or one of another type. ShapeError: one that does not fit.
            MemoryShortage: a value of the network would not fit into memory; nothing is computed then.

        Cost: one allocation for each value between steps; nothing else is kept but the workspace of a thread.
        """
        names = self.graph.inputs
        if named or len(given) != len(names) or any(value is None for value in given):
            given = arranged(names, given, named, f"Runtime {self.name}")
        arrays = [self._checked(name, value) for name, value in zip(names, given, strict=True)]
        self._fit(*(array.shape for array in arrays))
        arrays = [_readable(array) for array in arrays]
        program = self._programs[bisect_left(self._limits, arrays[0].shape[0])]
        with np.errstate(all="ignore"):  # as torch: what overflows is infinite, and nothing is said
            result = program(*arrays)
        shared = any(np.may_share_memory(result, array) for array in arrays)
        made: Array = result.copy() if shared else np.ascontiguousarray(result)
        return made

    def stream(self) -> Stream:
        """The network with a memory, to be called time by time: recurrent layers go on from the call before.

        Raises:
            ConfigError: no recurrent layer, one that reads backward, or times that mix elsewhere; named.

        Cost: programs of its own; the weights are shared.
        """
        twin = copy(self)
        twin._programs, layers = streaming(self.graph, self.report, ARRAYS)  # noqa: SLF001 (of this class)
        return Stream(self, twin, layers)

    def _checked(self, name: str, value: Any) -> Array:
        """An input of the type that the network takes."""
        dtype, where = self._described[name].dtype, f"Runtime {self.name}"
        if type(value) not in (np.ndarray, np.memmap):  # other subclasses may mean something by their numbers
            hint = (
                "x.numpy() makes an array of a tensor" if hasattr(value, "numpy") else "np.asarray makes one"
            )
            got = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
            raise DtypeError(where, expected=f"{name} as an array of NumPy", got=got, hint=hint)
        if value.dtype != np.dtype(dtype) or not value.dtype.isnative:
            hint = f"x.astype(np.{dtype}) makes one"
            raise DtypeError(where, expected=f"{name} of {dtype}", got=f"{value.dtype!r}", hint=hint)
        if not value.ndim:
            raise ShapeError(
                where, expected=f"{name} [batch, ...]", got="one number", hint="x[None] adds a batch"
            )
        return np.asarray(value)

    def _follow(self, *shapes: tuple[int, ...]) -> None:
        """Refuse shapes that the network cannot take, or memory; raises ShapeError or MemoryShortage."""
        pairs = zip(self._described.items(), shapes, strict=True)
        given = {name: Value(described.dtype, shape) for (name, described), shape in pairs}
        values = follow(self.graph, given, f"Runtime {self.name}, at")
        made = [values[node.name] for node in self.graph.nodes]
        largest = max((prod(value.shape) * np.dtype(value.dtype).itemsize for value in made), default=0)
        require_memory(f"Runtime {self.name}", largest, "a smaller batch, or smaller inputs")

    def __repr__(self) -> str:
        inputs = ", ".join(
            f"{name}: {dtype} [batch{''.join(f', {size}' for size in shape[1:])}]"
            for name, (dtype, shape) in self._described.items()
        )
        return f"Runtime({self.name!r}, {inputs}, {len(self.graph.nodes)} nodes)"


def _readable(array: Array) -> Array:
    """The same numbers in memory that kernels read."""
    flags = array.flags
    ready = flags.aligned and (flags.c_contiguous or flags.f_contiguous)
    if ready:
        return array
    if array.nbytes > LARGE:
        require_memory("Runtime, a copy of an input", array.nbytes, "an array in C order needs none")
    return np.array(array, order="C")
