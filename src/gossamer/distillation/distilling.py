"""A whole training of a student by its teacher."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from gossamer.distillation.cache import TeacherCache
from gossamer.distillation.capture import call
from gossamer.distillation.features import Hints
from gossamer.distillation.loss import Distillation, Task
from gossamer.distillation.terms import Logits, Term
from gossamer.errors import ConfigError
from gossamer.training import Note, train_step


class Epoch(NamedTuple):
    """One pass over the data.

    Args:
        number: int - from 1.
        loss: float - mean over samples.
        parts: name -> float - the same of the task, unweighted, and of every term, weighted.
        seconds: float.
    """

    number: int
    loss: float
    parts: dict[str, float]
    seconds: float


def distill(
    student: nn.Module,
    teacher: nn.Module,
    data: Iterable[Any],
    optimizer: Optimizer,
    *terms: Term,
    epochs: int = 1,
    task: Task = F.cross_entropy,
    task_weight: float | None = None,
    cache: TeacherCache | None = None,
    scheduler: Any = None,
    after_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train a student to answer as its teacher does.

    An engine that is attached to the optimizer, and a recipe that keeps zeros, work as in any training. For a loop of
    your own, and for ``Hints``, whose maps the optimizer must hold, use ``Distillation``.

    Args:
        student: nn.Module - changed in place; trained in training mode, which it leaves as it was.
        teacher: nn.Module - see Distillation.
        data: batches (inputs, targets), to be gone through again in every epoch: a DataLoader, or a list.
        optimizer: Optimizer - of the student.
        terms: Term - ``Logits()`` where none is given.
        epochs: int.
        task: (output, targets) -> scalar Tensor.
        task_weight: float or None - see Distillation.
        cache: TeacherCache or None.
        scheduler: of the learning rate, or None - its ``step()`` is called after every optimizer step.
        after_epoch: Epoch -> None, or None.
    Returns:
        list of Epoch.
    Raises:
        ConfigError: no data, batches that are no pairs, data that cannot be gone through again, or a cache of inputs
            that turn out to be random. NonFiniteError: a loss or an output of the teacher. And as Distillation.
    Cost: a training, and a pass of the teacher a batch that the cache does not answer.
    Example:
        >>> import torch, gossamer as gs
        >>> teacher, student = nn.Linear(8, 3), nn.Linear(8, 3)
        >>> data = [(torch.randn(16, 8), torch.randint(3, (16,)))]
        >>> rows = distill(student, teacher, data, torch.optim.SGD(student.parameters(), lr=0.5), epochs=3)
        >>> rows[2].loss < rows[0].loss
        True
    """
    if any(isinstance(term, Hints) for term in terms):
        raise ConfigError(
            "distill",
            expected="terms without parameters of their own",
            got="Hints",
            hint="build a Distillation, give the optimizer its parameters, and write the loop",
        )
    if epochs < 1 or (epochs > 1 and isinstance(data, Iterator)):
        got = f"{epochs} epochs over an iterator" if epochs > 0 else str(epochs)
        raise ConfigError("distill", expected="one epoch, or data that can be gone through again", got=got)
    training, rows = student.training, []
    loss = Distillation(
        teacher, student, *terms or (Logits(),), task=task, task_weight=task_weight, cache=cache
    )
    try:
        student.train()
        for number in range(1, epochs + 1):
            rows.append(_epoch(number, student, loss, data, optimizer, scheduler))
            if cache is not None:
                _check_hits(cache, number, rows)
            if after_epoch is not None:
                after_epoch(rows[-1])
    finally:
        student.train(training)
        loss.close()
    return rows


def _epoch(
    number: int,
    student: nn.Module,
    loss: Distillation,
    data: Iterable[Any],
    optimizer: Optimizer,
    scheduler: Any,
) -> Epoch:
    """Go through the data once."""
    began, so_far = time.perf_counter(), Note()
    parts: dict[str, Any] = {}
    if loss.cache is not None:
        loss.cache.hits = loss.cache.misses = 0
    for step, batch in enumerate(data, start=1):
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise ConfigError("distill", expected="batches (inputs, targets)", got=type(batch).__name__)
        inputs, targets = batch

        def compared(output: Any, y: Tensor, inputs: Any = inputs) -> Tensor:
            value: Tensor = loss(output, y, inputs)
            return value

        note = train_step(partial(call, student), optimizer, inputs, targets, compared, step)
        if scheduler is not None:
            scheduler.step()
        so_far = so_far.plus(note)
        for name, value in loss.parts.items():
            parts[name] = parts.get(name, 0.0) + value * note.samples
    if not so_far.samples:
        raise ConfigError("distill", expected="data with samples", got="none in a whole epoch")
    shares = {name: float(value) / so_far.samples for name, value in parts.items()}
    return Epoch(number, so_far.mean, shares, time.perf_counter() - began)


def _check_hits(cache: TeacherCache, number: int, rows: list[Epoch]) -> None:
    """Write what is new; refuse inputs that were said to be the same in every epoch and are not."""
    cache.flush()
    if number > 1 and cache.augmentation == "none" and not cache.hits:
        raise ConfigError(
            "distill(cache=)",
            expected='the same inputs in every epoch, as augmentation="none" says',
            got=f"{cache.misses} samples in epoch {len(rows)} of which none was seen before",
            hint="random augmentation cannot be cached unless its draws come again and are named",
        )
