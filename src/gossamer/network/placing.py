"""Where the images of a stretch lie: borders for all their readers, rows that fit, memory that is taken again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gossamer.layouts.planes import Planes, border_of
from gossamer.network.phases import WHOLE

if TYPE_CHECKING:
    from gossamer.network.lowering import Image, Pair, Work

LARGEST_DETOUR: Final = (
    8  # rows or columns of zeros more, for planes of one size in what is read and what is written
)
LANES: Final = 8  # elements that every row begins at a multiple of, where that pays
SPARE: Final = 14  # rows grow for it by one part in so many at the most


@dataclass
class Home:
    """The planes that images lie in: one, or several that a join puts side by side."""

    image: Image
    phases: Pair
    border: Pair = (0, 0)
    first: int = 0  # step that writes them, and the last that reads
    last: int = 0
    straight: int = 0  # convolutions that read each pixel at its own place, less all others
    group: list[Home] = field(default_factory=list)  # those whose planes have one size

    @property
    def base(self) -> Pair:
        """Rows and columns without the border."""
        return -(-self.image.height // self.phases[0]), -(-self.image.width // self.phases[1])

    def planes(self, channels: int | None = None) -> Planes:
        """All of them, or as many as an image has that lies inside."""
        size = self.image.channels if channels is None else channels
        return Planes(size, self.image.height, self.image.width, self.border, self.phases)


def homes(works: list[Work], stored: dict[int, Pair]) -> dict[int, tuple[Home, int]]:
    """Number of an image -> where it lies, and its first channel there.

    Args:
        works: in order, as ``phased`` gives them.
        stored: phases of each image.

    Returns:
        Homes with borders as large as their readers need, and planes of one size where a convolution goes from pixel
        to pixel: it reads and writes each of them in one go.
    """
    found = _found(works, stored)
    for home, _ in found.values():
        home.group = [home]
    for step, work in enumerate(works):
        home = found[work.makes.number][0]
        home.last = max(home.last, step)
        for image in work.reads:
            found[image.number][0].last = step
        if work.geometry is not None:
            _fit(work, found)
    for home, _ in found.values():
        high, wide = (max(each.base[side] + each.border[side] for each in home.group) for side in (0, 1))
        pitch = _pitch(wide, sum(each.straight for each in home.group))
        for each in home.group:
            each.border = high - each.base[0], pitch - each.base[1]
    return found


def _pitch(wide: int, straight: int) -> int:
    """Elements of a row: whole vectors where most convolutions read straight ahead, for none lies in two lines then."""
    whole = -(-wide // LANES) * LANES
    return whole if straight > 0 and SPARE * (whole - wide) <= wide else wide


def _found(works: list[Work], stored: dict[int, Pair]) -> dict[int, tuple[Home, int]]:
    """Each image at its place, in a join, in what it is a part of, or in planes of its own."""
    inside: dict[int, tuple[int, int]] = {}
    for work in works:
        first = 0
        for image in work.reads if work.kind == "join" else ():
            inside[image.number] = work.makes.number, first
            first += image.channels
        if work.kind == "part":
            inside[work.makes.number] = work.reads[0].number, work.first
    own: dict[int, Home] = {}
    found = {}
    images = {work.makes.number: work.makes for work in works}
    for step, work in enumerate(works):
        number, first = work.makes.number, 0
        while number in inside:
            number, more = inside[number]
            first += more
        if number not in own:
            own[number] = Home(images[number], stored.get(number, WHOLE), first=step)
        found[work.makes.number] = own[number], first
    return found


def _fit(work: Work, found: dict[int, tuple[Home, int]]) -> None:
    """The border that a convolution needs, and planes of one size."""
    x, out = found[work.reads[0].number][0], found[work.makes.number][0]
    geometry = work.geometry
    if geometry is None:
        raise AssertionError("asked of convolutions alone")
    rows, cols = border_of(geometry, x.image.height, x.image.width, x.phases)
    x.border = max(x.border[0], rows), max(x.border[1], cols)
    x.straight += 1 if geometry.pointwise else -1
    straight = out.phases[1] == 1 and geometry.stride == x.phases
    if straight and all(abs(a - b) <= LARGEST_DETOUR for a, b in zip(x.base, out.base, strict=True)):
        _together(x, out)
    for image in work.reads[1:]:
        _together(found[image.number][0], out)


def _together(a: Home, b: Home) -> None:
    if a.group is b.group:
        return
    a.group += b.group
    for each in b.group:
        each.group = a.group


def arranged(every: list[Home], slack: int) -> tuple[dict[int, int], int]:
    """Where planes begin in an arena, and how large it is.

    Memory is taken again by planes of the same sizes only, so that the zeros between rows stay zeros.

    Args:
        every: Homes, each once.
        slack: int - elements of zeros before and behind all planes of a size, beside their own border.

    Returns:
        (id of a Home -> element of its first plane, elements in all).
    """
    sizes: dict[object, list[Home]] = {}
    for home in sorted(every, key=lambda each: each.first):
        planes = home.planes()
        alike = None if planes.phases == WHOLE else planes.channels
        sizes.setdefault((planes.height, planes.width, planes.border, planes.phases, alike), []).append(home)
    at, end = {}, 0
    for group in sizes.values():
        planes = group[0].planes()
        start = end + -(-max(planes.guard, slack) // 16) * 16
        placed: list[tuple[int, int, Home]] = []
        for home in group:
            count, first = home.planes().count, 0
            for begin, stop, other in sorted(placed, key=lambda each: each[:2]):
                if other.last >= home.first and begin < first + count and stop > first:
                    first = stop
            placed.append((first, first + count, home))
            at[id(home)] = start + first * planes.plane
        end = start + max(stop for _, stop, _ in placed) * planes.plane + planes.guard
    return at, end + slack
