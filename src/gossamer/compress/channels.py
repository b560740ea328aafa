"""Channels and neurons of a dense network removed for good: a smaller network of the same modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import partial
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from gossamer.compress.batches import batches_of
from gossamer.compress.scores.base import Loss
from gossamer.compress.states import states_of_weights
from gossamer.compress.structured.calibration import means
from gossamer.compress.structured.choice import Shares, chosen
from gossamer.compress.structured.followed import follow
from gossamer.compress.structured.importance import NAME, SCORES, Task, scores_of
from gossamer.compress.structured.members import Followed
from gossamer.compress.structured.report import ChannelReport, ChannelRow
from gossamer.compress.structured.surgery import Cut, cut_out, cuts_of, fold, slots
from gossamer.compress.structured.trial import tried
from gossamer.errors import ConfigError
from gossamer.nn.candidates import refuse_tied
from gossamer.nn.kinds import kind_of
from gossamer.nn.resize import refuse_compiling, refuse_fixed_size
from gossamer.nn.skip import Skip, skipped
from gossamer.registry import answers_unknown, check_choice
from gossamer.trace.read import has_hooks

ALLOCATIONS = ("uniform", "global")


@answers_unknown
def prune_channels(
    model: nn.Module,
    example: Any,
    keep: float = 0.5,
    *,
    score: str = "magnitude",
    allocation: str = "uniform",
    data: Any = None,
    loss: Loss | None = None,
    skip: Skip = (),
    floor: float = 0.1,
    round_to: int = 1,
    generator: torch.Generator | None = None,
    optimizers: Iterable[Optimizer] = (),
) -> ChannelReport:
    """Remove the weakest channels of dense linear layers and convolutions for good, with all that belongs to them.

    A channel goes from every layer that computes it, from norms and depth-wise convolutions on its way, and from every
    layer that reads it; where values are added, the same channels go on both sides, and a head of attention goes from
    queries, keys and values. What it was on average moves into the bias of the layers that read it, or into the running
    mean of the norm behind them. Layers stay the same objects with the same parameters, hooks, modes and flags; only
    sizes change. What cannot be followed keeps its channels, and the report says why. The smaller network is tried on
    the example first. Afterwards train it, or at least call ``gossamer.compress.recalibrate``.

    Args:
        model: nn.Module on the CPU - changed in place.
        example: Tensor [batch, ...], a tuple of inputs, or a dict of named ones - how the model is called.
        keep: float in (0, 1] - share of the channels that stays; a part of a channel is a whole one.
        score: what channels are ranked by, over all weights that go with one and divided by the mean of its group:
            "magnitude" (L2 norm), "batch_norm" (absolute scale), "taylor" (|gradient * weight|; needs data), "random".
        allocation: "uniform" keeps the share in every group of layers, "global" of all channels of the network.
        data: batches: inputs, or pairs (inputs, targets). None: only what is known to be constant is folded, such as
            channels that a norm multiplies by zero; others count as zero.
        loss: (outputs, targets) -> mean loss; None is cross entropy.
        skip: names, types or modules that keep all their output channels, or a function (name, module) -> bool.
        floor: float in [0, 1] - share of every group that stays under "global"; at least one channel always does.
        round_to: int - channels that stay in a group are rounded up to a multiple of it.
        generator: torch.Generator or None - for the random score.
        optimizers: every Optimizer that holds state of the model's parameters; the state is cut as they are.
    Returns:
        ChannelReport - print it.
    Raises:
        ConfigError: a setting out of range, a model that cannot be followed, or nothing that could go. PatternError:
            tied weights. DataError, NonFiniteError, ShapeError: data, weights or activations. DtypeError: a model that
            is not on the CPU. StateError: an optimizer that was not given, or whose state has other shapes; a model
            that cannot be copied, or that computes something else with fewer channels. Nothing is changed then.
    Cost: four copies of the model, eight passes of the example, one pass for each batch of data (two for "taylor").
    Source: DepGraph (Fang et al. 2023) for groups; Molchanov et al. 2019 for "taylor"; Liu et al. 2017 for
        "batch_norm". Folding the mean is not in them.
    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10))
        >>> report = prune_channels(model, torch.zeros(1, 3, 8, 8), keep=0.25)
        >>> model[0].out_channels, model[1].num_features, model[4].in_features, report.parameters
        (4, 4, 144, (6250, 1570))
    """
    refuse_compiling(NAME)
    shares = _checked(keep, score, allocation, floor, round_to)
    batches = [] if data is None else batches_of(data, f"{NAME}(data=)")
    followed = follow(NAME, model, example, partial(_fixed, skip))
    if not followed.units:
        raise _nothing(followed)
    goes = chosen(
        followed, scores_of(score, followed, Task(batches, loss or F.cross_entropy, generator)), shares
    )
    cuts = cuts_of(followed, goes, {})
    if batches:
        readers = {name: followed.layers[name].axis for name, cut in cuts.items() if bool(cut.inputs.any())}
        cuts = cuts_of(followed, goes, means(NAME, followed.twin, batches, readers))
    refuse_tied(model, {name: model.get_submodule(name) for name in cuts}, NAME)
    deviation, largest = tried(NAME, followed, cuts)
    states = _states(model, cuts, optimizers)
    before = sum(parameter.numel() for parameter in model.parameters())
    fold(model, cuts)
    cut_out(model, cuts, states)
    now = sum(parameter.numel() for parameter in model.parameters())
    rows = [_row(name, followed, cuts.get(name)) for name in followed.layers] + _others(model, followed)
    return ChannelReport(rows, (before, now), (followed.units, int(goes.sum())), deviation, largest)


def _checked(keep: Any, score: Any, allocation: Any, floor: Any, round_to: Any) -> Shares:
    """The settings; raises ConfigError."""
    check_choice(f"{NAME}(score=)", score, SCORES)
    check_choice(f"{NAME}(allocation=)", allocation, ALLOCATIONS)
    if isinstance(round_to, bool) or not isinstance(round_to, Integral) or round_to < 1:
        raise ConfigError(f"{NAME}(round_to=)", expected="a whole number of at least 1", got=repr(round_to))
    shares = {"keep": _share("keep", keep), "floor": _share("floor", floor)}
    if not shares["keep"]:
        raise ConfigError(f"{NAME}(keep=)", expected="a share in (0, 1]", got=repr(keep))
    return Shares(**shares, allocation=allocation, round_to=int(round_to))


def _share(name: str, given: Any) -> Fraction:
    """A number in [0, 1] as it is written: 0.7 of 10 are 7."""
    if isinstance(given, bool) or not isinstance(given, Real) or not 0 <= float(given) <= 1:
        raise ConfigError(f"{NAME}({name}=)", expected="a share in [0, 1]", got=repr(given))
    return Fraction(str(float(given)))


def _fixed(skip: Skip, model: nn.Module) -> dict[str, str]:
    """Layers that keep their outputs because the user says so."""
    layers = {name: module for name, module in model.named_modules() if kind_of(module) is not None}
    return skipped(model, layers, skip, dense_first=False, dense_last=False, operation=NAME)


def _nothing(followed: Followed) -> ConfigError:
    reasons = [f"{name}: {why}" for name, why in followed.why.items()]
    return ConfigError(
        NAME,
        expected="channels that can go",
        got=f"none: {'; '.join(reasons[:5])}"
        if reasons
        else "none: no dense linear layer or convolution is followed",
    )


def _states(
    model: nn.Module, cuts: Mapping[str, Cut], optimizers: Iterable[Optimizer]
) -> dict[int, list[Tensor]]:
    """Id of every parameter that is cut -> its gradient and the state of it; refuses what could not be cut."""
    cut = {id(slot.tensor) for name, each in cuts.items() for slot in slots(model.get_submodule(name), each)}
    parameters = {name: parameter for name, parameter in model.named_parameters() if id(parameter) in cut}
    for parameter in parameters.values():
        refuse_fixed_size(parameter, NAME)
    states = states_of_weights(parameters, optimizers, NAME, "pass optimizers=[optimizer]")
    return {id(parameter): states[name] for name, parameter in parameters.items()}


def _row(name: str, followed: Followed, cut: Cut | None) -> ChannelRow:
    """What became of a layer."""
    member = followed.layers[name]
    outputs = member.outputs.size
    inputs = member.read
    if cut is None:
        return ChannelRow(name, member.kind, (outputs, outputs), (inputs, inputs), followed.why.get(name, ""))
    stays = (int((~cut.outputs).sum()), inputs - int(cut.inputs.sum()))
    notes = [followed.why[name]] if name in followed.why else []
    if bool(cut.inputs.any()):
        notes.append(_folded(name, cut))
    return ChannelRow(name, member.kind, (outputs, stays[0]), (inputs, stays[1]), "; ".join(notes))


def _others(model: nn.Module, followed: Followed) -> list[ChannelRow]:
    """Layers that were not followed, as they are."""
    rows = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)) and name not in followed.layers:
            out, read = module.weight.shape[0], module.weight.shape[1]
            why = "it carries hooks" if has_hooks(module) else "another class, or not called in evaluation"
            rows.append(
                ChannelRow(name, type(module).__name__, (out, out), (read, read), f"not followed: {why}")
            )
    return rows


def _folded(name: str, cut: Cut) -> str:
    """Where the constants of the inputs went."""
    if not cut.told:
        return "inputs counted as zero: no bias, and no batch norm behind it, can take what they were"
    count = int(cut.constants.count_nonzero())
    if not count:
        return "inputs counted as zero"
    where = "its bias" if cut.told == name else f"the mean of {cut.told}"
    return f"{count} of {int(cut.inputs.sum())} inputs folded into {where}"
