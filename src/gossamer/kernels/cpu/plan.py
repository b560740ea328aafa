"""A whole network as one call into the compiled core, on tensors of torch and arrays of NumPy alike."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from time import perf_counter
from typing import Any

import numpy as np

from gossamer.errors import KernelUnavailable, ShapeError
from gossamer.kernels.cpu import library, pack
from gossamer.kernels.cpu.steps import CALL, PLAN, Step
from gossamer.layouts.arrays import Array, unset


class NativePlan:
    """Steps over planes of one image, run for every image of a batch. Threads may share it.

    Args:
        steps: Steps, in order.
        arena: int - floats of the memory that steps hand to each other.
        sizes: floats of one image in each input, then in each output.
        inputs: int - how many of them are inputs.
        isa: instruction set by name, or None for the best one.

    Raises:
        ShapeError: steps that would leave their memory, or that do not fit each other.
        KernelUnavailable: no compiled core, or an instruction set that is not there.

    Cost: an arena for every image that is computed at a time; they are kept for later calls.

    Example:
        >>> from gossamer.kernels.cpu.steps import View
        >>> x, y = (View(memory, 0, 2, 2, 0, 1, 1, 2) for memory in (1, 2))
        >>> plan = NativePlan([Step("map", "relu", x, y, activation="relu")], 0, [2, 2], 1)
        >>> given, made = np.array([[-1.0, 2.0]], np.float32), np.empty((1, 2), np.float32)
        >>> plan([given], [made], 1)
        >>> made.tolist()
        [[0.0, 2.0]]
    """

    def __init__(
        self, steps: Sequence[Step], arena: int, sizes: Sequence[int], inputs: int, *, isa: str | None = None
    ) -> None:
        core = library.core()
        if isa is not None and isa not in library.available_isas():
            raise KernelUnavailable("plan", expected=f"one of {library.available_isas()}", got=isa)
        self.steps, self.arena, self.inputs = tuple(steps), arena, inputs
        self._held = [step.held() for step in steps]
        number = -1 if isa is None else library.ISAS[isa]
        self._rooms = [_room(step, number) for step in steps]
        at_rooms = [0 if room is None else int(room.ctypes.data) for room in self._rooms]
        structs = b"".join([step.packed(at) for step, at in zip(steps, at_rooms, strict=True)])
        self._structs = ctypes.create_string_buffer(structs, max(len(structs), 1))
        self._sizes = (ctypes.c_int64 * len(sizes))(*sizes)
        at = ctypes.addressof(self._structs), len(steps), arena, ctypes.addressof(self._sizes), len(sizes)
        self._plan = PLAN.pack(*at, number)
        self._run, self._guard, self._free = core.gs_plan_run, threading.Lock(), list[Array]()
        status = core.gs_plan_prepare(self._plan)
        if status:
            raise ShapeError(
                "plan", expected="steps that stay in their memory", got=library.status_text(status)
            )

    @property
    def memory(self) -> int:
        """Bytes of what was made of the weights, and of the arenas that are kept, of one at least."""
        rooms = sum(room.nbytes for room in self._rooms if room is not None)
        return rooms + 4 * self.arena * max(len(self._free), 1)

    def __call__(
        self, inputs: Sequence[Any], outputs: Sequence[Any], batch: int, *, steps: range | None = None
    ) -> None:
        """Run the plan, or some neighbouring ones of its steps.

        Args:
            inputs: contiguous tensors or arrays of float32, each [batch, sizes[k]] in memory.
            outputs: likewise; they are written.
            batch: int - images.
            steps: which ones; None: all.
        """
        parallel = library.parallel_for()
        width = library.threads() if parallel else 1
        first, last = (0, len(self.steps)) if steps is None else (steps.start, steps.stop)
        count = width if 1 < width <= batch else 1
        with self._arenas(count) as arenas:
            external = _addresses([*inputs, *outputs])
            rooms = _addresses(arenas)
            at = ctypes.addressof(external), ctypes.addressof(rooms)
            status = self._run(self._plan, CALL.pack(batch, *at, count, first, last, parallel))
        if status:
            raise ShapeError("plan", expected="operands that fit", got=library.status_text(status))

    def seconds(self, repeats: int = 5) -> list[float]:
        """The least time of each step for one image of zeros, without that of a call; a few runs of the plan in all."""
        values = [np.zeros(size, np.float32) for size in self._sizes]
        parts = [*(range(number, number + 1) for number in range(len(self.steps))), range(0)]
        least = [inf] * len(parts)
        for number, steps in [*enumerate(parts)] * repeats:
            begin = perf_counter()
            self(values[: self.inputs], values[self.inputs :], 1, steps=steps)
            least[number] = min(least[number], perf_counter() - begin)
        return [max(0.0, taken - least[-1]) for taken in least[:-1]]

    @contextmanager
    def _arenas(self, count: int) -> Iterator[list[Array]]:
        """Arenas that nobody else uses at the time; new ones hold zeros."""
        with self._guard:
            taken = [self._free.pop() for _ in range(min(count, len(self._free)))]
        try:
            while len(taken) < count:
                room = unset((max(self.arena, 1),), np.float32)
                room[:] = 0
                taken.append(room)
            yield taken
        finally:
            with self._guard:
                self._free += taken


def _addresses(operands: Sequence[Any]) -> Any:
    return (ctypes.c_void_p * max(len(operands), 1))(*[pack.address(each) for each in operands])


def _room(step: Step, isa: int) -> Array | None:
    """Memory for what a convolution makes of its weight."""
    product = step.product(isa)
    if product is None:
        return None
    size = ctypes.c_size_t()
    status = library.core().gs_conv_room(*product, ctypes.byref(size))
    if status:
        raise ShapeError(
            f"plan {step.name}", expected="a convolution that fits", got=library.status_text(status)
        )
    return unset((size.value,), np.uint8)
