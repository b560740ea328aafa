"""LSTM, GRU and RNN with sparse matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gossamer.errors import ConfigError
from gossamer.nn.recurrent import Recurrent
from gossamer.patterns import Pattern
from gossamer.registry import answers_unknown, check_choice

LAW = "xavier_uniform"  # that of the built layers: states feed back, and he_normal's gain of 2 is for ReLU


class LSTM(Recurrent):
    """An LSTM as torch has it, with sparse input and recurrent matrices; a layer and direction is one call of the core.

    Layer k holds ``ih_l{k}`` and ``hh_l{k}`` (and ``.._reverse``), sparse layers with the rows of the gates i, f, g, o.
    Rules, reports and checkpoints see these. A unit of a pattern never has rows of two gates.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional: as for torch.nn.LSTM.
        proj_size: int - 0; projections are not built.
        density: float in (0, 1] - share of connections of every matrix.
        pattern: Pattern, or its short name such as "block:16:16" - FanIn() by default.
        home: "packed" or "masked" - see ``sparsify``; masked ones run step by step.
        generator: torch.Generator or None - draws topologies and values.
        fan_in: "sparse" or "dense" - which fan-in the initial values are scaled for.
        law: str - of the initial values, see draw_values.
        device, dtype: as for torch.nn.LSTM.
    Raises:
        PatternError: blocks that do not divide a gate. ConfigError: settings out of range.
    Cost: 2 * connections * times * batch operations forward, twice that backward, and some hundred for the gates of a
        state; memory O(connections), and backward 5 numbers a state.
    Source: Narang et al. 2017, "Block-Sparse Recurrent Neural Networks", for blocks.
    Example:
        >>> lstm = LSTM(8, 16, density=0.25, pattern="block:4:4")
        >>> y, (h, c) = lstm(torch.randn(5, 3, 8))
        >>> y.shape, h.shape, lstm.hh_l0.connections
        (torch.Size([5, 3, 16]), torch.Size([1, 3, 16]), 256)
    """

    torch_class = nn.LSTM

    @answers_unknown
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        density: float,
        pattern: Pattern | str | None = None,
        home: str = "packed",
        generator: torch.Generator | None = None,
        fan_in: str = "sparse",
        law: str = LAW,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if proj_size:
            raise ConfigError(
                "LSTM", expected="proj_size=0", got=str(proj_size), hint="put a SparseLinear behind the layer"
            )
        sizes = (input_size, hidden_size)
        super().__init__("lstm", sizes, num_layers, bias, batch_first, dropout, bidirectional)
        drawn = {"density": density, "pattern": pattern, "generator": generator, "fan_in": fan_in, "law": law}
        self._draw(home, drawn | {"device": device, "dtype": dtype})


class GRU(Recurrent):
    """A GRU as torch has it, with sparse input and recurrent matrices, their rows by the gates r, z, n.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional: as for torch.nn.GRU.
        density, pattern, home, generator, fan_in, law, device, dtype: see LSTM.
    Raises:
        PatternError: blocks that do not divide a gate. ConfigError: settings out of range.
    Cost: as of LSTM, with three quarters of its connections; backward keeps 4 numbers a state.
    Example:
        >>> y, h = GRU(8, 16, bidirectional=True, density=0.5)(torch.randn(5, 3, 8))
        >>> y.shape, h.shape
        (torch.Size([5, 3, 32]), torch.Size([2, 3, 16]))
    """

    torch_class = nn.GRU

    @answers_unknown
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        density: float,
        pattern: Pattern | str | None = None,
        home: str = "packed",
        generator: torch.Generator | None = None,
        fan_in: str = "sparse",
        law: str = LAW,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        sizes = (input_size, hidden_size)
        super().__init__("gru", sizes, num_layers, bias, batch_first, dropout, bidirectional)
        drawn = {"density": density, "pattern": pattern, "generator": generator, "fan_in": fan_in, "law": law}
        self._draw(home, drawn | {"device": device, "dtype": dtype})


class RNN(Recurrent):
    """An RNN as torch has it, with sparse input and recurrent matrices.

    Args:
        input_size, hidden_size, num_layers: as for torch.nn.RNN.
        nonlinearity: "tanh" or "relu".
        bias, batch_first, dropout, bidirectional: as for torch.nn.RNN.
        density, pattern, home, generator, fan_in, law, device, dtype: see LSTM.
    Raises:
        PatternError: blocks that do not divide a gate. ConfigError: settings out of range.
    Cost: as of LSTM, with a quarter of its connections; backward keeps one number a state.
    Example:
        >>> RNN(8, 16, nonlinearity="relu", density=0.5)(torch.randn(5, 8))[0].shape
        torch.Size([5, 16])
    """

    torch_class = nn.RNN

    @answers_unknown
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        density: float,
        pattern: Pattern | str | None = None,
        home: str = "packed",
        generator: torch.Generator | None = None,
        fan_in: str = "sparse",
        law: str = LAW,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_choice("RNN(nonlinearity=)", nonlinearity, ("tanh", "relu"))
        sizes = (input_size, hidden_size)
        super().__init__(nonlinearity, sizes, num_layers, bias, batch_first, dropout, bidirectional)
        drawn = {"density": density, "pattern": pattern, "generator": generator, "fan_in": fan_in, "law": law}
        self._draw(home, drawn | {"device": device, "dtype": dtype})
