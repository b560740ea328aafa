"""Channels cut out of the layers of a model, whose parameters stay the same objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from gossamer.nn.resize import put_
from gossamer.trace.tensors import tensor_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gossamer.compress.structured.members import Followed
    from gossamer.layouts.arrays import Array


@dataclass(frozen=True)
class Cut:
    """What a layer or a norm loses.

    Args:
        outputs: [channels], bool - those that go.
        inputs: [channels], bool - those that go by themselves; of a grouped convolution and a norm: empty.
        constants: [channels], float64 - what the inputs that go were replaced by; 0 where they stay.
        told: str - which bias was told of them: the name of the layer or of the norm behind it; "" for none.
    """

    outputs: Tensor
    inputs: Tensor
    constants: Tensor
    told: str = ""


class Slot(NamedTuple):
    """A tensor, and what of it stays: indices by dimension."""

    tensor: Tensor
    stays: dict[int, Tensor]

    def kept(self, tensor: Tensor) -> Tensor:
        """What stays of it, or of another one of its shape."""
        kept = tensor.detach()
        for dim, index in self.stays.items():
            kept = kept.index_select(dim, index)
        return kept


def cuts_of(followed: Followed, goes: Array, means: Mapping[str, Tensor]) -> dict[str, Cut]:
    """What every layer and norm loses, of those that lose something.

    Args:
        followed: Followed.
        goes: [units], bool.
        means: name of a layer -> [inputs], what its inputs are on average; others are known or count as zero.
    """

    def gone(units: Array) -> Tensor:
        return (
            tensor_of((units >= 0) & goes[units]) if goes.size else torch.zeros(units.size, dtype=torch.bool)
        )

    cuts: dict[str, Cut] = {}
    for name, member in followed.members.items():
        outputs, inputs = gone(member.outputs), gone(member.inputs)
        constants = torch.zeros(inputs.numel(), dtype=torch.float64)
        told = name if getattr(member.module, "bias", None) is not None else member.shifted
        if bool(inputs.any()) and told and member.constants is not None:
            known, mean = tensor_of(member.constants.known), means.get(name, constants)
            constants = torch.where(known, member.constants.constants.double(), mean).where(inputs, 0.0)
        if bool(outputs.any()) or bool(inputs.any()):
            cuts[name] = Cut(outputs, inputs, constants, told)
    return cuts


@torch.no_grad()
def fold(model: nn.Module, cuts: Mapping[str, Cut]) -> None:
    """Tell biases, or the means of norms behind layers without one, what the inputs that go were."""
    modules: dict[str, Any] = dict(model.named_modules())
    for name, cut in cuts.items():
        if not bool(cut.constants.any()):
            continue
        weight = modules[name].weight.double()
        shift = (weight.flatten(2).sum(2) if weight.dim() > 2 else weight) @ cut.constants
        told = modules[cut.told]
        if cut.told == name:
            told.bias.add_(shift.to(told.bias.dtype))
        else:
            told.running_mean.sub_(shift.to(told.running_mean.dtype))


@torch.no_grad()
def silence(model: nn.Module, cuts: Mapping[str, Cut]) -> None:
    """Have layers not read what goes, and leave it in its place."""
    modules: dict[str, Any] = dict(model.named_modules())
    for name, cut in cuts.items():
        if bool(cut.inputs.any()):
            modules[name].weight[:, cut.inputs] = 0


def slots(module: Any, cut: Cut) -> list[Slot]:
    """The tensors of a layer or norm that lose something."""
    rows = (~cut.outputs).nonzero().squeeze(1)
    stays = {0: rows}
    if bool(cut.inputs.any()):
        stays[1] = (~cut.inputs).nonzero().squeeze(1)
    if not bool(cut.outputs.any()):
        del stays[0]
    vectors = [getattr(module, name, None) for name in ("bias", "running_mean", "running_var")]
    both = [Slot(each, {0: rows}) for each in vectors if each is not None and 0 in stays]
    if module.weight is None:
        return both
    return [Slot(module.weight, stays), *both]


def cut_out(
    model: nn.Module, cuts: Mapping[str, Cut], states: Mapping[int, Iterable[Tensor]] | None = None
) -> None:
    """Cut out what goes; parameters and buffers stay the same objects.

    Args:
        model: nn.Module.
        cuts: name -> Cut.
        states: id of a parameter -> tensors of its shape that follow it: its gradient, an optimizer's state.

    Cost: a copy of what stays.
    """
    modules = dict(model.named_modules())
    kept: list[tuple[Tensor, Tensor]] = []
    for name, cut in cuts.items():
        for slot in slots(modules[name], cut):
            held = {id(each): each for each in (slot.tensor, *(states or {}).get(id(slot.tensor), ()))}
            kept += [(each, slot.kept(each)) for each in held.values()]
    for each, smaller in kept:
        put_(each, smaller)
    for name, cut in cuts.items():
        _resize(modules[name], cut)


def _resize(module: Any, cut: Cut) -> None:
    """The sizes that a module says it has."""
    outputs, inputs = int((~cut.outputs).sum()), int((~cut.inputs).sum())
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = outputs, inputs
    elif isinstance(module, (nn.Conv1d, nn.Conv2d)):
        if module.groups > 1:
            inner = module.in_channels // module.groups
            module.groups = module.groups * outputs // module.out_channels
            inputs = module.groups * inner
        module.out_channels, module.in_channels = outputs, inputs
    else:
        module.num_features = outputs
