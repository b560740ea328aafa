"""The smaller network tried out beside the network before, on copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gossamer.compress.structured.surgery import cut_out, fold, silence
from gossamer.errors import StateError
from gossamer.trace.agreement import same
from gossamer.trace.convolved import geometry_of
from gossamer.trace.copied import copied
from gossamer.trace.trace import REFUSED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossamer.compress.structured.members import Followed
    from gossamer.compress.structured.surgery import Cut


def tried(operation: str, followed: Followed, cuts: Mapping[str, Cut]) -> tuple[float, float]:
    """Compare the smaller network with the one before, in which nothing reads what goes.

    Args:
        operation: str - named in errors.
        followed: Followed.
        cuts: name -> Cut.

    Returns:
        (float, float) - how far its output for the example is at most from that of the network before with the inputs
        that go held at their constants, and the largest number of that.

    Raises:
        StateError: the two differ by more than rounding, for the example or for random numbers in its place.

    Cost: two copies of the model and six passes.
    """
    slim, silent = copied(operation, followed.twin), copied(operation, followed.twin)
    fold(slim, cuts)
    fold(silent, cuts)
    cut_out(slim, cuts)
    silence(silent, cuts)
    example = followed.example
    with torch.no_grad():
        for values in (drawn(example.values), example.values):
            expected = result_of(silent, followed, values)
            got = result_of(slim, followed, values)
            alike = same(expected, got) if isinstance(expected, Tensor) else type(expected) is type(got)
            if not alike:
                raise _other(operation, got)
        held = _held(followed, cuts)
    if not _borders(followed, cuts) and not same(held, got):
        raise _other(operation, got)
    return float((held - got).abs().max()), float(held.abs().max())


def _other(operation: str, got: Any) -> StateError:
    return StateError(
        operation,
        expected="a smaller network that computes what the larger one does without these channels",
        got="one that does not" if isinstance(got, Tensor) else f"one that fails: {got}",
        hint="a number of channels may be written in its forward: skip= keeps the layers in question",
    )


def _borders(followed: Followed, cuts: Mapping[str, Cut]) -> bool:
    """Whether a border of zeros lies around channels that were replaced by another constant."""
    told = [name for name, cut in cuts.items() if bool(cut.constants.any())]
    found = [geometry_of(followed.layers[name].module) for name in told]
    return any(each is not None and each.mode == "zeros" and any(each.padding) for each in found)


def drawn(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Random numbers in the place of floating ones: an example may be all zeros."""
    generator = torch.Generator().manual_seed(0)

    def one(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        return torch.randn(value.shape, generator=generator).to(value.dtype)

    return tuple(map(one, values))


def result_of(model: nn.Module, followed: Followed, values: tuple[Any, ...]) -> Any:
    """What a model gives, or the error that it raises."""
    try:
        return followed.example.call(model, values)
    except REFUSED as error:
        return error


def _held(followed: Followed, cuts: Mapping[str, Cut]) -> Tensor:
    """What the network before gives with the inputs that go held at their constants."""
    handles = []
    for name, cut in cuts.items():
        if not bool(cut.inputs.any()):
            continue
        member = followed.layers[name]

        def hold(_m: nn.Module, given: tuple[Tensor, ...], cut: Cut = cut, axis: int = member.axis) -> Any:
            x = given[0].clone()
            x.movedim(axis, -1)[..., cut.inputs] = cut.constants[cut.inputs].to(x.dtype)
            return (x, *given[1:])

        handles.append(member.module.register_forward_pre_hook(hold))
    try:
        result: Tensor = followed.example.call(followed.twin, followed.example.values)
    finally:
        for handle in handles:
            handle.remove()
    return result
