"""What a module of torch is in our terms: a layer with its connections, or an operator."""

from __future__ import annotations

from functools import cache
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from gossamer.layouts.connections import Connections, Trained
from gossamer.layouts.grid import singles
from gossamer.network.graph import Call, Linear, Node
from gossamer.network.operators import operators
from gossamer.network.operators.flatten import Axes
from gossamer.network.operators.reshape import Sizes
from gossamer.nn import SparseModule
from gossamer.nn.kinds import kind_of, matrix_shape
from gossamer.trace.convolved import geometry_of
from gossamer.trace.tensors import array_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import Tensor

    from gossamer.layouts.arrays import Array
    from gossamer.network.operators import Operator, Settings
    from gossamer.nn.kinds import Dense
    from gossamer.patterns import Pattern


def read(module: nn.Module) -> Connections | None:
    """The connections of a layer of any home, or None where a module is not one that is known exactly.

    Args:
        module: nn.Module - linear or a convolution, sparse or dense; a dense one has a connection wherever its weight
            is not zero.

    Returns:
        Connections - copies on the CPU, no gradient - or None (subclasses, and layers that carry hooks: who
        knows what they compute).

    Cost: O(connections); O(dense size) for masked and plain layers.

    Example:
        >>> read(nn.Linear(3, 2)).shape, read(nn.ReLU())
        ((2, 3), None)
    """
    if has_hooks(module) or not readable(module):
        return None
    if isinstance(module, SparseModule):
        return connections_of(module)
    return dense_connections(module)


def dense_connections(module: nn.Module) -> Connections:
    """The connections of a dense layer: one wherever its weight is not zero; O(dense size)."""
    layer = cast("Dense", module)
    weight = layer.weight.detach()
    weight = weight.movedim(1, -1).reshape(-1)  # a convolution's channels last
    positions = weight.nonzero().squeeze(1)
    return Connections(
        matrix_shape(layer), array_of(positions), array_of(weight[positions]), _bias(layer.bias)
    )


def layer_of(module: nn.Module) -> Linear | None:
    """A layer as it goes into a graph, or None where a module is none that is known exactly.

    Example:
        >>> layer_of(nn.Conv2d(2, 4, 3)).geometry.kernel, layer_of(nn.ReLU())
        ((3, 3), None)
    """
    connections = read(module)
    return None if connections is None else Linear(connections, geometry=geometry_of(module))


def nodes_of(name: str, reads: str, layer: Linear, *, lines: bool) -> tuple[Node, ...]:
    """A layer as nodes: one, and for a convolution over lines one that makes images of them, and one that undoes it.

    Example:
        >>> layer = layer_of(nn.Conv1d(2, 4, 3))
        >>> [node.name for node in nodes_of("conv", "x", layer, lines=True)]
        ['conv:images', 'conv', 'conv:lines']
    """
    if not lines:
        return (Node(name, (reads,), layer),)
    images = Node(f"{name}:images", (reads,), Call("reshape", Sizes(sizes=(0, 0, 1, -1))))
    back = Call("flatten", Axes(start_dim=2, end_dim=3))
    return (images, Node(name, (images.name,), layer), Node(f"{name}:lines", (name,), back))


def trained(pattern: Pattern) -> Trained:
    """The layout of a pattern, and its integers.

    Example:
        >>> from gossamer.patterns import NM
        >>> trained(NM(1, 4))
        Trained(layout='nm', parameters={'n': 1, 'm': 4})
    """
    return Trained(pattern.layout, pattern.parameters)


def connections_of(layer: SparseModule) -> Connections:
    """The connections of a sparse layer, whatever hooks look on; O(connections)."""
    topology = layer.topology
    units, held = array_of(topology.positions), array_of(layer.unit_values())
    places, values = singles(units, held, topology.grid)
    return Connections(layer.shape, places, values, _bias(layer.bias), trained(layer.pattern))


def linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer of a class that is known exactly; one without inputs or neurons is none."""
    kind = kind_of(module)
    return kind is not None and kind.linear and min(matrix_shape(module)) > 0


def readable(module: nn.Module) -> bool:
    """Whether a module is a layer that freezing reads: linear, or a convolution."""
    known = kind_of(module) is not None and min(matrix_shape(module)) > 0
    return known and (linear(module) or geometry_of(module) is not None)


def has_hooks(module: nn.Module) -> bool:
    """Whether something runs before or after the module's own forward."""
    return bool(module._forward_hooks or module._forward_pre_hooks)  # noqa: SLF001 (torch has no public question)


def _bias(bias: Tensor | None) -> Array | None:
    return None if bias is None else array_of(bias.detach().clone())


def find_module(module: nn.Module) -> Operator | None:
    """The operator of a module, or None: unknown class, a subclass, or one that carries hooks.

    Example:
        >>> find_module(nn.ReLU()).name, find_module(nn.LSTM(2, 2))
        ('relu', None)
    """
    return None if has_hooks(module) else operator_of(type(module))


def operator_of(kind: type[nn.Module]) -> Operator | None:
    """The operator that modules of exactly this class are, whatever hooks they carry; or None."""
    spelled = _spelling(kind)
    return None if spelled is None else spelled[0]


def call_of(module: nn.Module) -> Call:
    """A module of the list as a node, with copies of its tensors.

    Raises:
        Unsupported, pydantic.ValidationError: settings that its operator does not have.

    Example:
        >>> call_of(nn.LeakyReLU(0.5))
        Call(op='leaky_relu', settings=Slope(negative_slope=0.5), tensors={})
    """
    spelled = _spelling(type(module))
    if spelled is None:
        raise AssertionError("operator_of() said that it is one of the list")
    entry, reads = spelled
    settings, tensors = reads(module)
    return Call(entry.name, settings, {name: tensor.detach().clone() for name, tensor in tensors.items()})


def find_calls(target: Any) -> list[tuple[Operator, Callable[..., Settings]]]:
    """The operators that a function or a tensor method's name may be, and what reads the settings of each.

    Example:
        >>> [entry.name for entry, _ in find_calls("mul")], find_calls("cumsum")
        (['mul', 'scalar'], [])
    """
    return _named(target, ((entry, entry.calls) for entry in operators.values()))


def find_parts(target: Any) -> list[tuple[Operator, Callable[..., Settings]]]:
    """The operators that one of the several values of a function or method may be, likewise.

    Example:
        >>> [entry.name for entry, _ in find_parts("chunk")]
        ['chunk']
    """
    return _named(target, ((entry, entry.parts) for entry in operators.values()))


def _named(
    target: Any, spelled: Iterable[tuple[Operator, Mapping[str, Callable[..., Settings]]]]
) -> list[tuple[Operator, Callable[..., Settings]]]:
    return [
        (entry, reads)
        for entry, names in spelled
        for path, reads in names.items()
        if (target == path[1:] if path.startswith(".") else target is _at(path))
    ]


def _spelling(kind: type[nn.Module]) -> tuple[Operator, Callable[[Any], Any]] | None:
    """The operator of a module's class, and what reads its settings and tensors; or None."""
    for entry in operators.values():
        for path, reads in entry.modules.items():
            if _at(path) is kind:
                return entry, reads
    return None


_at = cache(resolve_name)  # what a name like "torch.nn.ReLU" stands for
