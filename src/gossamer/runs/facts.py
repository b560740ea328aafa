"""What a model is made of, counted exactly, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossamer.nn import LayerCount, count
from gossamer.runs.record import Layer, LayerBytes

if TYPE_CHECKING:
    from torch import nn


def layer_facts(model: nn.Module) -> list[dict[str, Any]]:
    """One row for every linear or sparse layer: connections, bytes, FLOPs, fan-in histogram.

    Args:
        model: nn.Module - trained or frozen.

    Returns:
        list of dict, in order; JSON-ready, as ``gossamer.report`` reads them.

    Cost: O(connections).

    Example:
        >>> from torch import nn
        >>> layer_facts(nn.Sequential(nn.Linear(4, 2)))[0]["bytes"]
        {'values': 32, 'indices': 0, 'bias': 8}
    """
    return [_row(layer).model_dump(mode="json") for layer in count(model)]


def _row(layer: LayerCount) -> Layer:
    """As a run folder holds it."""
    held = LayerBytes(values=layer.value_bytes, indices=layer.index_bytes, bias=layer.bias_bytes)
    return Layer(
        name=layer.name,
        kind=layer.kind,
        shape=layer.shape,
        connections=layer.connections,
        bytes=held,
        flops=layer.flops,
        active=layer.active,
        fan_in=layer.fan_in,
    )
