"""A frozen network as one call into the compiled core. Works on torch tensors and on NumPy arrays alone."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

from gossamer.errors import DtypeError, KernelUnavailable, ShapeError
from gossamer.kernels.cpu import library, pack


class Chain:
    """Layers run in order, ``activation(W x + bias)`` each, in one call; forward only.

    Args:
        layers: one mapping a layer: ``layout`` str, ``shape`` ints, ``values`` [>= used], ``index`` sequence
            of integer tensors (empty for ``"dense"``); optionally ``bias`` [n_out], ``activation`` (None,
            ``"relu"``, ``"leaky_relu"`` with a ``slope``) and, for int8 values, ``scale`` [n_out] float32. All
            float32 or all float64 (``"nm_lanes"`` and ``"dense"``: float32); beside float32 also bfloat16 or int8
            values (not ``"dense"``; ``"nm_bytes"``: int8 alone). All contiguous; kept alive, not copied.
        isa: instruction set by name, or None for the best one.

    Raises:
        ShapeError: layers that do not fit each other.
        DtypeError: layers of different dtypes.
        TopologyError: an index that does not describe a valid topology (each is scanned once, here).
        KernelUnavailable: no compiled core, or an instruction set that is not there.

    Cost: a call allocates its output, and two activations of the widest layer once a batch size.

    Example:
        >>> import numpy as np
        >>> one = np.ones(1, np.float32)
        >>> layer = {"layout": "dense", "shape": [1, 1], "values": one, "index": [], "activation": "relu"}
        >>> net = Chain([layer])
        >>> net(np.array([[-1.0], [2.0]], np.float32)).tolist()
        [[0.0], [2.0]]
    """

    def __init__(self, layers: Sequence[Mapping[str, Any]], *, isa: str | None = None) -> None:
        from gossamer.kernels.cpu.check import check_index

        self._core = library.core()
        if isa is not None and isa not in library.available_isas():
            raise KernelUnavailable("Chain", expected=f"one of {library.available_isas()}", got=isa)
        self._isa = -1 if isa is None else library.ISAS[isa]
        self._layers = [dict(layer) for layer in layers]
        self._dtype = pack.computed(self._layers[0]["values"])
        packed = b""
        for layer in self._layers:
            bias, scale, activation = layer.get("bias"), layer.get("scale"), layer.get("activation")
            if activation not in pack.ACTIVATIONS:
                known = ", ".join(map(repr, pack.ACTIVATIONS))
                raise ShapeError("Chain", expected=f"an activation of {known}", got=repr(activation))
            if pack.computed(layer["values"]) != self._dtype:
                got = pack.dtype_name(layer["values"])
                raise DtypeError("Chain", expected=f"values that go with {self._dtype}", got=got)
            if scale is None and pack.dtype_name(layer["values"]) == "int8":
                raise DtypeError("Chain", expected="a scale with int8 values", got="none")
            for name, vector in (("bias", bias), ("scale", scale)):
                self._check_vector(name, vector, layer["shape"][0])
            check_index(layer["values"], layer["index"], layer["layout"], layer["shape"])
            matrix = pack.matrix(layer["values"], layer["index"], layer["layout"], layer["shape"], scale)
            at_bias = 0 if bias is None else pack.address(bias)
            packed += pack.LAYER.pack(*matrix, at_bias, pack.ACTIVATIONS[activation], layer.get("slope", 0.0))
        self._packed, self._count = packed, len(self._layers)
        self._workspace: tuple[int, Any, int] = (-1, None, 0)
        self._room(1)
        self.n_in, self.n_out = self._layers[0]["shape"][1], self._layers[-1]["shape"][0]

    def _check_vector(self, name: str, vector: Any, n_out: int) -> None:
        """One number for each neuron, of the layers' dtype."""
        if vector is None:
            return
        if tuple(vector.shape) != (n_out,):
            raise ShapeError("Chain", expected=f"{name} [{n_out}]", got=f"{tuple(vector.shape)}")
        if pack.dtype_name(vector) != self._dtype:
            raise DtypeError("Chain", expected=f"{name} of {self._dtype}", got=pack.dtype_name(vector))

    def _room(self, batch: int) -> tuple[int, int]:
        """Address and bytes of the workspace for one batch size."""
        if self._workspace[0] != batch:
            size = ctypes.c_size_t()
            status = self._core.gs_chain_workspace(self._packed, self._count, batch, ctypes.byref(size))
            if status:
                raise ShapeError(
                    "Chain", expected="layers that fit each other", got=library.status_text(status)
                )
            self._workspace = (batch, ctypes.create_string_buffer(size.value + 64), size.value)
        return (ctypes.addressof(self._workspace[1]) + 63) // 64 * 64, self._workspace[2]

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
        batch = int(x.shape[0]) if x.ndim else 0
        x, panel = self._panel("x", x, (batch, self.n_in))
        more = b""
        if residual is not None:
            residual, more = self._panel("residual", residual, (batch, self.n_out), by_feature=True)
        out = _empty(x, self.n_out, batch)
        room, size = self._room(batch)
        status = self._core.gs_chain_forward(
            self._packed, self._count, self._isa, batch, panel, more or None,
            pack.address(out), batch, room, size, library.parallel_for(),
        )  # fmt: skip
        if status:
            raise ShapeError("Chain", expected="operands that fit", got=library.status_text(status))
        return out.T

    def _panel(
        self, name: str, x: Any, shape: tuple[int, int], *, by_feature: bool = False
    ) -> tuple[Any, bytes]:
        """A checked operand in a memory order the core reads, copied where it has another, and its ``gs_panel``."""
        if tuple(x.shape) != shape:
            raise ShapeError("Chain", expected=f"{name} [batch, {shape[1]}]", got=f"{tuple(x.shape)}")
        if pack.dtype_name(x) != self._dtype:
            raise DtypeError("Chain", expected=f"{name} of {self._dtype}", got=pack.dtype_name(x))
        strides = _strides(x)
        if (by_feature and strides[0] != 1 and shape[0] > 1) or (1 not in strides and min(shape) > 1):
            x = _copy(x.T).T if by_feature else _copy(x)
            strides = _strides(x)
        return x, pack.PANEL.pack(pack.address(x), strides[1], strides[0])


def _strides(x: Any) -> tuple[int, ...]:
    """In elements, of a tensor or an array."""
    return tuple(x.stride()) if hasattr(x, "data_ptr") else tuple(s // x.itemsize for s in x.strides)


def _copy(x: Any) -> Any:
    """Contiguous."""
    return x.contiguous() if hasattr(x, "data_ptr") else x.copy()


def _empty(like: Any, *shape: int) -> Any:
    """Uninitialised, of the same kind."""
    if hasattr(like, "data_ptr"):
        return like.new_empty(shape)
    import numpy as np

    return np.empty(shape, like.dtype)
