"""The features of a graph sorted into units, which go together, and groups of units, which the same layers compute."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from gossamer.compress.structured.members import NORMS, Followed, Member
from gossamer.network.graph import Call, Linear
from gossamer.nn.sparse import SparseModule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from gossamer.layouts.arrays import Array
    from gossamer.network.graph import Graph, Node
    from gossamer.trace.calling import Example
    from gossamer.trace.held import Features


class Sorting:
    """Sorts what was found in a graph.

    Args:
        graph: Graph.
        found: Features of it.
        modules: name -> nn.Module of the model.
    """

    def __init__(self, graph: Graph, found: Features, modules: Mapping[str, nn.Module]) -> None:
        self.graph, self.found, self.modules = graph, found, modules
        self.nodes = [node for node in graph.nodes if _holds(node)]
        self.uses = Counter(node.name.partition(":")[0] for node in self.nodes)

    def followed(self, twin: nn.Module, example: Example, fixed: Mapping[str, str]) -> Followed:
        """Members, units and groups.

        Args:
            twin: nn.Module - the model.
            example: Example.
            fixed: name of a layer -> why it keeps all its outputs.
        """
        self._pin(fixed)
        label, reasons = self.found.labels(), dict[int, str]()
        for fates, why in self.found.pinned:
            for each in np.unique(label[fates]).tolist():
                reasons.setdefault(each, why)
        free = np.setdiff1d(np.unique(label), list(reasons))
        unit = np.where(np.isin(label, free), np.searchsorted(free, label), -1)
        made = Followed(twin, example, {}, {})
        for node in self.nodes:
            held, module = self.found.held.get(node.name), self.modules.get(node.name)
            if held is None or module is None:
                continue
            if not isinstance(node.body, Linear):
                made.norms[node.name] = Member(module, unit[held.fates], np.empty(0, np.int64))
                continue
            made.layers[node.name] = self._layer(node, module, unit)
            why_not = [reasons[each] for each in label[held.fates].tolist() if each in reasons]
            made.why.update({node.name: why_not[0]} if why_not else {})
        made.groups.extend(_groups(made.layers, free.size))
        return made

    def _pin(self, fixed: Mapping[str, str]) -> None:
        """What goes together by parts, and what stays for reasons that are not of the graph."""
        for part in self.found.together:
            self.found.ties += [(part[:, 0], column) for column in part.T[1:]]
        for node in self.nodes:
            if why := self._stays(node):
                self.found.pin((node.name, *node.inputs), why)
            if node.name in fixed:
                self.found.pin((node.name,), fixed[node.name])

    def _stays(self, node: Node) -> str:
        """Why what a layer or norm reads and gives stays as it is, if it does."""
        name, module = node.name.partition(":")[0], self.modules.get(node.name)
        if module is None or self.uses[name] > 1:
            return f"{name!r} is used more than once"
        if isinstance(module, SparseModule):
            return (
                "sparse layers keep their channels: prune channels first, and make layers sparse afterwards"
            )
        return ""

    def _layer(self, node: Node, module: nn.Module, unit: Array) -> Member:
        """A layer, with the units of what it gives and of what it reads."""
        x, given = self.found.held.get(node.inputs[0]), self.found.held[node.name]
        body = cast("Linear", node.body)
        read = body.connections.shape[1] if body.geometry is None else body.geometry.channels
        none = np.empty(0, np.int64)
        member = Member(module, unit[given.fates], none, x, read, self._shifted(node))
        if body.geometry is not None and body.geometry.groups > 1:
            return member
        whole = x is None or x.fates.size != read
        return replace(member, inputs=np.full(read, -1) if whole or x is None else unit[x.fates])

    def _shifted(self, node: Node) -> str:
        """The norm that alone reads a layer, and is read of nothing else; or none."""
        reader = self.graph.only_consumer(node.name)
        if reader is not None and reader.name == f"{node.name}:lines":
            reader = self.graph.only_consumer(reader.name)
        if reader is None or self.uses[reader.name] != 1:
            return ""
        return reader.name if isinstance(self.modules.get(reader.name), NORMS) else ""


def _holds(node: Node) -> bool:
    """Whether a node is a layer or a batch norm, with weights of the model."""
    return isinstance(node.body, Linear) or (isinstance(node.body, Call) and node.body.op == "batch_norm")


def _groups(layers: Mapping[str, Member], units: int) -> list[Array]:
    """Units that the same layers compute, in order of computation."""
    owners: list[list[str]] = [[] for _ in range(units)]
    for name, member in layers.items():
        for each in np.unique(member.outputs[member.outputs >= 0]).tolist():
            owners[each].append(name)
    groups: dict[tuple[str, ...], list[int]] = {}
    for each, names in enumerate(owners):
        groups.setdefault(tuple(names), []).append(each)
    return [np.array(group) for group in groups.values()]
