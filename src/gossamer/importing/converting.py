"""A file of somebody else becomes a network that our runtime executes, or weights that a torch model takes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError, safe_open

from gossamer.errors import PatternError, StateError
from gossamer.freezing import Frozen, save
from gossamer.freezing.assemble import freeze_graph
from gossamer.freezing.onlookers import on_cpu
from gossamer.freezing.wanted import Wanted
from gossamer.importing.network import Network
from gossamer.importing.reading import read
from gossamer.importing.weights import Weights
from gossamer.measure import nbytes
from gossamer.network.graph import Call, Graph, Node
from gossamer.nn.arguments import pattern_of
from gossamer.storage import atomic
from gossamer.topology.covering import covering
from gossamer.trace.agreement import same
from gossamer.trace.run import run
from gossamer.trace.tensors import tensor_of

if TYPE_CHECKING:
    from gossamer.patterns import Pattern

MASK = 0.3  # share of zeros from which they are taken for a mask, as ``from_zeros`` takes them
OURS = "gossamer-convert"  # the metadata entry of weights that were written here
STATED = 1e-3  # how far a file's own share of zeros may be off


@dataclass(frozen=True)
class Row:
    """One weight: its shape, how many numbers are not zero, and the bytes that it takes in the new file."""

    name: str
    shape: tuple[int, ...]
    connections: int
    bytes: int

    @property
    def zeros(self) -> float:
        """Share of zeros."""
        return 1 - self.connections / prod(self.shape) if prod(self.shape) else 0.0


@dataclass(frozen=True)
class Converted:
    """What became of a file.

    Args:
        format: str - of the file that was read.
        result: "network", which ``gossamer.load`` reads, or "weights", which ``load_state_dict`` takes.
        rows: one for each weight of two dimensions or more.
        inputs: name and shape of each input of a network.
        outputs: name, shape and first number of each output of a network.
        notes: what there is to know.
    """

    format: str
    result: Literal["network", "weights"]
    rows: tuple[Row, ...]
    inputs: tuple[dict[str, Any], ...] = ()
    outputs: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = field(default=())


def convert(path: str | Path, out: str | Path, pattern: Pattern | str | None = None) -> Converted:
    """Convert a file of another library; nothing in it is executed.

    Args:
        path: str or Path - TFLite, ONNX, safetensors, or what ``torch.save`` wrote of a state.
        out: str or Path - the file to write: a frozen network for ``gossamer.load`` and ``gossamer.runtime``, where the
            file describes a whole network; else safetensors, for a torch model and ``gossamer.from_zeros``.
        pattern: Pattern, its short name, or None - that the zeros must be of, in every weight where they are a mask.

    Returns:
        Converted.

    Raises:
        FormatError: an unknown, damaged or hostile file, or an operator that we do not have. PatternError: zeros of
            another pattern, with the name of the layer. MissingPackage, MemoryShortage, OSError.

    Cost: for a network, a few seconds in which its layers are measured; for weights, a copy.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> torch.save({"fc.weight": torch.eye(4)}, folder / "net.pt")
        >>> made = convert(folder / "net.pt", folder / "net.safetensors")
        >>> made.result, made.rows[0].connections, made.rows[0].zeros
        ('weights', 4, 0.75)
    """
    name, content = read(path)
    wanted = None if pattern is None else pattern_of(pattern, "convert(pattern=)")
    if isinstance(content, Network):
        return _network(name, content, Path(out), wanted)
    return _weights(name, content, Path(out), wanted)


def _network(name: str, found: Network, out: Path, pattern: Pattern | None) -> Converted:
    """Freeze the graph and write it."""
    for node, body in found.graph.linears():
        if pattern is not None and body.connections.density <= 1 - MASK:
            _fits(node.name, tensor_of(body.connections.dense()), pattern)
    frozen = frozen_of(found)
    save(frozen, out)
    counts = {row.name: row for row in frozen.layer_counts()}
    rows = tuple(
        Row(n, row.shape, row.connections, row.value_bytes + row.index_bytes) for n, row in counts.items()
    )
    inputs = tuple({"name": port.name, "shape": list(port.shape)} for port in found.inputs)
    outputs = tuple(
        {"name": port.name, "shape": list(port.shape), "first": port.first} for port in found.outputs
    )
    return Converted(name, "network", rows, inputs, outputs, found.notes)


def frozen_of(found: Network) -> Frozen:
    """The network measured and frozen, as ``gossamer.freeze`` does with a model; checked against its definition.

    Args:
        found: Network.

    Raises:
        StateError: the frozen network gives something else than the graph, node by node.

    Cost: a few seconds in which layers are measured.
    """
    graph = _with_tensors(found.graph)
    generator = torch.Generator().manual_seed(0)
    inputs = tuple(torch.rand(port.shape, generator=generator) for port in found.inputs)
    with torch.no_grad(), on_cpu(), torch.autocast("cpu", enabled=False):
        frozen = freeze_graph(graph, inputs, Wanted(batches=(inputs[0].shape[0],)))
        if not same(run(graph, inputs), frozen(*inputs)):
            raise StateError("convert", expected="the outputs of the file's own operators", got="others")
    return frozen


def _with_tensors(graph: Graph) -> Graph:
    """With the numbers of operators as tensors."""
    return replace(graph, nodes=tuple(_with_tensor(node) for node in graph.nodes))


def _with_tensor(node: Node) -> Node:
    if not isinstance(node.body, Call):
        return node
    held = {name: tensor_of(array) for name, array in node.body.tensors.items()}
    return replace(node, body=replace(node.body, tensors=held))


def _weights(name: str, found: Weights, out: Path, pattern: Pattern | None) -> Converted:
    """Write the tensors with their zeros."""
    from safetensors.torch import save_file

    wide = {each: tensor for each, tensor in found.tensors.items() if tensor.dim() > 1}
    rows = tuple(
        Row(each, tuple(tensor.shape), int((_numbers(tensor) != 0).sum()), nbytes([tensor]))
        for each, tensor in wide.items()
    )
    pruned = [row for row in rows if MASK <= row.zeros < 1]
    for row in pruned:
        if pattern is not None:
            weight = _numbers(wide[row.name])
            _fits(row.name, weight.movedim(1, -1).reshape(weight.shape[0], -1), pattern)
    with atomic(out) as part:
        held = {each: tensor.contiguous() for each, tensor in found.tensors.items()}
        save_file(held, part, metadata={"format": "pt", OURS: "converted"})
    notes = (*found.notes, *_stated(found, pruned))
    notes += () if pruned else (f"no weight has {MASK:.0%} of zeros or more",)
    return Converted(name, "weights", rows, notes=notes)


def _numbers(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor whose zeros can be found: 8-bit floats know no comparison."""
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() == 1 else tensor


def _stated(found: Weights, pruned: list[Row]) -> tuple[str, ...]:
    """A sentence where the share of zeros that the file states is not that of its sparse weights."""
    size = sum(prod(row.shape) for row in pruned)
    if found.zeros is None or not size:
        return ()
    share = 1 - sum(row.connections for row in pruned) / size
    if abs(share - found.zeros) <= STATED:
        return ()
    return (f"the file states {found.zeros:.2%} of zeros, and its sparse weights have {share:.2%}",)


def _fits(name: str, matrix: torch.Tensor, pattern: Pattern) -> None:
    """Refuse zeros of another pattern; raises PatternError with the name."""
    try:
        covering(matrix, pattern)
    except PatternError as error:
        raise error.within(f"convert {name}") from None


def is_ours(path: Path) -> bool:
    """Whether weights were written here."""
    try:
        with safe_open(path, framework="np") as file:
            return OURS in (file.metadata() or {})
    except SafetensorError:
        return False
