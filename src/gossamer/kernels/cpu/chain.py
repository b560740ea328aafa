"""A frozen network as one call into the compiled core. Works on torch tensors and on NumPy arrays alone."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from gossamer.errors import DtypeError, KernelUnavailable, ShapeError
from gossamer.kernels.cpu import library, pack
from gossamer.kernels.cpu.check import check_index
from gossamer.kernels.operands import dtype_name, packed


class Chain:
    """Layers run in order, ``activation(W x + bias)`` each, in one call; forward only. Threads may share one.

    Args:
        layers: one mapping a layer: ``layout`` str, ``shape`` ints, ``values`` [>= used], ``index`` sequence
            of integer tensors (empty for ``"dense"``); optionally ``bias`` [n_out], ``activation`` (None,
            ``"relu"``, ``"leaky_relu"`` with a ``slope``) and, for int8 values, ``scale`` [n_out] float32. All
            float32 or all float64 (``"nm_lanes"`` and ``"dense"``: float32); beside float32 also bfloat16 or int8
            values (``"nm_bytes"``: int8 alone). All contiguous, on the CPU; their memory is kept alive and read, not
            copied, and must not change its size.
        isa: instruction set by name, or None for the best one.

    Raises:
        ShapeError: layers that do not fit each other, or operands that are not contiguous.
        DtypeError: layers of different dtypes.
        TopologyError: an index that does not describe a valid topology (each is scanned once, here).
        KernelUnavailable: no compiled core, or an instruction set that is not there.

    Cost: a call allocates its output, and two activations of the widest layer once a thread and batch size.

    Example:
        >>> import numpy as np
        >>> one = np.ones(1, np.float32)
        >>> layer = {"layout": "dense", "shape": [1, 1], "values": one, "index": [], "activation": "relu"}
        >>> net = Chain([layer])
        >>> net(np.array([[-1.0], [2.0]], np.float32)).tolist()
        [[0.0], [2.0]]
    """

    def __init__(self, layers: Sequence[Mapping[str, Any]], *, isa: str | None = None) -> None:
        core = library.core()
        if isa is not None and isa not in library.available_isas():
            raise KernelUnavailable("Chain", expected=f"one of {library.available_isas()}", got=isa)
        if not layers:
            raise ShapeError("Chain", expected="at least one layer", got="none")
        self._isa = -1 if isa is None else library.ISAS[isa]
        self._dtype = pack.computed(layers[0]["values"])
        self._held: list[Any] = []
        self._packed, self._count = b"".join([self._layer(layer) for layer in layers]), len(layers)
        self._sizes, self._forward, self._own = (
            core.gs_chain_workspace,
            core.gs_chain_forward,
            threading.local(),
        )
        self._room(1)
        self.n_in, self.n_out = layers[0]["shape"][1], layers[-1]["shape"][0]

    def _layer(self, layer: Mapping[str, Any]) -> bytes:
        """The ``gs_layer`` of one mapping, checked."""
        layout, shape, activation = layer["layout"], layer["shape"], layer.get("activation")
        if activation not in pack.ACTIVATIONS:
            known = ", ".join(map(repr, pack.ACTIVATIONS))
            raise ShapeError("Chain", expected=f"an activation of {known}", got=repr(activation))
        values, index = (
            self._hold("values", layer["values"]),
            [self._hold("index", i) for i in layer["index"]],
        )
        if pack.computed(values) != self._dtype:
            got = dtype_name(values)
            raise DtypeError("Chain", expected=f"values that go with {self._dtype}", got=got)
        if values.ndim != 1:
            raise ShapeError("Chain", expected="flat values", got=f"{tuple(values.shape)}")
        check_index(values, index, layout, shape)
        bias, scale = (self._vector(name, layer.get(name), shape[0]) for name in ("bias", "scale"))
        if scale is None and dtype_name(values) == "int8":
            raise DtypeError("Chain", expected="a scale with int8 values", got="none")
        matrix, at_bias = (
            pack.matrix(values, index, layout, shape, scale),
            0 if bias is None else pack.address(bias),
        )
        return pack.LAYER.pack(*matrix, at_bias, pack.ACTIVATIONS[activation], float(layer.get("slope", 0.0)))

    def _vector(self, name: str, vector: Any, n_out: int) -> Any:
        """One number for each neuron, of the layers' dtype; or None."""
        if vector is None:
            return None
        if tuple(vector.shape) != (n_out,):
            raise ShapeError("Chain", expected=f"{name} [{n_out}]", got=f"{tuple(vector.shape)}")
        if dtype_name(vector) != self._dtype:
            raise DtypeError("Chain", expected=f"{name} of {self._dtype}", got=dtype_name(vector))
        return self._hold(name, vector)

    def _hold(self, name: str, array: Any) -> Any:
        """The array as kernels may read it, kept alive; a tensor by its memory, whatever it is pointed at later."""
        array = pack.resolved(array)
        if not packed(array):
            hint = "make a contiguous copy of it"
            raise ShapeError("Chain", expected=f"contiguous {name}", got="one with other strides", hint=hint)
        self._held.append(array.detach() if hasattr(array, "detach") else array)
        return self._held[-1]

    def _room(self, batch: int) -> tuple[int, Any, int, int]:
        """Batch, workspace, its address and bytes: one a thread, for the batch size that came last."""
        size = ctypes.c_size_t()
        status = self._sizes(self._packed, self._count, batch, ctypes.byref(size))
        if status:
            expected, got = "layers that fit each other", library.status_text(status)
            raise ShapeError("Chain", expected=expected, got=got)
        room = ctypes.create_string_buffer(size.value + 64)
        made = (batch, room, (ctypes.addressof(room) + 63) // 64 * 64, size.value)
        self._own.room = made
        return made

    def __call__(self, x: Any, residual: Any = None) -> Any:
        """Run the chain.

        Args:
            x: [batch, n_in], the layers' dtype - tensor or array.
            residual: [batch, n_out], like x, added to the last layer before its activation; or None.

        Returns:
            [batch, n_out] of the same kind, a transposed view of [n_out, batch] memory.

        Raises:
            ShapeError: x or residual of another shape.
            DtypeError: x or residual of another dtype.
        """
        batch = x.shape[0] if x.ndim else 0
        x, panel = self._panel("x", x, (batch, self.n_in))
        more = None
        if residual is not None:
            residual, more = self._panel("residual", residual, (batch, self.n_out), by_feature=True)
        out, at_out = _empty(x, batch, self.n_out)
        room = getattr(self._own, "room", None)
        if room is None or room[0] != batch:
            room = self._room(batch)
        status = self._forward(
            self._packed, self._count, self._isa, batch, panel, more, at_out, batch, room[2], room[3],
            library.parallel_for(),
        )  # fmt: skip
        if status:
            raise ShapeError("Chain", expected="operands that fit", got=library.status_text(status))
        return out

    def _panel(
        self, name: str, x: Any, shape: tuple[int, int], *, by_feature: bool = False
    ) -> tuple[Any, bytes]:
        """A checked operand in a memory order the core reads, copied where it has another, and its ``gs_panel``."""
        if x.shape != shape:
            raise ShapeError("Chain", expected=f"{name} [batch, {shape[1]}]", got=f"{tuple(x.shape)}")
        if pack.name_of(x.dtype) != self._dtype:
            raise DtypeError("Chain", expected=f"{name} of {self._dtype}", got=dtype_name(x))
        x, strides = pack.strided(x)
        if (by_feature and strides[0] != 1 and shape[0] > 1) or (1 not in strides and min(shape) > 1):
            x, strides = pack.strided(pack.copied(x.T).T if by_feature else pack.copied(x))
        return x, pack.PANEL.pack(pack.address(x), strides[1], strides[0])


def _empty(like: Any, batch: int, n_out: int) -> tuple[Any, int]:
    """Uninitialised [batch, n_out] in feature-major memory, of the same kind, and its address."""
    if hasattr(like, "data_ptr"):
        out = _empty_strided()((batch, n_out), (1, batch), dtype=like.dtype, device=like.device)
        return out, out.data_ptr()
    import numpy as np

    array = np.empty((n_out, batch), like.dtype)
    return array.T, array.ctypes.data


@cache
def _empty_strided() -> Any:
    """Torch's, looked up once: this module imports no torch."""
    from torch import empty_strided

    return empty_strided
