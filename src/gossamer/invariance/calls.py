"""What functions, tensor methods and modules do to an image that moves."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final

from torch import nn

from gossamer.nn import AllReLU, Dropout
from gossamer.trace.read import operator_of

if TYPE_CHECKING:
    from torch import fx

_NUMBERWISE = (
    "relu relu_ relu6 leaky_relu leaky_relu_ elu elu_ selu celu gelu silu mish hardswish hardsigmoid hardtanh "
    "hardtanh_ softplus sigmoid sigmoid_ logsigmoid tanh tanh_ exp log sqrt rsqrt abs neg square "
    "batch_norm instance_norm group_norm local_response_norm prelu "
    "dropout dropout2d alpha_dropout feature_dropout contiguous clone detach to float double half bfloat16"
)
_TOGETHER = (
    "add add_ iadd sub sub_ isub mul mul_ imul div div_ truediv itruediv maximum minimum lerp addcmul where pow "
    "clamp clamp_ clip"
)
SAME: Final = frozenset(_NUMBERWISE.split())  # each pixel by itself
TOGETHER: Final = frozenset(_TOGETHER.split())  # each pixel with that at the same place of others
JOINED: Final = frozenset(("cat", "concat", "concatenate"))
PARTED: Final = frozenset(("chunk", "split"))
OVER: Final = frozenset(("mean", "sum", "amax", "amin", "logsumexp", "std", "var"))  # over dimensions
ADAPTIVE: Final = frozenset(("adaptive_avg_pool2d", "adaptive_max_pool2d"))
POOLED: Final = frozenset(("avg_pool2d", "max_pool2d"))
SIZES: Final = frozenset(("size", "dim", "numel", "get_device"))
FLAT: Final = frozenset(("flatten", "view", "reshape", "squeeze"))
PIXELWISE: Final = (
    AllReLU,
    Dropout,
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
    nn.PReLU,
    nn.Softplus,
    nn.Mish,
    nn.SELU,
    nn.CELU,
    nn.Hardtanh,
    nn.LogSigmoid,
    nn.Softmax2d,
    nn.BatchNorm2d,
    nn.SyncBatchNorm,
    nn.GroupNorm,
    nn.InstanceNorm2d,
    nn.LocalResponseNorm,
)
GLOBAL: Final = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
NOT_OF_A_MODEL: Final = ("torch", "_operator", "builtins", "math")


def moves_with(module: nn.Module) -> bool:
    """Whether a module treats every pixel alike, and gives as many: activations, norms, dropout.

    Example:
        >>> moves_with(nn.BatchNorm2d(3)), moves_with(nn.LayerNorm(3))
        (True, False)
    """
    known = operator_of(type(module))
    return type(module) in PIXELWISE or (known is not None and known.elementwise)


def word(node: fx.Node) -> str:
    """The name of a function of torch or Python, or of a tensor method; "" for a function of the model's own."""
    if node.op == "call_method":
        return str(node.target)
    home = (getattr(node.target, "__module__", None) or "torch").partition(".")[0]
    return str(getattr(node.target, "__name__", "")) if home in NOT_OF_A_MODEL else ""


def argument(node: fx.Node, place: int, *names: str) -> Any:
    """What is given at a place or under a name; None where neither is."""
    given = (node.kwargs[name] for name in names if name in node.kwargs)
    return node.args[place] if len(node.args) > place else next(given, None)


def over_all_pixels(dims: Any, rank: int) -> bool:
    """Whether dimensions to reduce, as torch takes them, are all of those of an image, or more.

    Example:
        >>> over_all_pixels((2, 3), 4), over_all_pixels([-1], 4), over_all_pixels(None, 4)
        (True, False, True)
    """
    if dims is None:
        return True
    given = dims if isinstance(dims, (tuple, list)) else (dims,)
    return all(isinstance(dim, int) for dim in given) and {rank - 1, rank - 2} <= {
        dim % rank for dim in given
    }


def to_one(size: Any) -> bool:
    """Whether an adaptive pool gives one number a channel."""
    return size in (1, (1, 1), [1, 1])


def all_pixels(index: Any) -> bool:
    """Whether an index takes parts of the batch and of the channels, and of those every pixel.

    Example:
        >>> all_pixels((slice(None), slice(0, 8))), all_pixels((slice(None), slice(None), slice(None, None, 2)))
        (True, False)
    """
    parts = index if isinstance(index, tuple) else (index,)
    whole = (slice(None), slice(None, None, 1), slice(0, None), slice(0, None, 1))
    return all(isinstance(part, slice) for part in parts) and all(part in whole for part in parts[2:])


def takes(node: fx.Node) -> bool:
    """Whether it is ``value[index]``."""
    return node.op == "call_function" and node.target is operator.getitem
