"""Which images are stored in phases for readers that step over pixels, and the few copies that this leaves."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from gossamer.network.lowering import Image, Pair, Work

WHOLE: Final[Pair] = (1, 1)
FIRM, ONE_PIXEL, EITHER = range(3)  # how firmly a reader wants its phases


def joined(works: list[Work]) -> list[Work]:
    """The same works with a copy of every image that cannot be computed right where a join wants it.

    An image lies in one join, once, and a part of another lies where that does.
    """
    taken: set[int] = set()
    made: list[Work] = []
    number = len(works)
    for work in works:
        if work.kind != "join":
            made.append(work)
            continue
        members: list[Image] = []
        for image in work.reads:
            if image.number in taken or works[image.number].kind == "part":
                copy = replace(image, number=number)
                number += 1
                made.append(Work("move", work.name, (image,), copy))
                members.append(copy)
            else:
                members.append(image)
            taken.add(members[-1].number)
        made.append(replace(work, reads=tuple(members)))
    return made


def phased(works: list[Work], outputs: list[Image]) -> tuple[list[Work], dict[int, Pair]]:
    """The works with the copies that readers of phases need, and the phases in which each image is stored.

    An image is stored in the phases that all its readers want, where what makes it can do that: a convolution, a pool,
    what enters. Else it is stored whole and copied into phases for those who want them.

    Returns:
        (list of Work, number of an image -> phases).
    """
    whole, readers = _stay_whole(works, outputs), _readers(works)
    number = max(work.makes.number for work in works) + 1
    stored: dict[int, Pair] = {}
    now = {work.makes.number: work for work in works}  # as they read once there are copies
    copies: dict[int, list[Work]] = {}  # of an image, behind the work that makes it
    for work in reversed(works):
        image = work.makes
        reads = [(*_wish(now[reader], at, stored), reader, at) for reader, at in readers[image.number]]
        reads.sort(key=lambda read: read[0])  # who reads one pixel of a step takes what the others have
        firmest = reads[0][0] if reads else FIRM
        wants = {want for wish, want, *_ in reads if wish == firmest}
        free = image.number not in whole and len(wants) == 1
        stored[image.number] = chosen = wants.pop() if free and _can(work, *wants) else WHOLE
        found: dict[Pair, Work] = {}
        for wish, want, reader, at in reads:
            if want == chosen or (wish == EITHER and chosen == WHOLE):
                continue
            if want not in found:
                found[want] = (_every if wish == ONE_PIXEL else _copy)(image, want, number, work.name)
                stored[number] = WHOLE if wish == ONE_PIXEL else want
                number += 1
            now[reader] = _rewired(now[reader], at, found[want])
        copies[image.number] = list(found.values())
    made = [each for work in works for each in (now[work.makes.number], *copies[work.makes.number])]
    return made, stored


def _readers(works: list[Work]) -> dict[int, list[tuple[int, int]]]:
    """Number of an image -> who reads it, and as which of its inputs."""
    readers: dict[int, list[tuple[int, int]]] = {work.makes.number: [] for work in works}
    for work in works:
        for at, image in enumerate(work.reads):
            readers[image.number].append((work.makes.number, at))
    return readers


def _stay_whole(works: list[Work], outputs: list[Image]) -> set[int]:
    """Images that leave, or lie inside of others."""
    whole = {image.number for image in outputs}
    for work in works:
        if work.kind in ("join", "part"):
            whole |= {work.makes.number, *(image.number for image in work.reads)}
    return whole


def _wish(work: Work, at: int, stored: dict[int, Pair]) -> tuple[int, Pair]:
    """In which phases a work reads one of its inputs, and how firmly.

    A convolution that steps over pixels without reading them does with those that it reads. One that reads each pixel
    at its own place, and stores phases, does with an input that is stored whole as well.
    """
    g, made = work.geometry, stored[work.makes.number]
    if g is None or at:
        return FIRM, made if work.kind in ("conv", "map") else WHOLE
    if g.pointwise and made != WHOLE:
        return EITHER, made
    alone = g.kernel == WHOLE and g.stride != WHOLE and not any(g.padding)
    return ONE_PIXEL if alone else FIRM, g.stride


def _can(work: Work, phases: Pair) -> bool:
    """Whether a work can store its result in phases."""
    if work.kind == "conv":
        return phases[1] <= 2 and len(work.reads) == 1
    return work.kind not in ("join", "part")


def _copy(image: Image, _phases: Pair, number: int, name: str) -> Work:
    return Work("move", name, (image,), replace(image, number=number))


def _every(image: Image, stride: Pair, number: int, name: str) -> Work:
    """Every second row and column, or whatever the stride is."""
    rows, cols = (
        np.arange(0, size, step).astype(np.int32) for size, step in zip(image.size[1:], stride, strict=True)
    )
    return Work(
        "move", name, (image,), Image(number, image.channels, len(rows), len(cols)), rows=rows, cols=cols
    )


def _rewired(work: Work, at: int, copy: Work) -> Work:
    """A work that reads a copy; of one that holds nothing but what it wants it reads every pixel."""
    reads = (*work.reads[:at], copy.makes, *work.reads[at + 1 :])
    if work.geometry is None or copy.rows is None:
        return replace(work, reads=reads)
    return replace(work, reads=reads, geometry=replace(work.geometry, stride=WHOLE))
