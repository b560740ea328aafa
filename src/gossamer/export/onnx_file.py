"""A frozen network as a file of ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from gossamer.errors import ConfigError, MemoryShortage
from gossamer.export import protobuf
from gossamer.export.layers import weight_bytes
from gossamer.export.whole import spelled, unspelled
from gossamer.network import artifact
from gossamer.network.graph import Call, Graph, Layer, Opaque
from gossamer.network.operators import operators
from gossamer.network.plan import Plan
from gossamer.storage import atomic

LARGEST_FILE: Final = (1 << 31) - (1 << 24)  # bytes of weights; a message of protobuf ends at 2 GiB
WEIGHTS: Final = ("dense", "sparse")


def export_onnx(network: Any, path: str | Path, *, weights: str = "dense") -> None:
    """Write a frozen network in the standard operators of ONNX, for an engine of somebody else.

    What was dead is gone, as in the frozen network; batches are of any size; all other sizes are those of the example
    that the network was frozen with. Numbers narrower than float32 become float32, inputs too.

    Args:
        network: what ``gossamer.freeze`` or ``gossamer.load`` gives, a ``Runtime``, or the path of a saved one.
        path: str or Path - of the file to write; one that is there is replaced.
        weights: "dense" - every weight with its zeros, which all engines read; "sparse" - weights with less than a
            third of their numbers as numbers and places, 12 bytes each: smaller files, which ONNX Runtime reads (it
            fills in the zeros when it loads them), and OpenVINO and others do not.

    Raises:
        FormatError: a part that only torch knows, or that ONNX has no words for, which the message names; a damaged
            file. MemoryShortage: more than one file of ONNX holds. MissingPackage: no onnx. ConfigError: no frozen
            network. OSError.

    Cost: three times the dense size of the network in memory.

    Source: ONNX operators, version 20, https://onnx.ai/onnx/operators/.

    Example:
        >>> import tempfile, torch, gossamer as gs
        >>> file = Path(tempfile.mkdtemp()) / "net.onnx"
        >>> frozen = gs.freeze(torch.nn.Sequential(torch.nn.Linear(4, 2)), torch.ones(1, 4), keep="csr")
        >>> export_onnx(frozen, file); is_export(file)
        True
    """
    if weights not in WEIGHTS:
        raise ConfigError("export_onnx", expected=f"weights of {' or '.join(WEIGHTS)}", got=repr(weights))
    graph, report = _network(network)
    few = weights == "sparse"
    _refuse(graph, few=few)
    made = protobuf.written(spelled(graph, report, few=few))
    with atomic(path) as part:
        part.write_bytes(made)


def is_export(path: Path) -> bool:
    """Whether a file is one that ``export_onnx`` wrote; another file of ONNX, or of any kind, is not.

    Args:
        path: Path.

    Raises:
        MissingPackage: no onnx.

    Cost: O(file).
    """
    return protobuf.producer(path) == protobuf.PRODUCER


def _network(given: Any) -> tuple[Graph, Plan]:
    """Graph and report of a network or of its file."""
    if isinstance(given, (str, Path)):
        return artifact.read(given)
    graph, report = getattr(given, "graph", None), getattr(given, "report", None)
    if not isinstance(graph, Graph) or not isinstance(report, Plan):
        raise ConfigError(
            "export_onnx",
            expected="a frozen network, or the path of one",
            got=type(given).__name__,
            hint="gossamer.freeze(model, example) makes one",
        )
    return graph, report


def _refuse(graph: Graph, *, few: bool) -> None:
    """What has no words, before anything is built; raises FormatError or MemoryShortage."""
    for node in graph.nodes:
        body = node.body
        if isinstance(body, Layer) or (isinstance(body, Call) and operators[body.op].onnx is not None):
            continue
        what = body.what if isinstance(body, Opaque) else f"the operator {getattr(body, 'op', 'linear')}"
        raise unspelled(node, what)
    if (total := sum(weight_bytes(body, few=few) for _, body in graph.layers())) > LARGEST_FILE:
        raise MemoryShortage(
            "export_onnx",
            expected=f"at most {LARGEST_FILE:,} bytes of weights, what one file of ONNX holds",
            got=f"{total:,} bytes with the zeros" if not few else f"{total:,} bytes",
            hint="" if few else 'weights="sparse" leaves zeros out of the file',
        )
