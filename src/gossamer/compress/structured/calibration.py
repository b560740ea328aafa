"""What flows through a model for batches of data: means of what layers read, and gradients of the loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gossamer.compress.batches import inputs_of, pair_of
from gossamer.errors import NonFiniteError, ShapeError
from gossamer.trace.calling import Example
from gossamer.trace.trace import REFUSED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossamer.compress.scores.base import Loss


def backward(operation: str, model: nn.Module, batches: list[Any], loss: Loss) -> None:
    """Add up the gradients of the loss over batches of pairs.

    Raises:
        ConfigError: batches without targets. ShapeError: a batch that the model refuses.
    """
    pairs = [pair_of(batch, f"{operation}(data=)") for batch in batches]
    with torch.enable_grad():
        for outputs, (_, targets) in zip(_outputs(operation, model, batches), pairs, strict=True):
            loss(outputs, targets).backward()


def means(operation: str, model: nn.Module, batches: list[Any], axes: Mapping[str, int]) -> dict[str, Tensor]:
    """The mean input of layers, feature by feature.

    Args:
        operation: str - named in errors.
        model: nn.Module - in evaluation.
        batches: list of inputs, or of pairs whose first is the input.
        axes: name of a layer -> dimension of the features.

    Returns:
        name -> [features], float64.

    Raises:
        NonFiniteError: activations that are not finite. ShapeError: a batch that the model refuses.

    Cost: one pass for each batch.
    """
    sums, counts, handles = dict[str, Tensor](), dict[str, int](), []
    modules = dict(model.named_modules())
    for name, axis in axes.items():

        def watch(_m: nn.Module, given: tuple[Tensor, ...], name: str = name, axis: int = axis) -> None:
            rows = given[0].detach().movedim(axis, -1).flatten(0, -2).double()
            sums[name] = sums.get(name, 0.0) + rows.sum(0)
            counts[name] = counts.get(name, 0) + rows.shape[0]

        handles.append(modules[name].register_forward_pre_hook(watch))
    try:
        with torch.no_grad():
            for _ in _outputs(operation, model, batches):
                pass
    finally:
        for handle in handles:
            handle.remove()
    found = {name: total / max(counts[name], 1) for name, total in sums.items()}
    if wrong := [name for name, mean in found.items() if not bool(mean.isfinite().all())]:
        raise NonFiniteError(
            f"{operation}(data=)", expected="finite activations", got=f"others in front of {wrong[0]}"
        )
    return found


def _outputs(operation: str, model: nn.Module, batches: list[Any]) -> Iterator[Any]:
    """What a model gives, batch after batch."""
    for number, batch in enumerate(batches):
        try:
            example = Example.of(model, inputs_of(batch))
            outputs = example.call(model, example.values)
        except REFUSED as error:
            raise ShapeError(
                f"{operation}(data=) batch {number}",
                expected="inputs that the model takes",
                got=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
                hint="a batch is an input, or a pair (inputs, targets)",
            ) from error
        yield outputs
