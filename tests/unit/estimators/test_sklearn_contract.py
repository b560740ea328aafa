"""Scikit-learn's own checks of an estimator, every one of them, without expected failures."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from gossamer.estimators import SparseMLPClassifier, SparseMLPRegressor

# The tables of these checks have a few columns: at the default epsilon all layers are dense, at 2 they are not.
SPARSE = {"hidden_layer_sizes": (32, 16), "epsilon": 2, "max_iter": 40}
VARIANTS = (
    {**SPARSE, "learning_rate": 1e-2},
    {
        **SPARSE,
        "rule": "srigl",
        "pattern": "fanin",
        "optimizer": "rmsprop",
        "learning_rate": 5e-3,
        "dropout": 0.05,
    },
    {**SPARSE, "rule": "set", "optimizer": "sgd", "learning_rate": 0.05, "activation": "tanh"},
)


@pytest.mark.slow
@parametrize_with_checks([SparseMLPClassifier(), SparseMLPRegressor()])
def test_defaults_keep_the_contract(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [kind(**settings) for settings in VARIANTS for kind in (SparseMLPClassifier, SparseMLPRegressor)]
)
def test_sparse_layers_keep_the_contract(estimator, check):
    check(estimator)
