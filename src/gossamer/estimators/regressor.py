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

from gossamer.errors import NonFiniteError, ShapeError
from gossamer.estimators.base import SparseMLP
from gossamer.estimators.fitting import Loss
from gossamer.estimators.structure import check_structure
from gossamer.estimators.whole import whole

LARGEST_TARGET = 1e18


class SparseMLPRegressor(RegressorMixin, SparseMLP):
    """A perceptron of sparse layers that predicts one number or several from tables, wide ones above all.

    Rows are dense, or a SciPy sparse matrix that is made dense batch by batch. Scale features and targets first; the
    loss is the mean squared error. There is no ``sample_weight``: in minibatches a weight is not the same as
    repeating a row.

    Args:
        hidden_layer_sizes: int, or sequence or array of int - width of every hidden layer; () is a linear model.
        density: float in (0, 1], or "fc1", "fc2", ... -> float - share of connections, spread by ERK; None takes
            ``epsilon``.
        epsilon: float or None - a layer has epsilon * (inputs + outputs) connections, so that small layers are dense;
            None leaves the density to an N:M pattern.
        pattern: str or Pattern - which zeros are allowed: "unstructured", "fanin", "fanin:4", "nm:1:8", "block:4".
        rule: str or Rule - how connections come and go: "rigl", "set", "srigl" (under "fanin"), "static".
        drop_fraction: float in [0, 1] - share of the connections that an update replaces, at the start.
        update_every: int or None - optimizer steps between updates; None is once an epoch.
        activation: "relu", "leaky_relu", "all_relu" or "tanh".
        negative_slope: float - of activations that have one.
        dropout: float in [0, 1) - of the outputs of hidden layers, in training.
        optimizer: "adam", "adamw", "sgd", "sgdw" or "rmsprop".
        learning_rate: float > 0.
        momentum: float or None - of "sgd" and "sgdw" (None is 0.9) and "rmsprop" (None is 0).
        alpha: float >= 0 - weight decay of the optimizer, of existing connections.
        batch_size: int.
        max_iter: int - epochs; the schedule of the rule is planned for so many.
        early_stopping: bool - hold out rows, stop when they are predicted no better, and keep the best network.
        validation_fraction: float between 0 and 1 - of the rows, with early stopping.
        n_iter_no_change: int - stop after more epochs than this without an improvement above ``tol``, of the held-out
            score with early stopping, else of the loss.
        tol: float >= 0.
        warm_start: bool - ``fit`` goes on from the network of the last call.
        random_state: int, RandomState or None.
        verbose: bool - a progress bar on stderr.
        device: str - where torch computes; away from "cpu" there are no compiled sparse kernels.

    Attributes:
        network_: nn.Sequential - fc1, act1, fc2, ...
        n_features_in_, feature_names_in_, n_outputs_, n_iter_: as everywhere in scikit-learn; n_iter_ counts epochs.
        loss_curve_: list of float - mean loss of every epoch.
        validation_scores_, best_validation_score_: of every epoch, and the best; with early stopping.
        feature_importances_: [features] - sum of the absolute weights that leave an input.
        connections_: int.

    Raises:
        ConfigError, DensityError, PatternError, ShapeError, NonFiniteError: by ``fit`` and ``partial_fit``; all of them
            ValueErrors. Nothing that was fitted before has changed after an error. MemoryShortage.
    Cost: an epoch is a pass over the table with O(connections) arithmetic a row; memory O(connections) and a batch.
        Predictions are computed in float64; ``freeze`` gives the network for fast ones.
    Source: Mocanu et al. 2018 (epsilon, SET); Evci et al. 2020 (RigL, ERK).
    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True, scaled=True)
        >>> y = (y - y.mean()) / y.std()
        >>> model = SparseMLPRegressor((64,), epsilon=5, max_iter=40, random_state=0).fit(20 * X, y)
        >>> model.connections_, model.score(20 * X, y) > 0.4
        (434, True)
    """

    _least_held_out = 2  # R squared of one row is not defined

    @whole
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
        table, target = self._samples("fit with warm_start", X, y, goes_on=goes_on)
        return self._fit(table, target, target.shape[1], goes_on=goes_on)

    @whole
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
        goes_on = self._goes_on_in_parts()
        table, target = self._samples("partial_fit", X, y, goes_on=goes_on)
        return self._partial_fit(table, target, target.shape[1], goes_on=goes_on)

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

    def _samples(self, operation: str, X: Any, y: ArrayLike, *, goes_on: bool) -> tuple[Any, Tensor]:
        """Table and targets [samples, outputs], checked."""
        check_structure(X)
        table, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=np.float32,
            multi_output=True,
            y_numeric=True,
            reset=not goes_on,
        )
        numbers = np.asarray(y, dtype=np.float64)
        target = numbers[:, None] if numbers.ndim == 1 else numbers
        if not target.shape[1]:
            raise ShapeError(
                "fit", expected="a target for each sample, or several", got=f"y of {numbers.shape}"
            )
        if goes_on and target.shape[1] != self.n_outputs_:
            raise ShapeError(
                operation,
                expected=f"{self.n_outputs_} targets for each sample, as before",
                got=f"{target.shape[1]}, y of shape {numbers.shape}",
            )
        if (largest := np.abs(target).max()) > LARGEST_TARGET:
            raise NonFiniteError(
                "fit",
                expected=f"targets up to {LARGEST_TARGET:g}, whose squares float32 holds",
                got=f"a target of {largest:g}",
                hint="scale y, for instance with StandardScaler",
            )
        return table, torch.from_numpy(target.astype(np.float32))

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
