"""A stretch of a network in one call into the core, planned for each size of images; on tensors and on arrays alike."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gossamer.errors import KernelUnavailable
from gossamer.kernels.cpu import library, pack
from gossamer.kernels.cpu.plan import NativePlan
from gossamer.kernels.dispatch import forced_set
from gossamer.layouts.arrays import name_of
from gossamer.measure import require_memory
from gossamer.network.graph import Graph
from gossamer.network.lowered import Lowered, lowered
from gossamer.network.lowering import NotLowered
from gossamer.network.plan_rows import lines
from gossamer.network.stretch_works import Sizes, works
from gossamer.network.stretches import Stretch, segments

if TYPE_CHECKING:
    from gossamer.network.chain_step import Step

LARGEST_NUMBER_OF_PLANS: Final = 8  # that are kept
LARGE: Final = 1 << 26  # bytes of a call, from which the system is asked whether they fit: that takes a while


class Known(NamedTuple):
    """A plan, and the shape of an image in each output."""

    plan: NativePlan
    shapes: tuple[tuple[int, ...], ...]

    def require(self, given: tuple[Any, ...]) -> None:
        """Refuse images whose results, and copies where they lie in another order, would not fit into memory."""
        batch = given[0].shape[0]
        made = batch * sum(map(prod, self.shapes))
        copied = sum(prod(x.shape) for x in given if not pack.in_order(x))
        if (size := 4 * (made + copied)) > LARGE:
            require_memory(f"plan for {batch:,} images", size, "a smaller batch, or smaller images")


class Part(NamedTuple):
    """A step, names of what it reads and of what it gives."""

    run: Step
    reads: tuple[str, ...]
    gives: tuple[str, ...]


class PlanStep:
    """Nodes as one call. Threads may share one.

    Where the core cannot run a node, those before it and behind it are calls of their own.

    Args:
        stretch: Stretch.
        batch_class: int - which of the choices of its layers.
        singles: a step for each node, in order.
        empty: (value like it, shape) -> a new value of float32 with nothing in it yet.

    Cost: a plan for each size of images and each instruction set that is forced, once; the last eight are kept.
    """

    def __init__(
        self, stretch: Stretch, batch_class: int, singles: list[Step], empty: Callable[[Any, Any], Any]
    ) -> None:
        self.stretch, self.batch_class, self.singles, self.empty = stretch, batch_class, singles, empty
        self._plans: OrderedDict[tuple[str | None, Sizes], Known | list[Part]] = OrderedDict()
        nodes = zip(stretch.nodes, singles, strict=True)
        self._single = [Part(step, node.inputs, (node.name,)) for node, step in nodes]
        self._split: dict[str, list[Part]] = {"": self._single}  # by the node that the core cannot run
        self._guard = threading.Lock()

    def __call__(self, *given: Any) -> Any:
        """The values that the stretch gives, of those that it reads; several as a tuple."""
        known = self.planned(given) if _images(given) else self._single
        if not isinstance(known, Known):
            return self._in_parts(known, given, recorded=False)
        known.require(given)
        batch = given[0].shape[0]
        made = [self.empty(given[0], (batch, *shape)) for shape in known.shapes]
        known.plan([pack.contiguous(x) for x in given], made, batch)
        return made[0] if len(made) == 1 else tuple(made)

    def recorded(self, *given: Any) -> Any:
        """The same out of operators that tracers see."""
        return self._in_parts(self._single, given, recorded=True)

    def planned(self, given: tuple[Any, ...]) -> Known | list[Part]:
        """The plan for images of these sizes, or the parts that run instead where the core cannot run all nodes.

        Raises:
            MemoryShortage: it would not fit into memory; nothing is built then.
            KernelUnavailable: the instruction set that is forced is not there.
        """
        isa, sizes = key = forced_set(), tuple([tuple(x.shape[1:]) for x in given])
        with self._guard:
            if key in self._plans:
                self._plans.move_to_end(key)
                return self._plans[key]
            known = self._plans[key] = self._made(sizes, isa)
            if len(self._plans) > LARGEST_NUMBER_OF_PLANS:
                self._plans.popitem(last=False)
            return known

    @property
    def plans(self) -> list[NativePlan]:
        """The plans that are kept, the one used last at the end, then those of parts."""
        with self._guard:
            own = [known.plan for known in self._plans.values() if isinstance(known, Known)]
            parts = [part.run for parts in self._split.values() for part in parts]
        return own + [plan for part in parts if isinstance(part, PlanStep) for plan in part.plans]

    def lines(self) -> list[str]:
        """What each plan that is kept does, step by step."""
        return [line for plan in self.plans for line in ("", *lines(plan))]

    @property
    def memory(self) -> int:
        """Bytes of the plans that are kept, without the weights."""
        return sum(plan.memory for plan in self.plans)

    def _made(self, sizes: Sizes, isa: str | None) -> Known | list[Part]:
        try:
            steps, outputs = self.lowered(sizes)
            require_memory(f"plan of {len(self.stretch.nodes)} nodes", 4 * steps.arena)
            plan = NativePlan(steps.steps, steps.arena, steps.sizes, steps.inputs, isa=isa)
        except NotLowered as error:
            return self._around(error.node)
        # No core, or the reference kernels are forced: each step says what it makes of that.
        except KernelUnavailable:
            return self._single
        return Known(plan, outputs)

    def _around(self, barred: str) -> list[Part]:
        """The node by itself, and what is before and behind it in as few calls as there are stretches."""
        if barred not in self._split:
            graph = Graph(self.stretch.reads, self.stretch.nodes, self.stretch.gives[0])
            steps = {part.gives[0]: part for part in self._single}
            parts = []
            for each in segments(graph, self.batch_class, frozenset({barred}), self.stretch.gives):
                if isinstance(each, Stretch):
                    singles = [steps[node.name].run for node in each.nodes]
                    step = PlanStep(each, self.batch_class, singles, self.empty)
                    parts.append(Part(step, each.reads, each.gives))
                else:
                    parts.append(steps[each.name])
            self._split[barred] = parts
        return self._split[barred]

    def lowered(self, sizes: Sizes) -> tuple[Lowered, Sizes]:
        """The steps for images of these sizes, and the shapes of what they give; raises NotLowered."""
        lowering, images, shapes = works(self.stretch, self.batch_class, sizes)
        steps = lowered(lowering, [images[name] for name in self.stretch.gives])
        return steps, tuple([shapes[name] for name in self.stretch.gives])

    def _in_parts(self, parts: list[Part], given: tuple[Any, ...], *, recorded: bool) -> Any:
        values = dict(zip(self.stretch.reads, given, strict=True))
        for step, reads, gives in parts:
            run = getattr(step, "recorded", step) if recorded else step
            result = run(*[values[name] for name in reads])
            values.update(zip(gives, (result,) if len(gives) == 1 else result, strict=True))
        made = tuple([values[name] for name in self.stretch.gives])
        return made[0] if len(made) == 1 else made


def _images(given: tuple[Any, ...]) -> bool:
    """Whether these are images of one batch, of a type that plans take."""
    return library.find() is not None and all(
        x.ndim == 4 and name_of(x) == "float32" and x.shape[0] == given[0].shape[0] for x in given
    )
