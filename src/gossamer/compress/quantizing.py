"""Rounded inputs and weights in a whole model, from a calibration set; to be frozen, or trained first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from gossamer.compress.batches import batches_of
from gossamer.compress.observing import seen_by
from gossamer.compress.quantization_report import QuantizationReport, QuantizedLayer, decibels
from gossamer.compress.ranges import RANGES
from gossamer.compress.watching import watch_outputs
from gossamer.errors import ConfigError, DtypeError, StateError
from gossamer.layouts.values import EXACT, NARROW, lightest
from gossamer.nn import InputRounding, Quantized
from gossamer.nn.kinds import kind_of
from gossamer.nn.outside import follow, places
from gossamer.nn.quantized import rounded_weights, stored, weights_of
from gossamer.nn.swap import put_in_place
from gossamer.registry import answers_unknown, check_choice, check_names

KINDS: Final = (nn.Linear, nn.Conv1d, nn.Conv2d)
ACTIVATIONS: Final = (EXACT, "int8")
Layers = dict[str, nn.Module]


@answers_unknown
def quantize(
    model: nn.Module,
    data: Any,
    *,
    values: str = "int8",
    activations: str = "int8",
    ranges: str = "mse",
    skip: Iterable[str] = (),
    at_least: float | None = None,
) -> QuantizationReport:
    """Round the weights of a model, and what flows into its layers, within ranges from a calibration set.

    Each linear layer and convolution, dense or sparse, becomes a ``Quantized`` one with the same parameters. Then
    freeze the model with ``values`` of the same type, or train it first: gradients pass straight through, and
    connections stay.

    Args:
        model: nn.Module - changed in place.
        data: batches of inputs, or of pairs whose first is the input; a few hundred samples do.
        values: str - "exact", "bfloat16", "int8", "int4", "ternary" or "binary"; a layer whose scales would outweigh
            what that saves takes bfloat16, as in ``freeze``.
        activations: str - "exact", or "int8": inputs in 256 steps of a range that is fixed here.
        ranges: str - "minmax"; "percentile", without the outermost thousandth; "mse", with the smallest square error.
        skip: names of layers that stay as they are.
        at_least: float - decibels: layers whose outputs would be further off stay as they are; None: none does.
    Returns:
        QuantizationReport - per layer the range, and the ratio of signal and noise.
    Raises:
        ConfigError: an unknown type, way or layer, or nothing to quantize. DtypeError: weights other than float32.
        StateError: a model that is quantized already, or a layer that the batches do not reach.
        NonFiniteError: NaN or infinity among weights, or in what flows into a layer.
        After an error the model is as it was.
    Cost: three passes over the data in evaluation, and O(weights).
    Source: Jacob et al. 2018; the straight-through gradient is Bengio et al. 2013.
    Example:
        >>> import gossamer as gs
        >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        >>> report = gs.quantize(model, torch.randn(100, 64))
        >>> [layer.values for layer in report.layers], report.layers[1].low
        (['int8', 'int8'], 0.0)
    """
    check_choice("quantize(values=)", values, (EXACT, *NARROW))
    check_choice("quantize(activations=)", activations, ACTIVATIONS)
    check_choice("quantize(ranges=)", ranges, RANGES)
    layers = _layers(model)
    left = set(skip)
    check_names("quantize(skip=)", left, "layers", layers)
    chosen = {name: layer for name, layer in layers.items() if name not in left}
    _check(chosen)
    batches = batches_of(data, "quantize(data=)")
    seen = seen_by(model, batches, chosen)
    rounded = {
        name: Quantized(
            layer,
            None if activations == EXACT else InputRounding(*seen[name].range(ranges)),
            values if values == EXACT else lightest(*_size(layer), values),
        )
        for name, layer in chosen.items()
    }
    rows = _errors(model, batches, rounded)
    noisy = {name for name, row in rows.items() if _below(row, at_least)}
    new: dict[int, nn.Module] = {id(rounded[name].layer): rounded[name] for name in rounded.keys() - noisy}
    held = places(model, set(new), "quantize")
    follow(held, new)
    put_in_place(model, new)
    lines = [_row(name, rows.get(name), name in noisy, at_least) for name in layers]
    return QuantizationReport(tuple(lines), "" if activations == EXACT else ranges)


def _layers(model: nn.Module) -> Layers:
    """Linear layers and convolutions by name."""
    if any(isinstance(module, Quantized) for module in model.modules()):
        raise StateError(
            "quantize", expected="a model that is not quantized yet", got="one with Quantized layers"
        )
    kinds = {name: kind_of(module) for name, module in model.named_modules()}
    modules = dict(model.named_modules())
    found = {
        name: modules[name] for name, kind in kinds.items() if kind is not None and kind.dense[0] in KINDS
    }
    if not found or "" in found:
        raise ConfigError(
            "quantize",
            expected="a model with linear layers or convolutions inside",
            got="a layer by itself" if found else "none",
            hint="nn.Sequential(layer) is a model" if found else "",
        )
    return found


def _check(layers: Layers) -> None:
    """Refuse weights of another type, and none at all."""
    if not layers:
        raise ConfigError("quantize(skip=)", expected="a layer that is not skipped", got="all of them")
    for name, layer in layers.items():
        if (dtype := weights_of(layer).dtype) != torch.float32:
            raise DtypeError(f"quantize {name}", expected="weights of float32", got=str(dtype))


def _size(layer: nn.Module) -> tuple[int, int]:
    """Stored weights, and neurons."""
    places, _, neurons = stored(layer)
    return places.numel(), neurons


def _errors(model: nn.Module, batches: list[Any], rounded: dict[str, Quantized]) -> dict[str, QuantizedLayer]:
    """The row of each layer: what it does to its own exact inputs."""
    sums = {name: np.zeros(4) for name in rounded}  # signal and noise of inputs, then of outputs

    def look(name: str, x: Tensor, y: Tensor) -> None:
        each = rounded[name]
        near = x if each.inputs is None else each.inputs(x)
        pairs = ((x, near), (y, each.forward(x)))
        sums[name] += [
            float(s) for a, b in pairs for s in (a.double().square().sum(), (b - a).double().square().sum())
        ]

    layers = {name: each.layer for name, each in rounded.items()}
    for batch in batches:
        watch_outputs(model, batch, layers, look, "quantize")
    rows = {}
    for name, each in rounded.items():
        exact = weights_of(each.layer).detach().double()
        near = exact if each.values == EXACT else rounded_weights(each.layer, each.values).detach().double()
        step = each.inputs
        rows[name] = QuantizedLayer(
            name,
            each.values,
            None if step is None else step.low * step.step,
            None if step is None else step.high * step.step,
            decibels(*sums[name][:2].tolist()),
            decibels(float(exact.square().sum()), float((near - exact).square().sum())),
            decibels(*sums[name][2:].tolist()),
        )
    return rows


def _below(row: QuantizedLayer, at_least: float | None) -> bool:
    return at_least is not None and row.outputs is not None and row.outputs < at_least


def _row(name: str, row: QuantizedLayer | None, noisy: bool, at_least: float | None) -> QuantizedLayer:
    """The line of the report."""
    if row is None:
        return QuantizedLayer(name, EXACT, None, None, None, None, None, "skipped")
    if noisy:
        why = f"stays: its outputs would have {row.outputs:.1f} dB, below {at_least:g}"
        return QuantizedLayer(name, EXACT, None, None, None, None, None, why)
    return row
