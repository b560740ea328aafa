"""Linear layers that follow each other, in one call into the core; and the operator that stands for it in a trace."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._C import _get_tracing_state
from torch.nn import functional as F

from gossamer import ops
from gossamer.errors import DtypeError, KernelUnavailable, ShapeError, StateError
from gossamer.freezing.core_call import behind
from gossamer.freezing.written import described, reread, written
from gossamer.kernels.reference import coordinates
from gossamer.kernels.scanned import scanned
from gossamer.layouts import Encoded
from gossamer.layouts.values import widened
from gossamer.network.chain_step import ChainStep, Operands, Step
from gossamer.trace.tensors import array_of, dtype_named, tensor_of

if TYPE_CHECKING:
    from gossamer.layouts.geometry import Geometry


class CoreStep(ChainStep):
    """Layers in one call into the core, on tensors; where it is missing, one operator call a layer.

    Example:
        >>> from gossamer.layouts.connections import Connections
        >>> from gossamer.layouts import layout
        >>> import numpy as np
        >>> encoded = layout("csr").encode(Connections((1, 2), np.array([1]), np.ones(1, np.float32)), {})
        >>> CoreStep([Operands(encoded, None, "relu")])(torch.tensor([[5.0, -7.0]])).tolist()
        [[0.0]]
    """

    def __init__(
        self, layers: list[Operands], *, rows: bool | None = False, adds: bool = False, flat: bool = False
    ) -> None:
        self.behind = [behind(layer.activation, layer.slope) for layer in layers]
        super().__init__(layers, rows=rows, adds=adds, flat=flat)
        self.held, self.written = written(self.layers)
        self.dtype = dtype_named(layers[0].form.dtype)

    def made(self, isa: str | None = None) -> Callable[[Any, Any], Any]:
        """The call into the core, or one that goes through the layers."""
        if isa == "reference":
            return self._one_by_one
        try:
            return super().made(isa)
        except (
            KernelUnavailable,
            DtypeError,
        ):  # none here, or not for this type: the operators say so themselves
            for form, *_ in self.layers:
                _scan(form)
            return self._one_by_one

    def _one_by_one(self, x: Tensor, residual: Tensor | None) -> Tensor:
        for number, ((form, bias, *_), after) in enumerate(zip(self.layers, self.behind, strict=True), 1):
            index, values = _tensors(form)
            if form.reads is not None:
                row = array_of(coordinates(index, form.layout, form.dims)[0]).clip(max=form.shape[0] - 1)
                values = tensor_of(widened(form.values, row, form.scale, form.reads))
            held = None if bias is None else tensor_of(bias)
            if form.layout == "dense":  # of which torch has every type
                x = F.linear(x, values.view(form.shape), held)
            else:
                x = ops.linear(x, values, index, held, form.layout, form.dims)
            x = x if residual is None or number < len(self.layers) else x + residual
            x = x if self.adds and number == len(self.layers) else after(x)
        return x

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """[..., n_in], and for a residual [..., n_out], to [..., n_out]."""
        if isinstance(x, Tensor) and x.dim() == 2:  # the chain checks the rest itself
            try:
                y: Tensor = self.chosen()(x, None if self.adds else residual)
            except RuntimeError:  # a layout without strides, or memory that is not there
                self.check(x, self.n_in)
                raise
            return self.ordered(y, residual) if self.rows else y
        return self.as_rows(self.__call__, x, residual)

    def recorded(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """The same as one operator that tracers see."""
        if isinstance(x, Tensor) and x.dim() == 2:
            self.check(x, self.n_in)
            more = None if self.adds else residual
            return self.ordered(torch.ops.gossamer.chain(x, more, self.held, self.written), residual)
        return self.as_rows(self.recorded, x, residual)

    def ordered(self, y: Tensor, residual: Tensor | None) -> Tensor:
        """The result of the core in the order in which it is read, with the residual that it was not given."""
        made: Tensor = super().ordered(y, residual)
        return made

    def as_rows(self, run: Step, x: Tensor, residual: Tensor | None) -> Tensor:
        """Leading dimensions as one."""
        made: Tensor = super().as_rows(run, x, residual)
        return made

    def check(self, x: Tensor, n_in: int, *, flat: bool = False) -> None:
        """Refuse an input that a layer cannot take; raises ShapeError or DtypeError."""
        check(x, n_in, self.dtype, flat=flat)

    def activated(self, y: Tensor) -> Tensor:
        """As the last layer says."""
        return self.behind[-1](y)

    def contiguous(self, y: Tensor) -> Tensor:
        """A copy where rows are not side by side."""
        return y.contiguous()


def _tensors(form: Encoded) -> tuple[list[Tensor], Tensor]:
    """Index and values."""
    return [tensor_of(array) for array in form.index.values()], tensor_of(form.values)


def _scan(form: Encoded) -> None:
    """Refuse what the reference would follow out of its operands; raises ShapeError, DtypeError or TopologyError."""
    index, values = _tensors(form)
    scanned("Chain", values, index, form.layout, form.dims)
    if form.scale is not None and form.scale.shape != form.shape[:1]:
        got = f"{tuple(form.scale.shape)}"
        raise ShapeError("Chain", expected=f"scale [{form.shape[0]}]", got=got)


def check_images(x: Tensor, geometry: Geometry, dtype: str) -> None:
    """Refuse what a convolution cannot take; raises ShapeError or DtypeError."""
    _check_type(x, dtype_named(dtype))
    # Not without a batch: layers behind it would count other dimensions, and a batch norm folded into it refuses it.
    if x.dim() != 4 or (_get_tracing_state() is None and x.shape[1] != geometry.channels):
        expected, hint = f"x [batch, {geometry.channels}, height, width]", ""
        if x.dim() == 3:
            hint = "x.unsqueeze(0) is a batch of one image"
        raise ShapeError("Frozen", expected=expected, got=f"{list(x.shape)}", hint=hint)
    if _get_tracing_state() is None:
        geometry.out_size(x.shape[-2], x.shape[-1])


def _check_type(x: Tensor, dtype: torch.dtype) -> None:
    if not isinstance(x, Tensor) or x.dtype != dtype or not x.is_cpu or x.layout is not torch.strided:
        got = f"{x.dtype} on {x.device}, {x.layout}" if isinstance(x, Tensor) else type(x).__name__
        hint = "torch.as_tensor(x) makes one of an array or a list"
        if isinstance(x, Tensor):
            dense = x.layout is torch.strided
            hint = f"call x.to('cpu', {dtype})" if dense else "x.to_dense() makes one of a sparse tensor"
        raise DtypeError("Frozen", expected=f"a strided tensor of {dtype} on the CPU", got=got, hint=hint)


def check(x: Tensor, n_in: int, dtype: torch.dtype, *, flat: bool = False) -> None:
    """Refuse an input that a layer cannot take; raises ShapeError or DtypeError."""
    _check_type(x, dtype)
    # torch.jit.trace makes tensors of sizes, and a comparison would be a constant of the trace
    if x.dim() < 1 or (_get_tracing_state() is None and x.shape[-1] != n_in):
        raise ShapeError("Frozen", expected=f"x [..., {n_in}]", got=f"{list(x.shape)}")
    if flat and x.dim() != 2:
        raise ShapeError(
            "Frozen",
            expected=f"x [batch, {n_in}], for a batch norm was folded into the layer",
            got=f"{list(x.shape)}",
            hint="freeze again with an example of that many dimensions",
        )


LIBRARY = torch.library.Library("gossamer", "FRAGMENT")
LIBRARY.define("chain(Tensor x, Tensor? residual, Tensor[] held, str written) -> Tensor")
LARGEST_NUMBER_OF_STEPS = 256  # kept from one call of the operator to the next

_steps: dict[tuple[object, ...], CoreStep] = {}
_guard = threading.Lock()


def _chain(x: Tensor, residual: Tensor | None, held: list[Tensor], text: str) -> Tensor:
    """Run a step that is made once for the same memory since the last write to it, and keeps it alive."""
    if any(tensor.is_inference() or tensor.layout is not torch.strided for tensor in held):
        return CoreStep(reread(held, text))(x, residual)  # inference tensors count no writes
    key = (text, *map(_mark, held))
    with _guard:
        step = _steps.get(key)
        if step is None:
            if len(_steps) == LARGEST_NUMBER_OF_STEPS:
                del _steps[next(iter(_steps))]
            step = _steps[key] = CoreStep(reread(held, text))
    return step(x, residual)


def _mark(tensor: Tensor) -> tuple[object, ...]:
    """What tells a tensor from others in the same memory, and from itself before a write."""
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor._version  # noqa: SLF001


def _chain_fake(x: Tensor, residual: Tensor | None, held: list[Tensor], text: str) -> Tensor:
    del residual, held
    return x.new_empty((described(text)[-1].shape[0], x.shape[0])).t()


def _chain_vmap(
    info: Any, dims: Any, x: Tensor, residual: Tensor | None, held: list[Tensor], text: str
) -> tuple[Tensor, int]:
    """Samples of an outer batch as more samples of the inner one."""
    if any(dim is not None for dim in dims[2]):
        raise StateError(
            "vmap",
            expected="weights that all samples share",
            got="a batch of networks",
            hint="call the networks one by one",
        )

    def outer(tensor: Tensor, dim: int | None) -> Tensor:
        return tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)

    x = outer(x, dims[0])
    more = None if residual is None else outer(residual, dims[1]).flatten(0, 1)
    return torch.ops.gossamer.chain(x.flatten(0, 1), more, held, text).unflatten(0, x.shape[:2]), 0


LIBRARY.impl("chain", _chain, "CPU")
torch.library.register_fake("gossamer::chain", _chain_fake, lib=LIBRARY)
torch.library.register_vmap("gossamer::chain", _chain_vmap, lib=LIBRARY)
