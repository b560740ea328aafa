"""Sparse perceptrons with scikit-learn's interface, for wide tables."""

from gossamer.estimators.classifier import SparseMLPClassifier
from gossamer.estimators.regressor import SparseMLPRegressor

__all__ = ["SparseMLPClassifier", "SparseMLPRegressor"]
