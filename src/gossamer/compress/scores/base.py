"""A score: one number a weight, the larger the more it is worth keeping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.compress.batches import batches_of
from gossamer.errors import ConfigError, StateError
from gossamer.nn import SparseModule
from gossamer.nn.candidates import effective_weight
from gossamer.patterns import Pattern
from gossamer.registry import Registry

Loss = Callable[[Any, Any], Tensor]

scores: Registry[type[Score]] = Registry("score", group="gossamer.scores")


@dataclass(frozen=True)
class Task:
    """What a score is asked about.

    Args:
        model: nn.Module - as it is before pruning; a score leaves it as it was.
        layers: name -> layer, dense or sparse, that is pruned.
        density: name -> density of each layer; None where the scores decide, over all layers together.
        overall: float - density of all of them together.
        pattern: Pattern - that dense ones get.
        batches: list of batches, checked.
        loss: (outputs, targets) -> scalar; the mean over samples.
        generator: torch.Generator or None.
        updated: name -> weights that a score puts in the place of a layer's, where connections stay.
        settled: name -> density of each layer, of a score that has to know them while it ranks all layers together.
    """

    model: nn.Module
    layers: Mapping[str, nn.Module]
    density: Mapping[str, float] | None
    overall: float
    pattern: Pattern
    batches: list[Any] = field(default_factory=list)
    loss: Loss = F.cross_entropy
    generator: torch.Generator | None = None
    updated: dict[str, Tensor] = field(default_factory=dict)
    settled: dict[str, float] = field(default_factory=dict)

    @property
    def weights(self) -> dict[str, Tensor]:
        """Name -> weights as the next pass uses them: in a dense layer's shape, or those that a packed one stores."""
        return {name: weights_of(layer).detach() for name, layer in self.layers.items()}

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Name -> the parameter that holds them."""
        return {name: parameter_of(layer) for name, layer in self.layers.items()}


@dataclass(frozen=True, kw_only=True)
class Score(ABC):
    """Base of all scores: subclass, register, and say what it needs.

    ``allocation`` is how densities are spread where the user does not say; "global" ranks all layers together.
    ``needs`` names what must be given: "data" (inputs), "targets" (pairs, and a loss).
    """

    name: ClassVar[str]
    allocation: ClassVar[str] = "erk"
    needs: ClassVar[frozenset[str]] = frozenset()
    updates: ClassVar[bool] = False  # it changes the weights that stay, through ``task.updated``

    @abstractmethod
    def of(self, task: Task) -> dict[str, Tensor]:
        """Name -> scores of the shape of ``task.weights``, finite."""

    def check(self, data: Any) -> list[Any]:
        """The batches of what was given; raises ConfigError where the score needs some and there are none."""
        if data is None and self.needs:
            what = "pairs (inputs, targets)" if "targets" in self.needs else "batches of inputs"
            raise ConfigError(
                f"prune(score={self.name!r})",
                expected=f"data=, {what}",
                got="None",
                hint="magnitude, random and lamp need no data",
            )
        return [] if data is None else batches_of(data, "prune(data=)")


def score_of(given: Any) -> Score:
    """The score meant by an instance or a name.

    Raises:
        ConfigError.
    Example:
        >>> score_of("lamp").allocation
        'global'
    """
    if isinstance(given, Score):
        return given
    if isinstance(given, str):
        return scores[given.strip().lower()]()
    named = isinstance(given, type) and issubclass(given, Score)
    raise ConfigError(
        "prune(score=)",
        expected=f"one of {', '.join(scores)}, or an instance",
        got=f"the class {given.__name__}" if named else repr(given),
        hint=f"make one: {given.__name__}()" if named else "",
    )


def parameter_of(layer: Any) -> nn.Parameter:
    """The parameter that holds a layer's weights; of one pruned by torch, the values before its mask."""
    if isinstance(layer, SparseModule):
        return layer.weights
    held = layer._parameters  # noqa: SLF001 (what a hook computes is no parameter)
    found: nn.Parameter = held.get("weight", held.get("weight_orig"))
    return found


def weights_of(layer: Any) -> Tensor:
    """The weights as the next pass uses them; those a packed layer stores."""
    return layer.weights if isinstance(layer, SparseModule) else effective_weight(layer)


def gradients_of(task: Task, value: Tensor, create_graph: bool = False) -> dict[str, Tensor]:
    """Name -> gradient of a scalar with respect to a layer's weights.

    Raises:
        StateError: a layer that the scalar does not depend on.
    """
    parameters = task.parameters
    found = torch.autograd.grad(
        value, list(parameters.values()), create_graph=create_graph, allow_unused=True
    )
    for name, gradient in zip(parameters, found, strict=True):
        if gradient is None:
            raise StateError(
                f"prune {name}",
                expected="a layer that the loss depends on",
                got="no gradient",
                hint="leave it out with skip=",
            )
    return dict(zip(parameters, found, strict=True))
