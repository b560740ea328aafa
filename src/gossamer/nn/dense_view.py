"""The weight of a packed layer for code that asks for one: a tensor that is computed when its numbers are read."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Never, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from gossamer.errors import SparseEfficiencyWarning, StateError

if TYPE_CHECKING:
    from gossamer.nn.packed import Packed

HINT = (
    "its numbers are layer.values, which layer.assign, layer.reset_parameters and layer.requires_grad_ change; "
    "layer.to_dense().detach().clone() is a copy to write to"
)
# What is known without the numbers: getters, then methods.
GETTERS = (
    "dtype shape device layout ndim nbytes itemsize is_cuda is_cpu is_leaf is_meta is_sparse is_quantized"
)
METHODS = (
    "size dim ndimension numel nelement element_size stride is_floating_point is_complex get_device __len__"
)


def _getter(name: str) -> Any:
    """How torch speaks of the reading of an attribute."""
    return getattr(Tensor, name).__get__


KNOWN: set[Any] = {*map(_getter, GETTERS.split()), *(getattr(Tensor, name) for name in METHODS.split())}
KNOWN |= {torch.is_floating_point, torch.is_complex, torch.numel}
# What would leave a trace on the copy alone, or point into it when it is gone.
LOST = {
    "__setitem__",
    "__set__",
    "__delete__",
    "register_hook",
    "register_post_accumulate_grad_hook",
    "retain_grad",
}
LOST |= {"data_ptr", "storage", "typed_storage", "untyped_storage", "__dlpack__"}


class ReadOnly(Tensor):
    """A dense copy, or a view of one, that cannot be written to: what is written to a copy would be lost."""

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Refuse to write; else compute on the plain dense tensor. Views of it are read-only, too."""
        kwargs = kwargs or {}
        if func in KNOWN:
            with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001 (as torch's own documentation does)
                return func(*args, **kwargs)
        if _writes(func, args, kwargs):
            raise refusal(func.__name__)
        given = [item for item in tree_flatten((args, kwargs))[0] if isinstance(item, ReadOnly)]
        plain = {id(item): item.plain() for item in given}
        args, kwargs = tree_map(lambda item: plain.get(id(item), item), (args, kwargs))
        memory = {tensor.untyped_storage().data_ptr() for tensor in plain.values()}
        return tree_map(lambda item: _guarded(item, memory), func(*args, **kwargs))

    def plain(self) -> Tensor:
        """The same memory as an ordinary tensor."""
        return self.as_subclass(Tensor)

    def __setattr__(self, name: str, value: object) -> None:
        raise refusal(f"{name} =")


class DenseView(ReadOnly):
    """The weight of a packed layer, in the dense layer's shape: no memory until it is read, and then a dense copy.

    Shape, dtype and device cost nothing. Whatever reads the numbers computes with ``layer.to_dense()``, through which
    gradients reach ``layer.values``, and warns. Nothing can be written to it.
    """

    layer: Packed

    @staticmethod
    def __new__(cls, layer: Packed) -> Self:
        """Of the layer as it is at each use."""
        values, wrapper = layer.values, Tensor._make_wrapper_subclass  # noqa: SLF001 (torch's way to make one)
        made: Self = wrapper(cls, layer.dense_size, dtype=values.dtype, device=values.device)
        made.__dict__["layer"] = layer
        return made

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """As for every read-only tensor, but for what concerns the gradient."""
        if args and isinstance(args[0], DenseView):
            values = args[0].layer.values
            if func == _getter("requires_grad"):
                return values.requires_grad
            if func == _getter("grad"):
                return (
                    None if values.grad is None else args[0].layer.unpacked(values.grad).as_subclass(ReadOnly)
                )
            if func in (_getter("data"), Tensor.detach):
                return args[0].plain().detach().as_subclass(ReadOnly)
            if func == Tensor.__deepcopy__:
                return args[0].plain().detach()
        return super().__torch_function__(func, types, args, kwargs)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Never:  # type: ignore[override]  # the base class declares another method
        """Nothing comes here but from code that goes round the line above."""
        raise refusal(str(func))

    def plain(self) -> Tensor:
        """A dense copy."""
        warnings.warn(
            "the weight of a packed layer is read: a dense copy is made at every such use",
            SparseEfficiencyWarning,
            stacklevel=4,
        )
        return self.layer.to_dense()


def refusal(what: str) -> StateError:
    """The error for whoever would change a weight that is not stored."""
    return StateError(
        f"weight of a packed layer, {what}",
        expected="code that only reads it",
        got="a change that would be lost",
        hint=HINT,
    )


def _writes(func: Callable[..., Any], args: Any, kwargs: Any) -> bool:
    """Whether a read-only tensor would be changed."""
    name = getattr(func, "__name__", "")
    target = args[0] if args else next(iter(kwargs.values()), None)
    in_place = (
        name in LOST or (name.endswith("_") and not name.endswith("__")) or kwargs.get("inplace") is True
    )
    written = [target if in_place else None, kwargs.get("out")]
    return any(isinstance(item, ReadOnly) for item in tree_flatten(written)[0])


def _guarded(item: Any, memory: set[int]) -> Any:
    """A result, not to be written to where it shares memory with a copy."""
    if isinstance(item, np.ndarray):
        item.flags.writeable = False
    if (
        isinstance(item, Tensor)
        and item.layout == torch.strided
        and item.untyped_storage().data_ptr() in memory
    ):
        return item.as_subclass(ReadOnly)
    return item
