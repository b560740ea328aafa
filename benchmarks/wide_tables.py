"""Wide tables: sparse estimators beside dense perceptrons, a linear model, a forest; accuracy, seconds, memory.

Reads leukemia_allaml72.npz (72 x 7129, five-fold cross-validation) and madelon.npz (2000 rows to train, 600 to test,
500 columns) from a folder in GOSSAMER_DATA. Every model with every seed runs in a process of its own. On Leukemia the
networks have the estimators' default settings, but batches of 8; on Madelon they were chosen on 500 of the 2000 rows,
without a look at the 600. Twenty minutes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from statistics import mean, pstdev
from typing import Any

import numpy as np
import torch
from harness import arguments, record, remembered, shared_file
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from gossamer.estimators import SparseMLPClassifier
from gossamer.measure import peak_memory

Split = tuple[Any, Any, Any, Any]
FOLDS = 5


def leukemia(seed: int) -> Iterator[Split]:
    """Five folds."""
    with np.load(shared_file("leukemia_allaml72.npz")) as file:
        x, y = file["x"], file["y"]
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y):
        yield x[train], y[train], x[test], y[test]


def madelon(_: int) -> Iterator[Split]:
    """The published split."""
    with np.load(shared_file("madelon.npz")) as file:
        yield (
            *(file["x_train"].astype(np.float32), file["y_train"]),
            *(file["x_test"].astype(np.float32), file["y_test"]),
        )


def ours(**settings: Any) -> Callable[[int], Any]:
    """A sparse estimator by seed."""
    return lambda seed: SparseMLPClassifier(random_state=seed, **settings)


def theirs(**settings: Any) -> Callable[[int], Any]:
    """Scikit-learn's dense perceptron by seed."""
    return lambda seed: MLPClassifier(random_state=seed, **settings)


WIDE = {"batch_size": 8, "max_iter": 100}
XOR = {
    "hidden_layer_sizes": (400, 100),
    "batch_size": 64,
    "max_iter": 200,
    "n_iter_no_change": 200,
    "optimizer": "adamw",
    "learning_rate": 3e-3,
    "alpha": 0.3,
}
MODELS: dict[str, tuple[Callable[[int], Iterator[Split]], dict[str, Callable[[int], Any]]]] = {
    "leukemia": (
        leukemia,
        {
            "SET, epsilon 20": ours(rule="set", **WIDE),
            "RigL, epsilon 20": ours(rule="rigl", **WIDE),
            "RigL, epsilon 2": ours(rule="rigl", epsilon=2, **WIDE),
            "the same, dense": ours(density=1.0, **WIDE),
            "MLPClassifier": theirs(hidden_layer_sizes=(256, 128), **WIDE),
            "logistic regression": lambda _: LogisticRegression(max_iter=1000),
            "random forest": lambda seed: RandomForestClassifier(200, random_state=seed),
        },
    ),
    "madelon": (
        madelon,
        {
            "SET, epsilon 1": ours(rule="set", epsilon=1, **XOR),
            "RigL, epsilon 1": ours(rule="rigl", epsilon=1, **XOR),
            "static, epsilon 1": ours(rule="static", epsilon=1, **XOR),
            "the same, dense": ours(density=1.0, **XOR),
            "MLPClassifier": theirs(hidden_layer_sizes=(400, 100), batch_size=64, max_iter=200),
            "logistic regression": lambda _: LogisticRegression(max_iter=1000),
            "random forest": lambda seed: RandomForestClassifier(200, random_state=seed),
        },
    ),
}


def parameters(model: Any) -> int:
    """Weights without biases; the nodes of a forest."""
    if isinstance(model, RandomForestClassifier):
        return sum(tree.tree_.node_count for tree in model.estimators_)
    if isinstance(model, SparseMLPClassifier):
        return model.connections_
    if isinstance(model, MLPClassifier):
        return sum(weight.size for weight in model.coefs_)
    return int(model.coef_.size)


def fitted(table: str, name: str, seed: int, *, tiny: bool) -> dict[str, Any]:
    """One model on every split of a table, or of two of its columns; what a process of its own prints."""
    splits, models = MODELS[table]
    columns = slice(2 if tiny else None)
    row: dict[str, Any] = {"accuracy": [], "seconds": [], "epochs": [], "parameters": 0}
    for x, y, x_test, y_test in splits(seed):
        model = make_pipeline(StandardScaler(), models[name](seed))
        began = time.process_time()
        model.fit(x[:, columns], y)
        row["seconds"].append(time.process_time() - began)
        row["accuracy"].append(float(model.score(x_test[:, columns], y_test)))
        row["epochs"].append(int(np.max(getattr(model[-1], "n_iter_", 0))))
        row["parameters"] = parameters(model[-1])
    return row


def run(table: str, name: str, seed: int, *more: str) -> dict[str, Any]:
    """The same in a process of its own, and its peak memory."""
    chosen = ["--table", table, "--model", name, "--seed", str(seed), *more]
    peak = peak_memory([sys.executable, "-W", "ignore", __file__, *chosen], timeout=1800)
    row = {**json.loads(peak.stdout), "peak_bytes": peak.peak_bytes}
    print(table, name, seed, row, flush=True)
    return row


def known_run(table: str, name: str, seed: int, *more: str) -> dict[str, Any]:
    """A run, made once."""
    key = ", ".join([table, name, str(seed), *more])
    return remembered("wide_tables", key, lambda: run(table, name, seed, *more))


def summary(runs: list[dict[str, Any]], bare: int) -> dict[str, Any]:
    """What the runs of a model say together."""
    accuracy = [value for one in runs for value in one["accuracy"]]
    return {
        "accuracy_mean": round(mean(accuracy), 4),
        "accuracy_std": round(pstdev(accuracy), 4),
        "fits": len(accuracy),
        "seconds": round(mean(value for one in runs for value in one["seconds"]), 3),
        "epochs": round(mean(value for one in runs for value in one["epochs"]), 1),
        "parameters": runs[0]["parameters"],
        "peak_bytes_above_two_columns": max(0, max(one["peak_bytes"] for one in runs) - bare),
        "runs": runs,
    }


def main() -> None:
    """All models on both tables, or one for the process that is measured."""
    options = arguments(__doc__, seeds=3, table="", model="", seed=0, tiny=False)
    torch.set_num_threads(1)
    if options.table:
        with threadpool_limits(1):
            print(json.dumps(fitted(options.table, options.model, options.seed, tiny=options.tiny)))
        return
    result: dict[str, Any] = {"seeds": options.seeds, "threads": 1, "tables": {}}
    for table, (_, models) in MODELS.items():
        result["tables"][table] = {
            name: summary(
                [known_run(table, name, seed) for seed in range(options.seeds)],
                known_run(table, name, 0, "--tiny")["peak_bytes"],
            )
            for name in models
        }
    record("wide_tables", result)


if __name__ == "__main__":
    main()
