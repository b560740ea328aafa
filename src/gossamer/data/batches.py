"""Minibatches of tensors in memory, in an order that a resumed run can make again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from gossamer.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    import torch


def epoch_generator(seed: int, epoch: int, part: int = 0) -> torch.Generator:
    """Return the random generator of one epoch: a function of (seed, epoch, part) and of nothing that happened before.

    Args:
        seed: int - the run's seed, at least 0.
        epoch: int - the epoch's number, at least 0.
        part: int - the part of the data, where several workers have one each; 0 is the order of a single process.

    Returns:
        torch.Generator on the CPU, fresh.

    Raises:
        ConfigError: a negative number.

    Cost: microseconds.

    Source: numpy.random.SeedSequence mixes the numbers, so that neighbours share nothing.

    Example:
        >>> import torch
        >>> a, b = (torch.randperm(5, generator=epoch_generator(0, 3)) for _ in range(2))
        >>> torch.equal(a, b)
        True
    """
    import torch

    if seed < 0 or epoch < 0 or part < 0:
        raise ConfigError(
            "epoch_generator", expected="seed, epoch and part >= 0", got=f"{seed}, {epoch} and {part}"
        )
    mixed = np.random.SeedSequence([seed, epoch, part]).generate_state(1, np.uint32)[0]
    return torch.Generator().manual_seed(int(mixed))


def part_of(n: int, part: int, parts: int) -> slice:
    """Return the samples of one worker: contiguous parts of equal size; the last ``n % parts`` samples are in none.

    Args:
        n: int - samples of the data set.
        part: int - from 0.
        parts: int - workers.

    Returns:
        slice.

    Raises:
        ConfigError: no such part, or fewer samples than parts.

    Cost: O(1).

    Source: Curci et al. 2021, WASAP-SGD.

    Example:
        >>> part_of(10, 1, 3)
        slice(3, 6, None)
    """
    if not 0 <= part < parts <= n:
        raise ConfigError(
            "part_of",
            expected=f"a part from 0 to {parts - 1}, and at least {parts} samples",
            got=f"{part} of {n}",
        )
    size = n // parts
    return slice(part * size, (part + 1) * size)


def batches(
    x: torch.Tensor,
    y: torch.Tensor,
    batch_size: int,
    generator: torch.Generator | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    start: int = 0,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Iterate once over two tensors in minibatches.

    To resume in the middle of an epoch, give the same ``epoch_generator(seed, epoch)`` and `start`, the number of
    batches already done: the rest of the epoch comes out the same, and nothing has to be saved but three integers.

    Args:
        x: ``[n, ...]``, any dtype - samples.
        y: ``[n, ...]``, any dtype - labels, on the device of `x`.
        batch_size: int - samples in a batch.
        generator: torch.Generator on the CPU, or None - decides the order; None uses torch's global generator.
        shuffle: bool - False: stored order, and batches are views.
        drop_last: bool - whether to leave out a last batch that is not full.
        start: int - number of batches to skip.

    Returns:
        Iterator of (x, y) pairs; the order is drawn when it is made. An `x` without samples gives none.

    Raises:
        ShapeError: `x` and `y` differ in length.
        ConfigError: `batch_size` below 1 or `start` below 0.

    Cost: one permutation (8 bytes a sample) when made; a batch costs its copy.

    Example:
        >>> import torch
        >>> x = torch.arange(5)
        >>> whole = [part.tolist() for part, _ in batches(x, x, 2, epoch_generator(0, 1))]
        >>> rest = [part.tolist() for part, _ in batches(x, x, 2, epoch_generator(0, 1), start=1)]
        >>> whole[1:] == rest, sorted(sum(whole, []))
        (True, [0, 1, 2, 3, 4])
    """
    import torch

    n = len(x)
    if n != len(y):
        raise ShapeError("batches", expected="x and y of the same length", got=f"{n} and {len(y)}")
    if batch_size < 1 or start < 0:
        raise ConfigError(
            "batches", expected="batch_size >= 1 and start >= 0", got=f"{batch_size} and {start}"
        )
    end = n - n % batch_size if drop_last else n
    bounds = range(start * batch_size, end, batch_size)
    if not shuffle:
        return ((x[at : at + batch_size], y[at : at + batch_size]) for at in bounds)
    order = torch.randperm(n, generator=generator).to(x.device)
    picks = (order[at : min(at + batch_size, end)] for at in bounds)
    return ((x.index_select(0, pick), y.index_select(0, pick)) for pick in picks)
