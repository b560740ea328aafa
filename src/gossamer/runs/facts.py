"""What a model is made of, counted exactly, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gossamer.nn import LayerCount, count
from gossamer.runs.record import Layer, LayerBytes

if TYPE_CHECKING:
    from torch import nn


def layer_facts(model: nn.Module, sample: tuple[int, ...] | None = None) -> list[dict[str, Any]]:
    """One row for every linear or sparse layer: connections, bytes, FLOPs, fan-in histogram.

    Args:
        model: nn.Module - trained or frozen.
        sample: tuple of int or None - shape of a sample as the model reads it, by which the operations of convolutions
            are counted; None: a frozen network knows its own.

    Returns:
        list of dict, in order; JSON-ready, as ``gossamer.report`` reads them.

    Cost: O(connections); a forward pass of one sample where a shape is given.

    Example:
        >>> from torch import nn
        >>> layer_facts(nn.Sequential(nn.Linear(4, 2)))[0]["bytes"]
        {'values': 32, 'indices': 0, 'bias': 8}
    """
    example = None if sample is None else torch.zeros(1, *sample)
    return [_row(layer).model_dump(mode="json") for layer in count(model, example)]


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
