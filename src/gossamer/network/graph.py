"""The frozen graph: nodes in order of computation, operators, linear layers, or known to torch only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gossamer.network.operators import Settings, operators

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gossamer.layouts import Encoded
    from gossamer.layouts.arrays import Array
    from gossamer.layouts.connections import Connections
    from gossamer.layouts.geometry import Geometry


@dataclass(frozen=True)
class Call:
    """A node of the whitelist other than a linear layer; its tensors are torch's or NumPy's, as its inputs are."""

    op: str
    settings: Settings = field(default_factory=Settings)
    tensors: dict[str, Any] = field(default_factory=dict)

    def __call__(self, *inputs: Any) -> Any:
        """What the operator computes."""
        return operators[self.op].compute(inputs, self.settings, self.tensors)


def unfused(activation: str, slope: float) -> Call:
    """The call that the activation of a layer stands for.

    Example:
        >>> unfused("elu", 0.5)
        Call(op='elu', settings=Alpha(alpha=0.5), tensors={})
    """
    entry = next(entry for entry in operators.values() if activation in entry.activations)
    return Call(entry.name, entry.activations[activation](slope))


@dataclass(frozen=True)
class Opaque:
    """A node that stays torch: it runs, but cannot be saved.

    Args:
        what: str - in words what it is.
        run: what computes it.
        row: int - numbers of the row that it looks up for each number of its input; None: it does something else.
    """

    what: str
    run: Callable[..., Any]
    row: int | None = None

    def __call__(self, *inputs: Any) -> Any:
        """Run it."""
        return self.run(*inputs)


@dataclass(frozen=True)
class Choice:
    """How a layer runs in one batch class: its layout, and whether the core or torch computes it.

    Example:
        >>> Choice("dense", "torch").of(None), Choice("slice", "core").widens
        (Choice(layout='dense', engine='core'), True)
    """

    layout: str
    engine: str  # "core" | "torch", which computes dense convolutions alone

    def of(self, geometry: Geometry | None) -> Choice:
        """The same of a layer with a geometry or none: linear layers that torch computed once are the core's."""
        return Choice(self.layout, "core") if geometry is None else self

    @property
    def widens(self) -> bool:
        """Whether what runs has narrow values as wide ones."""
        return self.engine == "torch" or self.layout == "slice"


@dataclass(frozen=True)
class Linear:
    """A linear layer or a convolution while it is being frozen.

    Args:
        connections: Connections - what it computes; its bias too.
        activation: the name of one of the core, applied last; or None.
        slope: float - of a leaky ReLU, or an ELU's alpha.
        flat: bool - takes [batch, in_features] only, for what was folded into it tells more dimensions apart.
        geometry: Geometry of a convolution, whose connections are those of its matrix; None: a linear layer.
    """

    connections: Connections
    activation: str | None = None
    slope: float = 0.0
    flat: bool = False
    geometry: Geometry | None = None


@dataclass(frozen=True)
class Layer:
    """A frozen linear layer or convolution: one form for every layout that was chosen.

    Args:
        shape: (int, int) - out_features, in_features.
        bias: [out_features] or None.
        activation: the name of one of the core, applied last; or None.
        stored: Encoded - what goes into a file; every form is made from it, to the bit.
        forms: layout -> Encoded, for every layout that runs.
        choices: one for each batch class.
        slope: float - of a leaky ReLU, or an ELU's alpha.
        flat: bool - takes [batch, in_features] only.
        geometry: Geometry of a convolution, whose shape is that of its matrix; None: a linear layer.
    """

    shape: tuple[int, int]
    bias: Array | None
    activation: str | None
    stored: Encoded
    forms: dict[str, Encoded]
    choices: tuple[Choice, ...]
    slope: float = 0.0
    flat: bool = False
    geometry: Geometry | None = None

    @property
    def memory(self) -> int:
        """Bytes of the weight in all its forms: the stored one, those that run, and wide ones that torch is handed."""
        forms = {self.stored.layout: self.stored} | self.forms
        torch_runs = {choice.layout for choice in self.choices if choice.widens}
        copied = self.geometry is not None  # torch has another order of weights
        wide = (forms[name].wide_bytes for name in torch_runs if copied or forms[name].reads is not None)
        return sum(form.bytes for form in forms.values()) + sum(wide)


def frozen(body: Linear, stored: Encoded, forms: dict[str, Encoded], choices: tuple[Choice, ...]) -> Layer:
    """A layer with the forms that were chosen for it."""
    shape, bias = body.connections.shape, body.connections.bias
    return Layer(shape, bias, body.activation, stored, forms, choices, body.slope, body.flat, body.geometry)


@dataclass(frozen=True)
class Node:
    """One value of the graph.

    Args:
        name: str - unique; the layer's name in the model where it has one.
        inputs: names of the values it is computed from; a linear layer's second one is added before its activation.
        body: Call, Linear, Layer or Opaque.
    """

    name: str
    inputs: tuple[str, ...]
    body: Call | Linear | Layer | Opaque


@dataclass(frozen=True)
class Graph:
    """Nodes in order of computation.

    Args:
        inputs: names of the graph's inputs.
        nodes: tuple of Node.
        output: name of the value that is returned.

    Example:
        >>> g = Graph(("x",), (Node("a", ("x",), Call("relu")), Node("b", ("a",), Call("tanh"))), "b")
        >>> g.consumers("a")[0].name, g.only_consumer("b"), g.without("a").nodes[0].inputs
        ('b', None, ('x',))
    """

    inputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    output: str

    def consumers(self, name: str) -> list[Node]:
        """Nodes that read a value."""
        return [node for node in self.nodes if name in node.inputs]

    def only_consumer(self, name: str) -> Node | None:
        """The node that reads a value, where it is the only reader and reads it once."""
        if name == self.output:
            return None
        readers = [node for node in self.nodes for read in node.inputs if read == name]
        return readers[0] if len(readers) == 1 else None

    def linears(self) -> list[tuple[Node, Linear]]:
        """The linear nodes that are being frozen, in order."""
        return [(node, node.body) for node in self.nodes if isinstance(node.body, Linear)]

    def layers(self) -> list[tuple[Node, Layer]]:
        """The frozen linear nodes, in order."""
        return [(node, node.body) for node in self.nodes if isinstance(node.body, Layer)]

    def replaced(self, bodies: Mapping[str, Linear | Layer]) -> Graph:
        """The same graph with other bodies."""
        nodes = (replace(node, body=bodies.get(node.name, node.body)) for node in self.nodes)
        return replace(self, nodes=tuple(nodes))

    def without(self, name: str) -> Graph:
        """The graph with a node of one input left out; its readers read what it read."""
        (source,) = next(node.inputs for node in self.nodes if node.name == name)
        nodes = tuple(
            replace(node, inputs=tuple(source if read == name else read for read in node.inputs))
            for node in self.nodes
            if node.name != name
        )
        return Graph(self.inputs, nodes, source if self.output == name else self.output)
