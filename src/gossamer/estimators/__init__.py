"""Sparse perceptrons with scikit-learn's interface, for wide tables."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.estimators.classifier import SparseMLPClassifier
from gossamer.estimators.regressor import SparseMLPRegressor

__all__ = ["SparseMLPClassifier", "SparseMLPRegressor"]
