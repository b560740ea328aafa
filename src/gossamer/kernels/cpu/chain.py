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
            of integer tensors (empty for ``"dense"``); optionally ``bias`` [n_out] and ``activation`` (None,
            ``"relu"``). All float32 or all float64 (``"nm_lanes"`` and ``"dense"``: float32), all contiguous;
            kept alive, not copied.
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
        packed = b""
        for layer in self._layers:
            bias, activation = layer.get("bias"), layer.get("activation")
            if activation not in pack.ACTIVATIONS:
                raise ShapeError("Chain", expected="activation None or 'relu'", got=repr(activation))
            if bias is not None and tuple(bias.shape) != (layer["shape"][0],):
                raise ShapeError("Chain", expected=f"bias [{layer['shape'][0]}]", got=f"{tuple(bias.shape)}")
            for tensor in (layer["values"], bias):
                if tensor is not None and pack.dtype_name(tensor) != pack.dtype_name(
                    self._layers[0]["values"]
                ):
                    raise DtypeError(
                        "Chain", expected="one dtype for all layers", got=pack.dtype_name(tensor)
                    )
            check_index(layer["values"], layer["index"], layer["layout"], layer["shape"])
            matrix = pack.matrix(layer["values"], layer["index"], layer["layout"], layer["shape"])
            packed += pack.LAYER.pack(
                *matrix, 0 if bias is None else pack.address(bias), pack.ACTIVATIONS[activation]
            )
        self._packed, self._count = packed, len(self._layers)
        self._workspace: tuple[int, Any, int] = (-1, None, 0)
        self._room(1)
        self.n_in, self.n_out = self._layers[0]["shape"][1], self._layers[-1]["shape"][0]
        self._dtype = pack.dtype_name(self._layers[0]["values"])

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

    def __call__(self, x: Any) -> Any:
        """Run the chain.

        Args:
            x: [batch, n_in], the layers' dtype - tensor or array.

        Returns:
            [batch, n_out] of the same kind, a transposed view of [n_out, batch] memory.

        Raises:
            ShapeError: x of another shape.
            DtypeError: x of another dtype.
        """
        if x.ndim != 2 or x.shape[1] != self.n_in:
            raise ShapeError("Chain", expected=f"x [batch, {self.n_in}]", got=f"{tuple(x.shape)}")
        if pack.dtype_name(x) != self._dtype:
            raise DtypeError("Chain", expected=f"x of {self._dtype}", got=pack.dtype_name(x))
        batch = int(x.shape[0])
        if hasattr(x, "data_ptr"):
            out = x.new_empty((self.n_out, batch))
            strides = x.stride()
        else:
            import numpy as np

            out = np.empty((self.n_out, batch), x.dtype)
            strides = tuple(s // x.itemsize for s in x.strides)
        if 1 not in strides and batch > 1 and self.n_in > 1:
            x = x.contiguous() if hasattr(x, "contiguous") else x.copy()
            strides = (self.n_in, 1)
        room, size = self._room(batch)
        status = self._core.gs_chain_forward(
            self._packed, self._count, self._isa, batch,
            pack.PANEL.pack(pack.address(x), strides[1], strides[0]),
            pack.address(out), batch, room, size, library.parallel_for(),
        )  # fmt: skip
        if status:
            raise ShapeError("Chain", expected="operands that fit", got=library.status_text(status))
        return out.T
