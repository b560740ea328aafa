"""A stretch of a network as steps of the core: images get their places, and works become steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gossamer.kernels.cpu.steps import Step, View
from gossamer.layouts.arrays import aligned
from gossamer.layouts.planes import VECTOR, places
from gossamer.network.lowering import Image, Lowering, Work
from gossamer.network.phases import WHOLE, joined, phased
from gossamer.network.placing import arranged, homes

DIRECT = ("move", "map", "max pool", "mean pool")  # what reads and writes memory without a border


@dataclass(frozen=True)
class Lowered:
    """Steps, floats of an arena, floats of an image in each input and output, and how many of them are inputs."""

    steps: tuple[Step, ...]
    arena: int
    sizes: tuple[int, ...]
    inputs: int

    @property
    def copies(self) -> int:
        """How many steps only move what is there already."""
        return sum(step.copies for step in self.steps)


def lowered(lowering: Lowering, outputs: list[Image]) -> Lowered:
    """The steps of the works of a stretch.

    Args:
        lowering: Lowering.
        outputs: Images that leave.

    Returns:
        Lowered.

    Cost: O(works + connections + pixels of the largest image), once for inputs of a shape.

    Example:
        >>> lowering = Lowering()
        >>> x = lowering.input("x", (1, 2, 2))
        >>> made = lowered(lowering, [lowering.number_by_number(x, activation="relu")])
        >>> [step.kind for step in made.steps], made.arena
        (['map'], 0)
    """
    works, stored = phased(joined(lowering.works), outputs)
    return _Placed(works, stored, outputs).lowered()


class _Placed:
    """The works of a stretch with the places of their images."""

    def __init__(self, works: list[Work], stored: dict[int, Any], outputs: list[Image]) -> None:
        self.works, self.outputs = works, outputs
        self.inputs = [work.makes for work in works if work.kind == "input"]
        self.found = homes(works, stored)
        self.outside = self._outside()
        inner = {id(home): home for number, (home, _) in self.found.items() if number not in self.outside}
        every = list(inner.values())
        widest = max((home.planes().pitch for home in every), default=0)
        self.at, self.arena = arranged(every, widest + 2 * VECTOR) if every else ({}, 0)

    def _outside(self) -> dict[int, int]:
        """Images that nothing else than a call's own memory needs to hold -> its number."""
        readers: dict[int, list[Work]] = {}
        for work in self.works:
            for image in work.reads:
                readers.setdefault(image.number, []).append(work)
        outside = {}
        for k, image in enumerate(self.inputs):
            whole = self.found[image.number][0].phases == WHOLE
            if whole and all(work.kind in DIRECT for work in readers.get(image.number, [])):
                outside[image.number] = k + 1
        makers = {work.makes.number: work for work in self.works}
        for k, image in enumerate(self.outputs, len(self.inputs)):
            own = self.found[image.number][0].image.number == image.number
            once = self.outputs.count(image) == 1 and image.number not in readers
            if own and once and makers[image.number].kind in DIRECT:
                outside[image.number] = k + 1
        return outside

    def lowered(self) -> Lowered:
        """Works as steps; what enters is moved in first, what leaves is moved out as soon as it is there."""
        steps: list[Step] = []
        for work in self.works:
            number = work.makes.number
            if work.kind == "input":
                if number not in self.outside:
                    steps.append(
                        Step(
                            "move",
                            work.name,
                            self._external(self.inputs.index(work.makes), work.makes),
                            self._view(work.makes),
                        )
                    )
            elif work.kind not in ("join", "part"):
                steps.append(self._step(work))
            for k, image in enumerate(self.outputs, len(self.inputs)):
                if image.number == number and self.outside.get(number) != k + 1:
                    steps.append(Step("move", work.name, self._view(image), self._external(k, image)))
        sizes = [int(np.prod(image.size)) for image in (*self.inputs, *self.outputs)]
        return Lowered(tuple(steps), max(self.arena, *map(_end, steps)), tuple(sizes), len(self.inputs))

    def _external(self, k: int, image: Image) -> View:
        return View(k + 1, 0, image.height * image.width, image.width, 0, *image.size)

    def _view(self, image: Image) -> View:
        if image.number in self.outside:
            return self._external(self.outside[image.number] - 1, image)
        home, first = self.found[image.number]
        planes = home.planes()
        at = self.at[id(home)] + first * planes.plane
        return View(
            0, at, planes.plane, planes.pitch, planes.channels * planes.plane, *image.size, *planes.phases
        )

    def _step(self, work: Work) -> Step:
        form, geometry, more = work.form, work.geometry, work.reads[1] if len(work.reads) > 1 else None
        found = None
        if geometry is not None:
            x, out = (self.found[image.number][0] for image in (work.reads[0], work.makes))
            found = places(geometry, x.planes(work.reads[0].channels), out.planes(work.makes.channels))
        held = {name: _floats(getattr(work, name)) for name in ("scale", "shift", "bias")}
        return Step(
            work.kind, work.name, self._view(work.reads[0]), self._view(work.makes),
            None if more is None else self._view(more), work.rows, work.cols, work.windows_h, work.windows_w,
            work.dilation, form=form, places=found, groups=1 if geometry is None else geometry.groups,
            activation=work.activation, slope=work.slope, **held,
        )  # fmt: skip


def _floats(array: Any) -> Any:
    return None if array is None else aligned(np.asarray(array, np.float32))


def _end(step: Step) -> int:
    """Elements of the arena that a convolution may touch: it reads whole vectors, and adds past the last row."""
    if step.places is None or step.form is None:
        return 0
    wrote = int((step.places.spans[:, 1] + step.places.spans[:, 2]).max(initial=0))
    more = 0 if step.more is None else step.more.at + (step.more.channels - 1) * step.more.plane + wrote
    return max(step.x.at + step.places.reads[1], more) + VECTOR
