"""A load that fails half-way leaves everything as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from gossamer.errors import FormatError, GossamerError


@contextmanager
def restoring(model: nn.Module, optimizer: Optimizer, scheduler: Any = None) -> Iterator[None]:
    """Put model, optimizer (with the engines that ride in it), scheduler and torch's random state back after an error.

    Cost: a copy of the model's state; that of the optimizer is replaced by a load, so it needs none.
    """
    with ExitStack() as undo:
        undo.callback(torch.set_rng_state, torch.get_rng_state())
        if scheduler is not None:
            undo.callback(scheduler.load_state_dict, deepcopy(scheduler.state_dict()))
        undo.callback(optimizer.load_state_dict, optimizer.state_dict())
        undo.callback(model.load_state_dict, deepcopy(model.state_dict()))
        yield
        undo.pop_all()


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Turn what torch, or a module of the user's own, raises on a strange state into a FormatError."""
    try:
        yield
    except GossamerError:
        raise
    except (
        ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError
    ) as error:  # fmt: skip
        raise FormatError(
            f"load checkpoint, {what}",
            expected=f"a state that the {what} takes",
            got=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            hint="nothing was changed",
        ) from error
