"""Rows held out for early stopping, and numbers that can be scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor

from gossamer.errors import ConfigError, NonFiniteError


def held_out_part(
    rows: Tensor, fraction: float, draw: np.random.RandomState, strata: Tensor | None, least: int
) -> tuple[Tensor, Tensor]:
    """(rows to train on, rows held out).

    Args:
        rows: [n], int64.
        fraction: float - of the rows, to hold out.
        draw: RandomState.
        strata: [n] or None - values whose shares are to be the same in both parts.
        least: int - rows that a score needs.

    Raises:
        ConfigError: too few rows for either part.

    Example:
        >>> draw = np.random.RandomState(0)
        >>> [len(part) for part in held_out_part(torch.arange(10), 0.2, draw, None, least=2)]
        [8, 2]
    """
    try:
        kept, held_out = train_test_split(
            rows.numpy(), test_size=fraction, random_state=draw, stratify=strata
        )
        got = f"{len(held_out)} of {len(rows)} rows"
    except ValueError as error:
        held_out, got = (), str(error)
    if len(held_out) < least:
        raise ConfigError(
            f"fit with early_stopping and validation_fraction={fraction}",
            expected=f"a validation part that can be scored, of {least} rows or more",
            got=got,
            hint="raise validation_fraction, or set early_stopping=False",
        )
    return torch.from_numpy(kept), torch.from_numpy(held_out)


def require_finite(numbers: NDArray[Any], operation: str) -> None:
    """Refuse NaN and infinity; raises NonFiniteError.

    Example:
        >>> require_finite(np.ones(3), "demo")
    """
    if not np.isfinite(numbers).all():
        raise NonFiniteError(
            operation,
            expected="finite weights and outputs",
            got="NaN or infinity",
            hint="lower the learning rate, or scale features and targets",
        )
