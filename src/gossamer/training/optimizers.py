"""What the engine has to know of an optimizer: which state follows the weights, and when a step is over."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from types import FrameType
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from gossamer.errors import ConfigError, StateError, TrainingWarning
from gossamer.nn import SparseModule

HINT = "use an optimizer whose state has the shape of its parameters (SGD, Adam, AdamW, RMSprop, ...)"


def following_state(optimizer: Optimizer, weights: Tensor, name: str) -> list[Tensor]:
    """Gradient and optimizer state that follow a layer's weights through a topology update, by shape.

    Args:
        optimizer: Optimizer.
        weights: Tensor - the layer's parameter.
        name: str - of the layer, for messages.
    Returns:
        list of Tensor - each of the shape of ``weights``; scalars stay where they are.
    Raises:
        StateError: state of any other shape.
    Cost: O(state entries).
    """
    states = [] if weights.grad is None else [weights.grad]
    for key, state in optimizer.state.get(weights, {}).items():
        if isinstance(state, Tensor) and state.shape == weights.shape:
            states.append(state)
        elif isinstance(state, (list, dict, tuple)) or (isinstance(state, Tensor) and state.dim() > 0):
            raise StateError(
                f"topology update of {name}",
                expected=f"optimizer state of shape {tuple(weights.shape)}, or scalars",
                got=f"{type(optimizer).__name__} state {key!r}",
                hint=HINT,
            )
    return states


def refuse_flattened_state(optimizer: Optimizer) -> None:
    """Refuse an optimizer that keeps all parameters in one flat vector, as LBFGS does; raises StateError.

    Such state is filed under the first parameter, so it would go unseen by every other one.
    """
    total = sum(parameter.numel() for group in optimizer.param_groups for parameter in group["params"])
    for parameter, entries in optimizer.state.items():
        for key, state in entries.items():
            if isinstance(state, Tensor) and state.numel() == total != parameter.numel():
                raise StateError(
                    "topology update",
                    expected="optimizer state for each parameter by itself",
                    got=f"{type(optimizer).__name__} state {key!r} over all parameters",
                    hint=HINT,
                )


def unwrapped(optimizer: Any) -> Optimizer:
    """The optimizer inside wrappers that hold it as ``optimizer``, as those of Accelerate and Lightning do.

    Args:
        optimizer: Optimizer, or a wrapper of one.
    Raises:
        ConfigError: there is none.
    Example:
        >>> import torch, types
        >>> inner = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        >>> unwrapped(types.SimpleNamespace(optimizer=inner)) is inner
        True
    """
    inner = optimizer
    while inner is not None:
        optimizer, inner = inner, getattr(inner, "optimizer", None)
    if not isinstance(optimizer, Optimizer):
        raise ConfigError("attach", expected="a torch.optim.Optimizer", got=type(optimizer).__name__)
    return optimizer


def nested(optimizer: Optimizer) -> list[Optimizer]:
    """An optimizer, and those it holds over the same parameters; the last one makes the steps.

    So are the two steps of SAM and the slow weights of Lookahead made: around another optimizer.

    Args:
        optimizer: Optimizer.
    Example:
        >>> import torch
        >>> base = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        >>> around = torch.optim.SGD(base.param_groups, lr=0.1)
        >>> around.base_optimizer = base
        >>> nested(around) == [around, base]
        True
    """
    found = [optimizer]
    while inner := [
        held
        for held in vars(found[-1]).values()
        if isinstance(held, Optimizer) and held not in found and _parameters(held) == _parameters(optimizer)
    ]:
        found.append(inner[0])
    return found


def _parameters(optimizer: Optimizer) -> set[int]:
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


def warn_where_decay_misses(layers: Mapping[str, SparseModule], optimizer: Optimizer) -> None:
    """Warn where groups made by the number of dimensions leave the flat values of all packed layers without decay.

    Args:
        layers: name -> SparseModule.
        optimizer: Optimizer.
    """
    flat = {id(layer.weights): name for name, layer in layers.items() if layer.weights.dim() == 1}
    decayed: list[Tensor] = []
    decay = False
    for group in optimizer.param_groups:
        if float(group.get("weight_decay") or 0) > 0:
            decay = True
            decayed += group["params"]
    matrices = any(parameter.dim() > 1 for parameter in decayed)
    if (
        decay
        and flat
        and (matrices or not decayed)
        and not any(id(parameter) in flat for parameter in decayed)
    ):
        warnings.warn(
            f"weight decay reaches no sparse layer ({', '.join(flat.values())}): their values are "
            'one-dimensional, so groups made by "p.dim() >= 2" take them for biases; put layer.weights of every sparse '
            "layer into the group that decays",
            TrainingWarning,
            stacklevel=3,
        )


def inside_another_step(optimizer: Optimizer) -> bool:
    """Whether the step whose post-hook asks was called by another ``step`` of the same optimizer.

    torch wraps ``step`` of every optimizer class, so the hooks run twice where a subclass calls ``super().step()``;
    only the outer one is a step.
    """
    steps = 0
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 (the stack is where torch's wrappers are)
    while frame is not None:
        code = frame.f_code  # a compiled step runs under another code of the same name
        if (code.co_name, code.co_filename) == _WRAPPER and _optimizer_of(frame.f_locals) is optimizer:
            steps += 1
        frame = frame.f_back
    return steps > 1


def _optimizer_of(names: dict[str, Any]) -> Any:
    """The optimizer in a wrapper's local names."""
    return names.get("self", next(iter(names.get("args", ())), None))


_CODE = Optimizer.profile_hook_step(lambda _: None).__code__
_WRAPPER = _CODE.co_name, _CODE.co_filename  # of torch, around every step
