"""A frozen network as one call into the compiled core. Works on torch tensors and on NumPy arrays alone."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from gossamer.errors import DtypeError, KernelUnavailable, ShapeError
from gossamer.kernels.cpu import library, pack
from gossamer.kernels.cpu.check import check_index
from gossamer.kernels.operands import dtype_name, packed


class _Sized(NamedTuple):
    """What calls of one batch size share: how outputs are made, and a workspace."""

    batch: int
    kind: Any  # of the inputs that may come again; None: arrays, which are read anew in every call
    empty: Callable[[], Any]
    address: Callable[[Any], int]
    room: Any
    at: int
    bytes: int


class _Ready(NamedTuple):
    """What the last call leaves to the next one whose input lies in memory in the same way."""

    kind: Any
    shape: tuple[int, ...]
    dtype: Any
    strides: tuple[int, ...]
    call: bytes  # a ``gs_chain``; the workspace in it lives as long as ``sized``
    sized: Any  # _Sized; None before the first call


class _Own(threading.local):
    """A thread's own; threads do not meet in one workspace."""

    ready = _Ready(None, (), None, (), b"", None)


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
        structs = b"".join([self._layer(layer) for layer in layers])
        self._layers, self._count = ctypes.create_string_buffer(structs, len(structs)), len(layers)
        self._sizes, self._forward, self._own = core.gs_chain_workspace, core.gs_chain_forward, _Own()
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

    def _room(self, batch: int) -> tuple[Any, int, int]:
        """Workspace for a batch size, its address and bytes."""
        size = ctypes.c_size_t()
        status = self._sizes(self._layers, self._count, batch, ctypes.byref(size))
        if status:
            expected, got = "layers that fit each other", library.status_text(status)
            raise ShapeError("Chain", expected=expected, got=got)
        room = ctypes.create_string_buffer(size.value + 64)
        return room, (ctypes.addressof(room) + 63) // 64 * 64, size.value

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
        ready, more = self._own.ready, 0
        kind, shape, dtype, strides, call, sized = ready
        try:
            same = (
                residual is None
                and type(x) is kind
                and x.shape == shape
                and x.dtype is dtype
                and x.is_cpu
                and x.stride() == strides
                and not x.is_neg()
            )
            at = x.data_ptr() if same else 0
        except RuntimeError:  # no strides or no memory, which is refused below
            at = 0
        if not at:
            x, residual, call, sized = self._prepared(x, residual)
            at, more = sized.address(x), 0 if residual is None else sized.address(residual)
        out = sized.empty()
        status = self._forward(call, at, more, sized.address(out))
        if status:
            raise ShapeError("Chain", expected="operands that fit", got=library.status_text(status))
        return out

    def _prepared(self, x: Any, residual: Any) -> tuple[Any, Any, bytes, _Sized]:
        """The operands, checked and in a memory order that the core reads; and what this thread keeps of the call."""
        batch, stride = x.shape[0] if x.ndim else 0, 0
        x, (along_batch, along) = self._operand("x", x, (batch, self.n_in))
        if residual is not None:
            residual, (_, stride) = self._operand("residual", residual, (batch, self.n_out), by_feature=True)
        sized, kind = self._own.ready.sized, _kind(x)
        if sized is None or sized.batch != batch or sized.kind is not kind:
            sized = _Sized(batch, kind, *_outputs(x, batch, self.n_out), *self._room(batch))
        call = pack.CHAIN.pack(
            ctypes.addressof(self._layers), self._count, self._isa, batch, along, along_batch, stride, batch, sized.at,
            sized.bytes, library.parallel_for(),
        )  # fmt: skip
        self._own.ready = _Ready(kind, (batch, self.n_in), x.dtype, (along_batch, along), call, sized)
        return x, residual, call, sized

    def _operand(
        self, name: str, x: Any, shape: tuple[int, int], *, by_feature: bool = False
    ) -> tuple[Any, tuple[int, ...]]:
        """A checked operand in a memory order the core reads, copied where it has another, and its strides."""
        if x.shape != shape:
            raise ShapeError("Chain", expected=f"{name} [batch, {shape[1]}]", got=f"{tuple(x.shape)}")
        if pack.name_of(x.dtype) != self._dtype:
            raise DtypeError("Chain", expected=f"{name} of {self._dtype}", got=dtype_name(x))
        x, strides = pack.strided(x)
        pack.address(x)  # refuses what has no memory
        if (by_feature and strides[0] != 1 and shape[0] > 1) or (1 not in strides and min(shape) > 1):
            x, strides = pack.strided(pack.copied(x.T).T if by_feature else pack.copied(x))
        return x, strides


def _kind(x: Any) -> Any:
    """torch.Tensor for a tensor of any type, None for an array: this module imports no torch."""
    return sys.modules["torch"].Tensor if hasattr(x, "data_ptr") else None


def _outputs(like: Any, batch: int, n_out: int) -> tuple[Callable[[], Any], Callable[[Any], int]]:
    """What makes uninitialised [batch, n_out] in feature-major memory, of the same kind, and what gives its address."""
    if hasattr(like, "data_ptr"):
        import torch

        template = torch.empty_strided((batch, n_out), (1, batch), dtype=like.dtype, device=like.device)
        template.untyped_storage().resize_(
            0
        )  # a copy of its sizes and strides is the quickest of torch's ways
        return partial(torch.empty_like, template), torch.Tensor.data_ptr
    import numpy as np

    dtype = like.dtype
    return lambda: np.empty((n_out, batch), dtype).T, pack.address
