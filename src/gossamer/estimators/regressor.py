"""A sparse perceptron that predicts numbers."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import validate_data
from torch import Tensor
from torch.nn import functional as F

from gossamer.estimators.base import SparseMLP
from gossamer.estimators.fitting import Loss


class SparseMLPRegressor(RegressorMixin, SparseMLP):
    """DOC
    """

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Train on a table.

        Args:
            X: [samples, features], array or SciPy sparse - computed with in float32.
            y: [samples] or [samples, outputs].

        Returns:
            self.

        Raises:
            ValueError: NaN or infinity; ConfigError, DensityError, PatternError for hyper-parameters, all of them
                ValueErrors.

        Cost: ``max_iter`` times a pass over the table; memory O(connections) and one dense batch.
        """
        goes_on = self._goes_on()
        X, target = self._samples(X, y, reset=not goes_on)
        return self._fit(X, target, target.shape[1], goes_on=goes_on)

    def partial_fit(self, X: Any, y: ArrayLike) -> Self:
        """Go once through some samples; the first call starts a training that is planned for ``max_iter`` calls.

        Args:
            X: [samples, features], array or SciPy sparse.
            y: [samples] or [samples, outputs].

        Returns:
            self.

        Raises:
            ValueError: see ``fit``.

        Cost: one pass over the samples.
        """
        X, target = self._samples(X, y, reset=not hasattr(self, "network_"))
        return self._partial_fit(X, target, target.shape[1])

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The number, or numbers, of every sample.

        Args:
            X: [samples, features], array or SciPy sparse.

        Returns:
            [samples], or [samples, outputs] where fitting had several.

        Cost: one pass forward.
        """
        said = self._outputs(X)
        return said[:, 0] if self.n_outputs_ == 1 else said

    def _samples(self, X: Any, y: ArrayLike, *, reset: bool) -> tuple[Any, Tensor]:
        """Table and targets [samples, outputs], checked."""
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=np.float32,
            multi_output=True,
            y_numeric=True,
            reset=reset,
        )
        target = torch.from_numpy(np.array(y, dtype=np.float32))
        return X, target.view(len(target), -1)

    def _loss(self, target: Tensor) -> Loss:
        """Mean squared error."""
        return F.mse_loss

    def _held_out_score(self, said: NDArray[Any], target: Tensor) -> float:
        """R squared."""
        return float(r2_score(target.numpy(), said))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
