"""Scikit-learn's own checks of an estimator, every one of them, without expected failures."""

from __future__ import annotations

from sklearn.utils.estimator_checks import parametrize_with_checks

from gossamer.estimators import SparseMLPClassifier, SparseMLPRegressor

# The tables of these checks have a few columns: at the default epsilon all layers are dense, at 2 they are not.
QUICK = {"hidden_layer_sizes": (32, 16), "epsilon": 2, "learning_rate": 5e-3, "max_iter": 60}
VARIANTS = (
    {},
    QUICK,
    {**QUICK, "pattern": "fanin", "rule": "srigl", "optimizer": "rmsprop", "dropout": 0.05},
    {
        **QUICK,
        "rule": "set",
        "optimizer": "sgd",
        "learning_rate": 0.05,
        "activation": "tanh",
        "warm_start": True,
    },
)


@parametrize_with_checks(
    [kind(**settings) for settings in VARIANTS for kind in (SparseMLPClassifier, SparseMLPRegressor)]
)
def test_estimator_keeps_the_contract(estimator, check):
    check(estimator)
