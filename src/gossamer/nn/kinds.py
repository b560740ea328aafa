"""Kinds of layers that can be sparse: one row each, and all that looks at layers asks here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor, nn

from gossamer.errors import ConfigError
from gossamer.nn.inputs import rows_of_features
from gossamer.nn.sparse import SparseModule
from gossamer.patterns import Pattern

Dense = (
    nn.Linear | nn.Conv1d | nn.Conv2d
)  # for the type checker: a dense layer of any kind has their weight and bias


@dataclass(frozen=True)
class Kind:
    """A row of the table. The sparse classes themselves say how they compute, and make rows of the dense gradient.

    Args:
        name: str.
        dense: classes that are replaced, exactly these; torch's own is the first.
        masked: class of the layer in the masked home.
        packed: class of the layer in the packed home, or None where there is none yet.
        example: () -> nn.Module - a dense layer of torch, as small as can be.
        linear: bool - it multiplies the last dimension by its weight, adds its bias, and does no more: its connections
            say all, so freezing reads it, and constants are moved through it.
        between: dense layer of torch -> one that suits packed neighbours; None leaves it as it is.
        left: dense layer -> why it stays dense, "" for one that can be sparse.
        fits: (dense layer, pattern) -> None - raises PatternError for a pattern that it cannot have, beyond what the
            pattern says of its matrix.
        rows: (layer, input) -> parts [samples, groups, columns] of what its matrix is multiplied by.
    """

    name: str
    dense: tuple[type[nn.Module], ...]
    masked: type[SparseModule]
    packed: type[SparseModule] | None
    example: Callable[[], nn.Module]
    linear: bool = False
    between: Callable[[Any], nn.Module] | None = None
    left: Callable[[Any], str] = lambda _: ""
    fits: Callable[[Any, Pattern], None] = lambda *_: None
    rows: Callable[[Any, Tensor], Iterator[Tensor]] = rows_of_features

    @property
    def sparse(self) -> tuple[type[SparseModule], ...]:
        """The classes of its sparse layers."""
        return (self.masked,) if self.packed is None else (self.packed, self.masked)

    def home(self, wanted: str) -> type[SparseModule]:
        """The class for a home, or of the masked one where it has no packed home."""
        return self.packed if wanted == "packed" and self.packed is not None else self.masked


kinds: dict[str, Kind] = {}


def kind(row: Kind) -> Kind:
    """Add a row.

    Args:
        row: Kind.
    Returns:
        Kind - the row.
    Raises:
        ConfigError: a name or a class that is in the table already.
    Cost: O(rows).
    Example:
        >>> from gossamer.nn import kinds as table
        >>> kind(table.kinds["linear"])
        Traceback (most recent call last):
        ...
        gossamer.errors.ConfigError: register kind of layers: expected a new name and new classes, got 'linear'
    """
    classes = {each for other in kinds.values() for each in (*other.dense, *other.sparse)}
    if row.name in kinds or classes & {*row.dense, *row.sparse}:
        raise ConfigError(
            "register kind of layers", expected="a new name and new classes", got=repr(row.name)
        )
    kinds[row.name] = row
    return row


def kind_of(module: nn.Module) -> Kind | None:
    """The kind of a dense or sparse layer, of exactly these classes.

    Example:
        >>> import gossamer.nn
        >>> kind_of(nn.Conv2d(1, 1, 1)).name, kind_of(nn.ReLU())
        ('conv2d', None)
    """
    return next((row for row in kinds.values() if type(module) in (*row.dense, *row.sparse)), None)


def dense_kind(module: nn.Module) -> Kind | None:
    """The kind of a layer that can be replaced by a sparse one."""
    found = kind_of(module)
    return found if found is not None and type(module) in found.dense else None


def dense_classes() -> tuple[type[nn.Module], ...]:
    """Every dense class, for ``isinstance``: subclasses may use their weight in another way, but have one."""
    return tuple(each for row in kinds.values() for each in row.dense)


def is_layer(module: nn.Module) -> bool:
    """Whether a module is a sparse layer, or of a dense class; subclasses of either included."""
    return isinstance(module, (SparseModule, *dense_classes()))


def between(layers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """What takes the places of torch's own layers that stay dense among packed ones, where a kind has something."""
    rows = {row.dense[0]: row.between for row in kinds.values()}
    found = {name: (layer, rows.get(type(layer))) for name, layer in layers.items()}
    return {name: made(layer) for name, (layer, made) in found.items() if made is not None}


def matrix_shape(module: Any) -> tuple[int, int]:
    """(out, in) of a layer's weight as a matrix; of a sparse layer its own, of a dense one by its first dimension.

    Example:
        >>> matrix_shape(nn.Conv2d(2, 8, 3))
        (8, 18)
    """
    if isinstance(module, SparseModule):
        return module.shape
    return (module.weight.shape[0], prod(module.weight.shape[1:]))
