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
from gossamer.kernels.cpu.workspace import workspace
from gossamer.kernels.operands import packed
from gossamer.layouts.arrays import name_of


class _Sized(NamedTuple):
    """What calls of one batch size share: how outputs are made, and how much workspace they need."""

    batch: int
    kind: Any  # of the inputs that may come again; None: arrays, which are read anew in every call
    empty: Callable[[], Any]
    address: Callable[[Any], int]
    needs: int


class _Ready(NamedTuple):
    """What the last call leaves to the next one whose input lies in memory in the same way."""

    kind: Any
    shape: tuple[int, ...]
    dtype: Any
    strides: tuple[int, ...]
    call: bytes  # a ``gs_chain``
    sized: Any  # _Sized; None before the first call
    room: Any  # the workspace that the call points to


class _Own(threading.local):
    """A thread's own; threads do not meet in one workspace."""

    ready = _Ready(None, (), None, (), b"", None, None)


class Chain:
    """Layers run in order, ``activation(W x + bias)`` each, in one call; forward only. Threads may share one.

    Args:
        layers: one mapping a layer: ``layout`` str, ``shape`` ints, ``values`` [>= used], ``index`` sequence
            of integer tensors (empty for ``"dense"``); optionally ``bias`` [n_out], ``activation`` (None or a
            name, ``"leaky_relu"`` and ``"elu"`` with a ``slope``) and, for int8 values, ``scale`` [n_out] float32. All
            float32 or all float64 (``"dense"`` and layouts of many neurons side by side: float32); beside float32 also
            bfloat16 or int8 values (where inputs are rounded: the type of these alone). All contiguous, on the CPU;
            their memory is kept alive and read, not copied, and must not change its size.
        isa: instruction set by name, or None for the best one.

    Raises:
        ShapeError: layers that do not fit each other, or operands that are not contiguous.
        DtypeError: layers of different dtypes.
        TopologyError: an index that does not describe a valid topology (each is scanned once, here).
        KernelUnavailable: no compiled core, or an instruction set that is not there.

    Cost: a call allocates its output. A thread keeps two activations of the widest layer of all its chains.

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
        self._needs(1)
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
            got = name_of(values)
            raise DtypeError("Chain", expected=f"values that go with {self._dtype}", got=got)
        if values.ndim != 1:
            raise ShapeError("Chain", expected="flat values", got=f"{tuple(values.shape)}")
        check_index(values, index, layout, shape)
        bias, scale = (self._vector(name, layer.get(name), shape[0]) for name in ("bias", "scale"))
        if scale is None and name_of(values) == "int8":
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
        if name_of(vector) != self._dtype:
            raise DtypeError("Chain", expected=f"{name} of {self._dtype}", got=name_of(vector))
        return self._hold(name, vector)

    def _hold(self, name: str, array: Any) -> Any:
        """The array as kernels may read it, kept alive; a tensor by its memory, whatever it is pointed at later."""
        array = pack.resolved(array)
        if not packed(array):
            hint = "make a contiguous copy of it"
            raise ShapeError("Chain", expected=f"contiguous {name}", got="one with other strides", hint=hint)
        self._held.append(array.detach() if hasattr(array, "detach") else array)
        return self._held[-1]

    def _needs(self, batch: int) -> int:
        """Bytes of workspace for a batch size."""
        size = ctypes.c_size_t()
        status = self._sizes(self._layers, self._count, batch, ctypes.byref(size))
        if status:
            expected, got = "layers that fit each other", library.status_text(status)
            raise ShapeError("Chain", expected=expected, got=got)
        return size.value

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
        kind, shape, dtype, strides, call, sized, room = ready
        try:
            same = (
                residual is None
                and type(x) is kind
                and room is workspace.room
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
            at, more, call, sized, x, residual = self._prepared(x, residual)
        out = sized.empty()
        status = self._forward(call, at, more, sized.address(out))
        if status:
            raise ShapeError("Chain", expected="operands that fit", got=library.status_text(status))
        return out

    def _prepared(self, x: Any, residual: Any) -> tuple[int, int, bytes, _Sized, Any, Any]:
        """Addresses of the checked operands, what this thread keeps of the call, and the operands as they are read."""
        batch, more, stride = x.shape[0] if x.ndim else 0, 0, 0
        x, at, (along_batch, along) = self._operand("x", x, (batch, self.n_in))
        if residual is not None:
            shape = batch, self.n_out
            residual, more, (_, stride) = self._operand("residual", residual, shape, by_feature=True)
        sized = self._own.ready.sized
        if sized is None or sized.batch != batch or (sized.kind is None) == hasattr(x, "data_ptr"):
            sized = _sized(x, batch, self.n_out, self._needs(batch))
        call = pack.CHAIN.pack(
            ctypes.addressof(self._layers), self._count, self._isa, batch, along, along_batch, stride, batch,
            *workspace.of(sized.needs), library.parallel_for(),
        )  # fmt: skip
        self._own.ready = _Ready(
            sized.kind, (batch, self.n_in), x.dtype, (along_batch, along), call, sized, workspace.room
        )
        return at, more, call, sized, x, residual

    def _operand(
        self, name: str, x: Any, shape: tuple[int, int], *, by_feature: bool = False
    ) -> tuple[Any, int, tuple[int, ...]]:
        """A checked operand in a memory order the core reads, copied where it has another; its address and strides."""
        if x.shape != shape:
            raise ShapeError("Chain", expected=f"{name} [batch, {shape[1]}]", got=f"{tuple(x.shape)}")
        if name_of(x) != self._dtype:
            raise DtypeError("Chain", expected=f"{name} of {self._dtype}", got=name_of(x))
        x, strides = pack.strided(x)
        at = pack.address(x)
        if (by_feature and strides[0] != 1 and shape[0] > 1) or (1 not in strides and min(shape) > 1):
            x, strides = pack.strided(pack.contiguous(x.T).T if by_feature else pack.contiguous(x))
            at = pack.address(x)
        return x, at, strides


def _sized(like: Any, batch: int, n_out: int, needs: int) -> _Sized:
    """For inputs like one: outputs are uninitialised [batch, n_out] in feature-major memory."""
    if hasattr(like, "data_ptr"):
        torch = sys.modules["torch"]  # this module imports none
        empty = partial(torch.empty_strided, (batch, n_out), (1, batch), dtype=like.dtype, device=like.device)
        return _Sized(batch, torch.Tensor, empty, torch.Tensor.data_ptr, needs)
    import numpy as np

    dtype = like.dtype
    return _Sized(batch, None, lambda: np.empty((n_out, batch), dtype).T, pack.address, needs)
