"""A sparse perceptron that classifies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import validate_data
from torch import Tensor
from torch.nn import functional as F

from gossamer.errors import ConfigError
from gossamer.estimators.base import SparseMLP
from gossamer.estimators.fitting import Loss
from gossamer.estimators.structure import check_structure
from gossamer.estimators.whole import whole
from gossamer.patterns import Pattern
from gossamer.registry import answers_unknown
from gossamer.rules import Rule


class SparseMLPClassifier(ClassifierMixin, SparseMLP):
    """A perceptron of sparse layers that classifies tables, wide ones above all.

    Rows are dense, or a SciPy sparse matrix that is made dense batch by batch. Scale the features first. There is no
    ``sample_weight``: in minibatches a weight is not the same as repeating a row.

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
        class_weight: "balanced" (not for ``partial_fit``), a dict class -> float, or None - how much its loss counts.
        warm_start: bool - ``fit`` goes on from the network of the last call.
        random_state: int, RandomState or None.
        verbose: bool - a progress bar on stderr.
        device: str - where torch computes; away from "cpu" there are no compiled sparse kernels.

    Attributes:
        network_: nn.Sequential - fc1, act1, fc2, ...
        classes_: [classes] - labels in ascending order.
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
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> model = SparseMLPClassifier((64,), epsilon=5, max_iter=10, random_state=0).fit(X / 16, y)
        >>> model.connections_, model.score(X / 16, y) > 0.9
        (1010, True)
    """

    classes_: NDArray[Any]

    @answers_unknown
    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (256, 128),
        *,
        density: float | Mapping[str, float] | None = None,
        epsilon: float | None = 20.0,
        pattern: str | Pattern = "unstructured",
        rule: str | Rule = "rigl",
        drop_fraction: float = 0.3,
        update_every: int | None = None,
        activation: str = "relu",
        negative_slope: float = 0.01,
        dropout: float = 0.0,
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
        momentum: float | None = None,
        alpha: float = 0.0,
        batch_size: int = 32,
        max_iter: int = 200,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        class_weight: str | Mapping[Any, float] | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        device: str = "cpu",
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            density=density,
            epsilon=epsilon,
            pattern=pattern,
            rule=rule,
            drop_fraction=drop_fraction,
            update_every=update_every,
            activation=activation,
            negative_slope=negative_slope,
            dropout=dropout,
            optimizer=optimizer,
            learning_rate=learning_rate,
            momentum=momentum,
            alpha=alpha,
            batch_size=batch_size,
            max_iter=max_iter,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
            device=device,
        )
        self.class_weight = class_weight

    @whole
    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Train on a table.

        Args:
            X: [samples, features], array or SciPy sparse - computed with in float32.
            y: [samples] - labels: numbers or strings.

        Returns:
            self.

        Raises:
            ValueError: NaN or infinity in ``X``, labels that are no classes; ConfigError, DensityError, PatternError
                for hyper-parameters, all of them ValueErrors.

        Cost: ``max_iter`` times a pass over the table; memory O(connections) and one dense batch.
        """
        goes_on = self._goes_on()
        table, labels = self._samples(X, y, reset=not goes_on)
        classes = unique_labels(labels)
        if goes_on and not np.array_equal(classes, self.classes_):
            raise ConfigError("fit with warm_start", expected=f"classes {self.classes_}", got=f"{classes}")
        self.classes_ = classes
        return self._fit(table, self._codes(labels), len(classes), goes_on=goes_on)

    @whole
    def partial_fit(self, X: Any, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Go once through some samples; the first call starts a training that is planned for ``max_iter`` calls.

        Args:
            X: [samples, features], array or SciPy sparse.
            y: [samples] - labels among ``classes``.
            classes: every label there will be; needed by the first call.

        Returns:
            self.

        Raises:
            ValueError: see ``fit``; labels outside the classes; no classes in the first call, or others later.

        Cost: one pass over the samples.
        """
        first = not self._goes_on_in_parts()
        if isinstance(self.class_weight, str):
            hint = "give a dict with a weight for each class, e.g. of compute_class_weight over all samples"
            raise ConfigError(
                "partial_fit", expected="class_weight=None or a dict", got=repr(self.class_weight), hint=hint
            )
        if first and classes is None:
            raise ConfigError("partial_fit", expected="classes in the first call", got="None")
        known = unique_labels(classes) if first else self.classes_
        if classes is not None and not np.array_equal(known, unique_labels(classes)):
            raise ConfigError("partial_fit", expected=f"classes {known}, as before", got=f"{classes}")
        table, labels = self._samples(X, y, reset=first)
        self.classes_ = known
        return self._partial_fit(table, self._codes(labels), len(known), goes_on=not first)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probability of every class.

        Args:
            X: [samples, features], array or SciPy sparse.

        Returns:
            [samples, classes], in the order of ``classes_``.

        Cost: one pass forward.
        """
        return np.asarray(torch.from_numpy(self._outputs(X)).softmax(1).numpy())

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class.

        Args:
            X: [samples, features], array or SciPy sparse.

        Returns:
            [samples], labels as in fitting.

        Cost: one pass forward.
        """
        best = self._outputs(X).argmax(1)
        return np.asarray(self.classes_[best])

    def _samples(self, X: Any, y: ArrayLike, *, reset: bool) -> tuple[Any, NDArray[Any]]:
        """Table and labels, checked."""
        check_structure(X)
        table, labels = validate_data(self, X, y, accept_sparse="csr", dtype=np.float32, reset=reset)
        check_classification_targets(labels)
        return table, labels

    def _codes(self, y: NDArray[Any]) -> Tensor:
        """[samples], int64: the number of each label's class."""
        return torch.from_numpy(LabelEncoder().fit(self.classes_).transform(y).astype(np.int64))

    def _loss(self, target: Tensor) -> Loss:
        """Cross-entropy, each class with its weight."""
        weight = None
        if self.class_weight is not None:
            labels = self.classes_[target.numpy()]
            found = compute_class_weight(self.class_weight, classes=self.classes_, y=labels)
            weight = torch.from_numpy(found.astype(np.float32)).to(self.device)
        return lambda said, wanted: F.cross_entropy(said, wanted, weight, reduction="sum") / len(wanted)

    def _held_out_score(self, said: NDArray[Any], target: Tensor) -> float:
        """Accuracy."""
        return float((said.argmax(1) == target.numpy()).mean())

    def _strata(self, target: Tensor) -> Tensor | None:
        """Classes."""
        return target
