"""Checks that a rule can follow a model and its optimizer, then joins them in an engine."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterable
from operator import index
from typing import Any

from torch import nn
from torch.optim import Optimizer

from gossamer.errors import ConfigError, TrainingWarning
from gossamer.nn import SparseModule
from gossamer.nn.kinds import is_layer
from gossamer.registry import answers_unknown, check_names
from gossamer.rules import Rule, describe, rule_of
from gossamer.rules.through import Through
from gossamer.trace.links import links
from gossamer.training.engine import Engine
from gossamer.training.optimizers import nested, unwrapped, warn_where_decay_misses
from gossamer.training.ranks import Ranks, facts_of, refuse_shards
from gossamer.training.sharing import refuse_shared

LATE = (
    "{name} was frozen and not in the optimizer when the rule was attached, so its topology stays; "
    "to have it updated, call engine.detach() and gossamer.attach again, or give the optimizer all layers at the start"
)


@answers_unknown
def attach(
    model: nn.Module,
    optimizer: Optimizer,
    rule: Rule | str,
    *,
    total_steps: int,
    seed: int = 0,
    outputs: Iterable[str] | None = None,
    fixed: Iterable[str] = (),
    in_step: bool = True,
) -> Engine:
    """Let a rule update the sparse layers of a model; the training loop does not change.

    A TrainingWarning says what of the rule would do nothing in so many steps, and what to change.

    Args:
        model: nn.Module - with sparse layers, from ``sparsify`` or built by hand.
        optimizer: Optimizer - holds their parameters; its state is carried through every update by shape.
        rule: Rule - e.g. SRigL(every=100, drop=0.3); or the name of one with its defaults, "srigl".
        total_steps: int - optimizer steps of the whole training; schedules end at ``rule.until`` of it.
        seed: int - of every random choice.
        outputs: names of layers that are never ablated; None means the model's last linear or convolution.
        fixed: names of sparse layers whose topology stays, as the output layer's does in SET-MLP.
        in_step: bool - where torch.distributed runs, its ranks train one model together and decide together; False for
            a process that trains by itself.
    Returns:
        Engine - keep it for ``state_dict`` and ``history``.
    Raises:
        ConfigError, PatternError; RankError: a rank that does not answer.
    Cost: nothing at ordinary steps; at a growth step the inputs and output gradients of the layers stay alive until
        the update.
    Source: RigL (Evci et al. 2020), algorithm 1; the update follows the step, as in SRigL.
    Example:
        >>> import torch, gossamer as gs
        >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        >>> _ = gs.sparsify(model, density=0.2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        >>> engine = attach(model, optimizer, gs.RigL(every=2), total_steps=10)
        >>> for _ in range(10):
        ...     optimizer.zero_grad(); model(torch.randn(8, 64)).square().mean().backward(); _ = optimizer.step()
        >>> engine.step, sorted({row.step for row in engine.history})
        (10, [2, 4, 6])
    """
    return join(
        model,
        optimizer,
        rule,
        total_steps=total_steps,
        seed=seed,
        outputs=outputs,
        fixed=fixed,
        in_step=in_step,
        warns=True,
    )


def join(
    model: nn.Module,
    optimizer: Optimizer,
    rule: Rule | str,
    *,
    total_steps: int,
    seed: int = 0,
    outputs: Iterable[str] | None = None,
    fixed: Iterable[str] = (),
    in_step: bool = True,
    warns: bool = False,
) -> Engine:
    """The same for the trainings of this package, which say themselves what of a rule will not act.

    Args:
        model: nn.Module - see ``attach`` for this and what follows.
        optimizer: Optimizer.
        rule: Rule, or its name.
        total_steps: int.
        seed: int.
        outputs: names, or None.
        fixed: names.
        in_step: bool.
        warns: bool - whether a TrainingWarning says what of the rule would do nothing.
    Returns:
        Engine.
    Raises:
        ConfigError, PatternError, RankError: as ``attach``.
    Cost: as ``attach``.
    """
    total_steps, seed = _whole("total_steps", total_steps, 1), _whole("seed", seed, None)
    rule = rule_of(rule)
    named = {name: module for name, module in model.named_modules() if isinstance(module, SparseModule)}
    check_names("attach(fixed=)", fixed := frozenset(fixed), "layers", named)
    optimizer = unwrapped(optimizer)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    may = {name: layer for name, layer in named.items() if name not in fixed}
    layers = {name: m for name, m in may.items() if m.weights.requires_grad or id(m.weights) in held}
    if not any(layer.weights.requires_grad for layer in layers.values()):
        raise ConfigError(
            "attach", expected="trainable sparse layers", got="none", hint="call gossamer.sparsify first"
        )
    refuse_shards(layers)
    _refuse_around(rule, optimizer)
    refuse_shared("attach", rule, layers, named)
    _check_layers(layers, held, rule)
    warn_where_decay_misses(layers, optimizer)
    if outputs is None:
        outputs = _last_layer(model)
    else:
        check_names("attach(outputs=)", outputs := frozenset(outputs), "layers", named)
    linked = links(model)
    if rule.folds() and (bare := [link.reader for link in linked if named[link.reader].bias is None]):
        raise ConfigError(
            f"attach({rule.name})",
            expected="biases, which take in what removed neurons would give",
            got=f"none in {', '.join(bare)}",
        )
    ranks = Ranks(in_step=in_step)
    said = {"total_steps": total_steps, "seed": seed, "outputs": sorted(outputs)}
    ranks.agree("attach", lambda: {**facts_of(model), "rule": describe(rule), **said})
    if warns and (reason := rule.idle(total_steps, [layer.encoded for layer in layers.values()])):
        warnings.warn(f"attach: {reason}", TrainingWarning, stacklevel=4)
    engine = Engine(layers, optimizer, rule, total_steps, seed, outputs, linked, ranks, named)
    for name in may.keys() - layers.keys():
        may[name].tape.unfollowed = LATE.format(name=name)
    return engine


def _refuse_around(rule: Rule, optimizer: Optimizer) -> None:
    """Refuse an optimizer around another one for rules that change gradients before the step; raises ConfigError."""
    if isinstance(rule, Through) and len(nested(optimizer)) > 1:
        raise ConfigError(
            f"attach({rule.name})",
            expected="an optimizer that makes its steps itself",
            got=f"{type(optimizer).__name__} around another one, which would see weights that the layers do not use",
            hint="use the inner optimizer alone",
        )


def _whole(name: str, value: Any, least: int | None) -> int:
    """A number as Python's own, so that checkpoints can hold it, whatever library counted."""
    try:
        number = index(int(value) if isinstance(value, float) and value.is_integer() else value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        bound = "a whole number" if least is None else f">= {least}"
        raise ConfigError("attach", expected=f"{name} {bound}", got=repr(value))
    return number


def _check_layers(layers: dict[str, SparseModule], held: set[int], rule: Rule) -> None:
    """Refuse layers that the rule, the optimizer or another engine keeps from being followed."""
    for name, layer in layers.items():
        rule.check(layer.pattern, layer.shape)
        if reason := rule.undefined_in(layer.home):
            raise ConfigError(
                f"attach({rule.name})",
                expected="layers of a home in which the rule is defined",
                got=f"{name}, which is {layer.home}",
                hint=reason,
            )
        if id(layer.weights) not in held:
            raise ConfigError(
                "attach",
                expected=f"an optimizer that holds the values of {name}",
                got="one that does not",
                hint="create the optimizer after sparsify, from model.parameters()",
            )
        if layer.tape.followed:
            gc.collect()  # an engine and its optimizer hold each other, also when nobody else does any more
        if layer.tape.followed:
            raise ConfigError(
                "attach",
                expected="layers no other engine follows",
                got=f"{name}, which one does",
                hint="keep what attach returned, and call its detach() first; or attach to a copy of the model",
            )


def _last_layer(model: nn.Module) -> list[str]:
    """The last weight layer in order of registration: the model's outputs."""
    return [name for name, module in model.named_modules() if is_layer(module)][-1:]
