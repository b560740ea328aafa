"""Follow an image through a traced network: which layers keep fewer pixels, and which of them must keep the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import is_parametrized

from gossamer.errors import ConfigError
from gossamer.invariance import calls
from gossamer.invariance.calls import argument, word
from gossamer.invariance.frames import NAME, Choices, Frame
from gossamer.invariance.still import ALIKE, OWN, kind_of, one_pixel
from gossamer.invariance.windows import POOLS, SAMPLERS, window_of
from gossamer.nn.unstrided import Unstrided

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gossamer.invariance.windows import Window

Moves = Frame | None  # None: a value that does not move, as a number or what was pooled over all pixels
IMAGES = (1, 1, 1, 1)  # the shape of a value of which nothing is known
INDICES = "they are counted from the first pixel"
EXAMPLE = "give an example, which tells the shapes of all values"
PLAIN = "make it plain before: torch.nn.utils.parametrize.remove_parametrizations"
POOL = "pool over all pixels before: nn.AdaptiveAvgPool2d(1)"
AS_MODULE = "use a module for it, as nn.Conv2d, nn.MaxPool2d, or gossamer.nn.Subsample for every second pixel"


class Following:
    """The way of an image through a network, call by call.

    Args:
        model: nn.Module - a copy that was traced.
        traced: fx.Graph.
        shapes: fx node -> shape of its value, for an example; empty without one.

    Raises:
        ConfigError: a call that does not move with the image, with its place.
    """

    def __init__(self, model: nn.Module, traced: fx.Graph, shapes: Mapping[fx.Node, tuple[int, ...]]) -> None:
        self.modules, self.shapes = dict(model.named_modules()), shapes
        self.names = {module: name for name, module in self.modules.items()}
        self.choices = Choices()
        self.calls: dict[
            str, int
        ] = {}  # name of a layer with a window -> how often the image goes through it
        self.reached: set[str] = set()
        self.fixed: set[str] = set()  # names of pools that see all pixels of the example
        self.sized: list[str] = []  # other calls that hold for images as large as those of the example alone
        self.output: Moves = None
        self.kinds: dict[fx.Node, str] = {}  # of values that do not move
        moves: dict[fx.Node, Moves] = {}
        self.moves = moves
        for node in traced.nodes:
            moves[node] = self._moves(node)
            if moves[node] is None and node.op not in ("placeholder", "output"):
                self.kinds[node] = self._kind(node)
        if all(moves[node] is None for node in traced.nodes if node.op == "placeholder"):
            got = ", ".join(str(list(shape)) for node, shape in shapes.items() if node.op == "placeholder")
            raise ConfigError(NAME, expected="an example [batch, channels, height, width]", got=got)

    def _moves(self, node: fx.Node) -> Moves:
        """How a value moves; raises ConfigError."""
        if node.op == "call_module":
            self.reached.add(self.names[self.modules[str(node.target)]])
        if node.op == "placeholder":
            return () if len(self.shapes.get(node, IMAGES)) == 4 else None
        moving = [each for each in node.all_input_nodes if self.moves[each] is not None]
        if not moving:
            return None
        if node.op == "output":
            self.output = self.moves[moving[0]]
            return None
        return self._module(node, moving) if node.op == "call_module" else self._call(node, moving)

    def _module(self, node: fx.Node, moving: list[fx.Node]) -> Moves:
        name = self.names[self.modules[str(node.target)]]
        module, frame = self.modules[name], self.moves[moving[0]]
        beside = len(node.all_input_nodes) > 1 and type(module) not in SAMPLERS
        if beside or frame is None:
            raise self._refused(node, "a module that takes several values")
        if getattr(module, "return_indices", False):
            raise self._refused(node, "places of the largest numbers", INDICES)
        if (window := window_of(module)) is not None:
            return self._window(node, name, window, frame)
        border = name.endswith(".border") and isinstance(self.modules[name.rpartition(".")[0]], Unstrided)
        if border or calls.moves_with(module):
            return frame
        if type(module) in calls.GLOBAL and calls.to_one(module.output_size):
            return None
        if type(module) is nn.Flatten and self._one_pixel(moving[0]):
            self.sized.append(str(node.target))
            return None
        if is_parametrized(module):
            raise self._refused(node, "a layer whose weight is computed by a parametrization", PLAIN)
        raise self._refused(node, "a module that does not treat all pixels alike", POOL)

    def _window(self, node: fx.Node, name: str, window: Window, frame: Frame) -> Moves:
        module: Any = self.modules[name]
        row = self.modules[name.rpartition(".")[0]]
        done = row._modules if isinstance(row, Unstrided) else {}  # noqa: SLF001 (by an earlier call)
        if "size" in done:
            return None
        if "border" in done:
            return frame
        whole = type(module) in POOLS and self._whole(node, window.kernel, window.border)
        if name in self.calls and whole != (name in self.fixed):
            raise self._refused(node, "a pool over all pixels of some images and not of others")
        if whole:
            self.calls[name] = 1
            self.fixed.add(name)
            return None
        if window.misfit:
            raise self._refused(node, window.misfit, "the usual border is half of the kernel")
        self.calls[name] = self.calls.get(name, 0) + 1
        return self.choices.new(frame, name, window.stride) if window.strides else frame

    def _call(self, node: fx.Node, moving: list[fx.Node]) -> Moves:
        """Of a function or a method of the list."""
        name, frame = word(node), self.moves[moving[0]]
        if name in calls.SIZES or (
            name == "getattr" and node.args[1] in ("shape", "ndim", "device", "dtype")
        ):
            return None
        if name in calls.SAME:
            return frame
        if name in calls.TOGETHER:
            return self._together(node, moving)
        if name in calls.JOINED:
            if argument(node, 1, "dim", "axis") not in (1, -3) or len(moving) < len(node.all_input_nodes):
                raise self._refused(node, "a concatenation of other things than channels of images")
            return self._together(node, moving)
        if self._passes(node, name):
            return frame
        if self._pools(node, name, moving[0]):
            if name in calls.POOLED or name in calls.FLAT:
                self.sized.append(f"{name}(){node.meta['place']}")
            return None
        raise self._refused(node, "", POOL if name in calls.FLAT else AS_MODULE)

    def _passes(self, node: fx.Node, name: str) -> bool:
        """Whether parts of the channels are taken, or channels put beside."""
        if calls.takes(node):
            source, index = node.args
            parted = isinstance(source, fx.Node) and word(source) in calls.PARTED
            return (parted and isinstance(index, int)) or calls.all_pixels(index)
        if name in calls.PARTED:
            return argument(node, 2, "dim") in (1, -3)
        return name == "pad" and not any(tuple(argument(node, 1, "pad"))[:4])

    def _pools(self, node: fx.Node, name: str, source: fx.Node) -> bool:
        """Whether it is over all pixels, or puts the numbers of one pixel in a row."""
        if name in calls.OVER:
            rank = len(self.shapes.get(source, IMAGES))
            return calls.over_all_pixels(argument(node, 1, "dim", "axis"), rank)
        if name in calls.ADAPTIVE:
            return calls.to_one(argument(node, 1, "output_size"))
        if name in calls.POOLED:
            size, border = argument(node, 1, "kernel_size"), argument(node, 3, "padding") or 0
            kernel = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
            return self._whole(node, kernel, (1,) if border not in (0, (0, 0)) else ())
        return name in calls.FLAT and self._one_pixel(source)

    def _one_pixel(self, node: fx.Node) -> bool:
        """Whether the images of the example have one pixel here."""
        return self.shapes.get(node, ())[-2:] == (1, 1)

    def _whole(self, node: fx.Node, kernel: tuple[Any, ...], border: tuple[int, ...]) -> bool:
        """Whether a window holds all pixels of the example."""
        shape = self.shapes.get(node.all_input_nodes[0], ())
        return not any(border) and bool(shape) and kernel == shape[-2:]

    def _together(self, node: fx.Node, moving: list[fx.Node]) -> Moves:
        """One frame for all; what does not move must be the same at every pixel."""
        for still in node.all_input_nodes:
            alike = one_pixel(self.shapes.get(still, ())) if self.shapes else self.kinds.get(still) != OWN
            if self.moves[still] is None and not alike:
                hint = "" if self.shapes or still.op == "get_attr" else EXAMPLE
                raise self._refused(node, f"numbers of their own for each pixel ({still.name})", hint)
        first = self.moves[moving[0]]
        for other in moving[1:]:
            if first is not None and (frame := self.moves[other]) is not None:
                self.choices.unite(first, frame, f"{node.name}{node.meta['place']}")
        return first

    def _kind(self, node: fx.Node) -> str:
        """Of a value that does not move."""
        if node.op != "get_attr":
            return kind_of(node, self.kinds)
        holder, _, name = str(node.target).rpartition(".")
        held = getattr(self.modules[holder], name)
        return OWN if isinstance(held, Tensor) and not one_pixel(tuple(held.shape)) else ALIKE

    def _refused(self, node: fx.Node, why: str, hint: str = "") -> ConfigError:
        """The error for a call that cannot be made to move with the image."""
        if node.op == "call_module":
            what = f"{node.target} ({type(self.modules[str(node.target)]).__name__})"
        else:
            what = f"{getattr(node.target, '__name__', node.target)}(){node.meta['place']}"
        got = f"{what}: {why}" if why else what
        return ConfigError(NAME, expected="calls that move with the image", got=got, hint=hint)
