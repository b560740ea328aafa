"""What a fitted estimator gives: outputs, strengths of features, counts, and the network alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from gossamer.estimators.settings import check_settings
from gossamer.estimators.structure import check_structure
from gossamer.estimators.table import outputs
from gossamer.freezing import freeze
from gossamer.freezing.frozen import Frozen
from gossamer.nn import SparseModule, count


class Fitted(BaseEstimator):
    """An estimator that has a network once it is fitted."""

    network_: nn.Sequential

    def _outputs(self, X: Any) -> NDArray[np.float64]:
        """[rows, outputs]: of the network for new samples; in float64, as float32 would depend on the rows beside."""
        check_is_fitted(self, "network_")
        check_structure(X)
        table = validate_data(self, X, accept_sparse="csr", dtype=np.float32, reset=False)
        return outputs(copy.deepcopy(self.network_).double(), table)

    @property
    def feature_importances_(self) -> NDArray[np.float32]:
        """[features]: strength of every input, the sum of the absolute weights that leave it; O(connections)."""
        check_is_fitted(self, "network_")
        first: Any = self.network_[0]
        return np.asarray(input_strength(first).numpy())

    @property
    def connections_(self) -> int:
        """Weights of all layers, counted exactly."""
        check_is_fitted(self, "network_")
        return sum(row.connections for row in count(self.network_))

    def freeze(
        self, *, batch_size: int = 1, keep: str | Mapping[str, str] = "fastest", values: str = "exact"
    ) -> Frozen:
        """The network alone, made small and fast for use: see ``gossamer.freeze``.

        Args:
            batch_size: int - measured at this one.
            keep: str or dict - which forms may be chosen, see ``gossamer.freeze``.
            values: "exact", "bfloat16" or "int8".

        Returns:
            Frozen - [batch, features] float32 to [batch, outputs]; ``gossamer.save`` writes it to a file.

        Raises:
            NotFittedError, ConfigError, PatternError.

        Cost: that of ``gossamer.freeze``.
        """
        check_is_fitted(self, "network_")
        check_settings(f"{type(self).__name__}.freeze", {"batch_size": batch_size})
        example = torch.zeros(batch_size, self.n_features_in_)
        return freeze(copy.deepcopy(self.network_).cpu(), example, keep=keep, values=values)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def input_strength(layer: SparseModule | nn.Linear) -> Tensor:
    """[inputs]: sum of the absolute weights that leave each input of a linear layer, sparse or dense.

    Cost: O(connections).

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> _ = layer.weight.data.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
        >>> input_strength(layer).tolist()
        [4.0, 2.0]
    """
    if not isinstance(layer, SparseModule):
        return layer.weight.detach().abs().sum(0).cpu()
    grid = layer.grid
    each = layer.unit_values().abs().view(-1, grid.h, grid.w).sum(1)  # by unit, and input of it
    columns = layer.topology.positions % grid.cols
    return each.new_zeros(grid.cols, grid.w).index_add_(0, columns, each).flatten()
