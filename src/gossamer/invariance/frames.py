"""How the values of a network move with an image: by which choices of phases they came about."""

from __future__ import annotations

from dataclasses import dataclass, field

from gossamer.errors import ConfigError

Frame = tuple[
    int, ...
]  # the choices on the way from the image, by number; a value without one does not move at all
NAME = "make_shift_invariant"


@dataclass(frozen=True)
class Choice:
    """A layer that keeps one phase of what it reads.

    Args:
        name: str - of the layer.
        stride: (down, along).
    """

    name: str
    stride: tuple[int, int]


@dataclass
class Choices:
    """All choices of a network, and which of them must be one.

    Two values can be added only if they moved alike: through as many choices, which are then the same ones.

    Example:
        >>> choices = Choices()
        >>> main, shortcut = choices.new((), "conv", (2, 2)), choices.new((), "shortcut", (2, 2))
        >>> choices.unite(main, shortcut, "add")
        >>> [[choice.name for choice in group] for group in choices.groups()]
        [['conv', 'shortcut']]
    """

    made: list[Choice] = field(default_factory=list)
    same: list[int] = field(
        default_factory=list
    )  # number of a choice -> an earlier one that it is, or itself

    def new(self, before: Frame, name: str, stride: tuple[int, int]) -> Frame:
        """The frame behind a layer that chooses; layers come in the order in which they run."""
        self.made.append(Choice(name, stride))
        self.same.append(len(self.same))
        return (*before, len(self.same) - 1)

    def unite(self, left: Frame, right: Frame, where: str) -> None:
        """Make two values move alike; raises ConfigError where they cannot."""
        if len(left) != len(right):
            raise self._apart(left, right, where)
        for pair in zip(left, right, strict=True):
            first, second = sorted(map(self._first, pair))
            if self.made[first].stride != self.made[second].stride:
                raise self._apart(left, right, where)
            self.same[second] = first

    def groups(self) -> list[list[Choice]]:
        """Choices that are one, the first to run first."""
        found: dict[int, list[Choice]] = {}
        for number, choice in enumerate(self.made):
            found.setdefault(self._first(number), []).append(choice)
        return list(found.values())

    def _first(self, number: int) -> int:
        while self.same[number] != number:
            number = self.same[number]
        return number

    def _apart(self, left: Frame, right: Frame, where: str) -> ConfigError:
        """Values that moved through other strides."""
        ways = (", ".join(self._said(number) for number in frame) or "no stride" for frame in (left, right))
        return ConfigError(
            NAME,
            expected="branches that come together behind the same strides, one after the other",
            got=f"{' and '.join(ways)} at {where}",
            hint="give both branches strides in the same order and of the same size",
        )

    def _said(self, number: int) -> str:
        choice = self.made[number]
        return f"{choice.name} (stride {choice.stride[0]} x {choice.stride[1]})"
