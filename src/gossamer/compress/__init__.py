"""From a trained network to a smaller one."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.compress.blocks import remove_blocks
from gossamer.compress.calibrating import Flow, calibrate
from gossamer.compress.channels import prune_channels
from gossamer.compress.neurons import prune_neurons
from gossamer.compress.pruning import prune
from gossamer.compress.quantization_report import QuantizationReport, QuantizedLayer
from gossamer.compress.quantizing import quantize
from gossamer.compress.recalibrating import recalibrate
from gossamer.compress.sensitivities import Point, sensitivity
from gossamer.compress.shrinking import compact
from gossamer.compress.zeros import from_zeros

__all__ = [
    "Flow",
    "Point",
    "QuantizationReport",
    "QuantizedLayer",
    "calibrate",
    "compact",
    "from_zeros",
    "prune",
    "prune_channels",
    "prune_neurons",
    "quantize",
    "recalibrate",
    "remove_blocks",
    "sensitivity",
]
