"""What a model is made of, counted exactly, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossamer.nn import LayerCount, count

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
    return [_row(layer) for layer in count(model)]


def _row(layer: LayerCount) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "shape": list(layer.shape),
        "connections": layer.connections,
        "bytes": {"values": layer.value_bytes, "indices": layer.index_bytes, "bias": layer.bias_bytes},
        "flops": layer.flops,
        "active": layer.active,
        "fan_in": {str(inputs): neurons for inputs, neurons in layer.fan_in.items()},
    }
