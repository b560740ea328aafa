"""Scikit-learn's own checks of an estimator, every one of them, without expected failures."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from gossamer.estimators import SparseMLPClassifier, SparseMLPRegressor

# The tables of these checks have a few columns: at the default epsilon all layers are dense, at 2 they are not.
SPARSE = {"hidden_layer_sizes": (32, 16), "epsilon": 2, "max_iter": 40}
GROWN_BY_GRADIENT = {**SPARSE, "rule": "srigl", "pattern": "fanin", "optimizer": "rmsprop", "dropout": 0.05}
GROWN_AT_RANDOM = {**SPARSE, "rule": "set", "optimizer": "sgd", "activation": "tanh"}


@pytest.mark.slow
@parametrize_with_checks([SparseMLPClassifier(), SparseMLPRegressor()])
def test_defaults_keep_the_contract(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [
        SparseMLPClassifier(**SPARSE, learning_rate=1e-2),
        SparseMLPClassifier(**GROWN_BY_GRADIENT, learning_rate=5e-3),
        SparseMLPRegressor(**GROWN_AT_RANDOM, learning_rate=5e-2),
    ]
)
def test_sparse_layers_keep_the_contract(estimator, check):
    check(estimator)
