"""Calibration: what flows into the layers of a model while it runs on a few batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.compress.batches import batches_of
from gossamer.compress.watching import Calls, refuse_unreached, watch_inputs
from gossamer.errors import ConfigError, DtypeError, NonFiniteError
from gossamer.measure import require_memory
from gossamer.nn.kinds import Kind, kind_of, matrix_shape
from gossamer.nn.opening import opened

WIDEST = 4096  # columns up to which second moments are summed in float64


@dataclass
class Flow:
    """What went into one layer, a number for each column of its matrix.

    Of a convolution these are its taps, channels innermost, and the zeros of its border count. ``groups`` is 1 but for
    grouped convolutions, whose outputs read different inputs.

    Args:
        samples: int - rows that the matrix was multiplied by.
        low: [groups, columns], float64 - the smallest input.
        high: [groups, columns], float64 - the largest.
        zeros: [groups, columns], int64 - how many were zero.
        squares: [groups, columns], float64 - the sum of squares.
        products: [groups, columns, columns] - X^T X, or None where nobody asked for it; float64 up to 4096 columns.
    """

    samples: int
    low: Tensor
    high: Tensor
    zeros: Tensor
    squares: Tensor
    products: Tensor | None = None

    @classmethod
    def empty(cls, groups: int, columns: int, products: bool, device: torch.device) -> Flow:
        """Before anything has flowed."""
        size = (groups, columns)
        zero = torch.zeros(size, dtype=torch.float64, device=device)
        kind = torch.float64 if columns <= WIDEST else torch.float32
        moments = torch.zeros(*size, columns, dtype=kind, device=device) if products else None
        far = torch.full_like(zero, torch.inf)
        return cls(0, far, -far, zero.to(torch.int64), zero, moments)

    @property
    def norms(self) -> Tensor:
        """[groups, columns], float64: the Euclidean norm of each input over all samples."""
        return self.squares.sqrt()

    @property
    def range(self) -> tuple[float, float]:
        """The smallest input of the layer and the largest."""
        return float(self.low.min()), float(self.high.max())

    @property
    def share_of_zeros(self) -> float:
        """Of all inputs, those that were zero."""
        return int(self.zeros.sum()) / (self.samples * self.zeros.numel())

    def add(self, rows: Tensor) -> None:
        """Count [samples, groups, columns] in; raises NonFiniteError."""
        if not len(rows):
            return
        if not bool(torch.isfinite(rows).all()):
            raise NonFiniteError("what flows in", expected="finite numbers", got="NaN or infinity")
        self.zeros += (rows == 0).sum(0)
        rows = rows.double()
        self.samples += len(rows)
        self.low = torch.minimum(self.low, rows.amin(0))
        self.high = torch.maximum(self.high, rows.amax(0))
        self.squares += rows.square().sum(0)
        if self.products is not None:
            rows = rows.transpose(0, 1).to(self.products.dtype)
            self.products.baddbmm_(rows.transpose(1, 2), rows)


def calibrate(
    model: nn.Module, data: Any, layers: Iterable[str] | None = None, *, products: bool = False
) -> dict[str, Flow]:
    """Run a model on batches and record what flows into its linear layers and convolutions, dense and sparse.

    The model runs in evaluation mode without gradients and is left as it was, hooks included. Sums are streamed: no
    more than one part of one layer's input is held. A recurrent layer of torch is read matrix by matrix,
    ``lstm.ih_l0`` and ``lstm.hh_l0``.

    Args:
        model: nn.Module.
        data: batches of inputs, of pairs whose first is the input, or of mappings, as which they become keyword
            arguments; one tensor or mapping is one batch.
        layers: names of the layers to look at; None takes all.
        products: bool - sum X^T X too.
    Returns:
        name -> Flow.
    Raises:
        ConfigError, DataError: no usable batches, or an unknown layer.
        NonFiniteError: NaN or infinity in a batch, or what flows into a layer, by name.
        ShapeError: an input that does not fit a layer, by name.
        StateError: a layer that the model never calls, by name.
        MemoryShortage: ``products`` do not fit.
    Cost: a forward pass a batch; with ``products`` samples * columns^2 operations a layer in float64.
    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> flow = calibrate(model, torch.tensor([[1.0, 0.0], [2.0, 0.0]]), ["0"])["0"]
        >>> flow.samples, flow.range, flow.share_of_zeros, flow.norms.tolist()
        (2, (0.0, 2.0), 0.5, [[2.23606797749979, 0.0]])
    """
    batches = batches_of(data, "calibrate(data=)")
    with opened(model):
        return flows(model, batches, _chosen(model, layers), products)


def flows(
    model: nn.Module,
    batches: list[Any],
    layers: Mapping[str, nn.Module],
    products: bool,
    calls: list[Calls] | None = None,
) -> dict[str, Flow]:
    """The same for layers at hand and batches that are checked.

    With ``calls``, how often the model calls each layer on each batch, a pass ends after the last call of these.
    """
    if products:
        need = sum(8 * columns**2 * groups for groups, columns in map(_size, layers.values()))
        require_memory("calibrate(products=True)", need, "look at fewer layers at once")
    found = {
        name: Flow.empty(*_size(layer), products, next(layer.parameters()).device)
        for name, layer in layers.items()
    }

    def look(name: str, layer: nn.Module, x: Tensor) -> None:
        for rows in _rows(layer, x):
            found[name].add(rows)

    for number, batch in enumerate(batches):
        watch_inputs(model, batch, layers, look, "calibrate", None if calls is None else calls[number])
    refuse_unreached("calibrate", [name for name, flow in found.items() if not flow.samples])
    return found


def calls_of(model: nn.Module, batches: list[Any], layers: Mapping[str, nn.Module]) -> list[Calls]:
    """How often a model calls each layer on each batch, in the order of the first calls.

    Raises:
        StateError: a layer that is never called.
        ShapeError: an input that does not fit a layer.
    """
    found = [Calls() for _ in batches]

    def look(counted: Calls, name: str, layer: nn.Module, x: Tensor) -> None:
        next(_rows(layer, x), None)  # refuses what does not fit
        counted[name] += 1

    for batch, counted in zip(batches, found, strict=True):
        watch_inputs(model, batch, layers, partial(look, counted), "calibrate")
    refuse_unreached("calibrate", layers.keys() - {name for counted in found for name in counted})
    return found


def _chosen(model: nn.Module, names: Iterable[str] | None) -> dict[str, nn.Module]:
    """The layers of these names; raises ConfigError for one that is no layer."""
    known = {name: module for name, module in model.named_modules() if kind_of(module)}
    wanted = list(known) if names is None else list(names)
    if not wanted or (unknown := [name for name in wanted if name not in known]):
        raise ConfigError(
            "calibrate(layers=)",
            expected=f"names of linear layers or convolutions: {', '.join(known) or 'the model has none'}",
            got=", ".join(unknown) if wanted else "none",
        )
    return {name: known[name] for name in wanted}


def _rows(layer: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """Parts of a layer's input as rows of numbers, one a column of its matrix; raises ShapeError or DtypeError."""
    wanted = next(layer.parameters()).dtype
    if x.dtype != wanted and not torch.is_autocast_enabled(x.device.type):
        raise DtypeError("what flows in", expected=str(wanted), got=str(x.dtype))
    return _kind(layer).rows(layer, x)


def _kind(layer: nn.Module) -> Kind:
    """The row of the table of kinds; raises ConfigError where a layer is in none."""
    if (found := kind_of(layer)) is None:
        raise ConfigError(
            "what flows in",
            expected="a layer of the table of kinds",
            got=type(layer).__name__,
            hint="leave it out with skip=",
        )
    return found


def _size(layer: Any) -> tuple[int, int]:
    """(groups, columns) of what flows into a layer."""
    return getattr(layer, "groups", 1), matrix_shape(layer)[1]
