"""Losses of features: pairs of layers, one of the student and one of the teacher."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.distillation.losses import EPSILON, NORMS, attention_loss, squarehead_loss
from gossamer.distillation.terms import Seen, Term, check_number
from gossamer.errors import ConfigError, GossamerError, ShapeError
from gossamer.registry import check_choice

Layers = Mapping[str, str] | Sequence[str]


class _Features(Term):
    """A loss of pairs of layers, summed."""

    layers: Layers
    weight: float

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """As given, or each layer with the one of the same name."""
        named = self.layers
        return tuple(named.items()) if isinstance(named, Mapping) else tuple((one, one) for one in named)

    def value(self, seen: Seen, learned: Mapping[str, nn.Module]) -> Tensor:
        """The weighted sum; an error names the pair."""
        total: Any = 0.0
        for ours, theirs in self.pairs:
            try:
                total = total + self._one(seen.student[ours], seen.teacher[theirs], seen, learned.get(ours))
            except GossamerError as error:
                raise error.within(f"distill {ours} from {theirs}") from None
        return self.weight * total  # type: ignore[no-any-return]

    @abstractmethod
    def _one(self, ours: Tensor, theirs: Tensor, seen: Seen, learned: nn.Module | None) -> Tensor:
        """The loss of a pair."""

    def __post_init__(self) -> None:
        kind, named = type(self).__name__, self.layers
        check_number(kind, low=0.0, weight=self.weight)
        fits = isinstance(named, (Mapping, Sequence)) and not isinstance(named, str)
        names = [name for pair in self.pairs for name in pair] if fits else []
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ConfigError(kind, expected="names of layers, or student -> teacher", got=repr(named))


@dataclass(frozen=True, kw_only=True)
class AttentionTransfer(_Features):
    """The student looks where the teacher looks, for networks of images of any widths.

    Args:
        layers: names of layers in both, or a mapping from those of the student to those of the teacher.
        weight: float >= 0 - 1000 goes with "mean"; the paper's beta / 2 with "l2".
        norm: "mean" or "l2" - see ``attention_loss``.
    Source: Zagoruyko and Komodakis 2017.
    Example:
        >>> AttentionTransfer(layers=["layer1", "layer2"]).pairs
        (('layer1', 'layer1'), ('layer2', 'layer2'))
    """

    layers: Layers
    weight: float = 1000.0
    norm: str = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("AttentionTransfer(norm=)", self.norm, NORMS)

    def _one(self, ours: Tensor, theirs: Tensor, seen: Seen, learned: nn.Module | None) -> Tensor:
        return attention_loss(ours, theirs, self.norm)


@dataclass(frozen=True, kw_only=True)
class SquareHead(_Features):
    """Hidden states of a transformer, layer by layer, relative to the size of the teacher's; for equal shapes.

    Args:
        layers: names of the blocks in both, or a mapping from those of the student to those of the teacher.
        weight: float >= 0.
        epsilon: float - beside the mean of squares; that of bfloat16, as published.
    Source: Kurtic et al. 2023.
    Example:
        >>> SquareHead(layers={"h.0": "h.0"}).weight
        1.0
    """

    layers: Layers
    weight: float = 1.0
    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("SquareHead", low=0.0, epsilon=self.epsilon)

    def _one(self, ours: Tensor, theirs: Tensor, seen: Seen, learned: nn.Module | None) -> Tensor:
        return squarehead_loss(ours, theirs, seen.mask, self.epsilon)


@dataclass(frozen=True, kw_only=True)
class Hints(_Features):
    """The teacher's features themselves, guessed from the student's by a learned linear map: mean square error.

    The map, a 1x1 convolution for images and a linear layer else, trains with the student: give the optimizer
    ``loss.parameters()`` too.

    Args:
        layers: names of layers in both, or a mapping from those of the student to those of the teacher.
        weight: float >= 0.
    Source: Romero et al. 2015, FitNets.
    Example:
        >>> Hints(layers={"small": "large"}).pairs
        (('small', 'large'),)
    """

    layers: Layers
    weight: float = 100.0

    def learn(self, seen: Seen) -> dict[str, nn.Module]:
        """A map a pair, drawn from torch's own generator."""
        return {
            ours: _regressor(seen.student[ours], seen.teacher[theirs], ours) for ours, theirs in self.pairs
        }

    def _one(self, ours: Tensor, theirs: Tensor, seen: Seen, learned: nn.Module | None) -> Tensor:
        assert learned is not None  # noqa: S101 (our own bug)
        guess = learned(ours)
        if guess.shape != theirs.shape:
            raise ShapeError(
                "hint", expected=f"features that map to {list(theirs.shape)}", got=str(list(ours.shape))
            )
        return F.mse_loss(guess, theirs)


def _regressor(ours: Tensor, theirs: Tensor, name: str) -> nn.Module:
    """From the channels of one to those of the other."""
    made: nn.Module
    at = 1 if ours.ndim == 4 else ours.ndim - 1
    apart = [
        n
        for n, pair in enumerate(zip(ours.shape, theirs.shape, strict=False))
        if pair[0] != pair[1] and n != at
    ]
    if ours.ndim != theirs.ndim or ours.ndim not in (2, 3, 4) or apart:
        raise ShapeError(
            f"hint of {name}",
            expected=f"features like {list(theirs.shape)} but for the channels",
            got=str(list(ours.shape)),
            hint="AttentionTransfer compares maps of different sizes",
        )
    sizes = ours.shape[at], theirs.shape[at]
    made = nn.Conv2d(*sizes, 1) if ours.ndim == 4 else nn.Linear(*sizes)
    return made.to(ours.device, ours.dtype)
