"""Epochs of the published SET code (SciPy and Numba), in an environment of its own and from a checkout of it.

``python published_worker.py CHECKOUT SAMPLES.npz EPOCHS BATCH`` answers with a JSON list: the seconds of every
epoch after the first, in which Numba compiles; each with the topology update behind it. Nothing of that code is here,
it is imported. Its reading of data and its watch over the process are left out, so that their packages are not needed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import types
from contextlib import redirect_stdout
from itertools import pairwise
from typing import Any

os.environ["NUMBA_NUM_THREADS"] = "1"

import numpy as np


def published(checkout: str) -> Any:
    """The module, on the NumPy of today: in1d has become isin, which keeps the shape."""
    sys.path.insert(0, checkout)
    for name, entry in (
        ("utils.load_data", "load_fashion_mnist_data"),
        ("wasap_sgd.train.monitor", "Monitor"),
    ):
        stub = types.ModuleType(name)
        setattr(stub, entry, None)
        sys.modules[name] = stub
    if not hasattr(np, "in1d"):
        np.in1d = lambda given, among: np.isin(given, among).ravel()  # noqa: NPY201 (what that code calls)
    import set_mlp_sequential

    return set_mlp_sequential


def main() -> None:
    """One run; an epoch ends where the next one's order is drawn."""
    checkout, samples, epochs, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    code, marks, shuffle = published(checkout), [], np.random.shuffle

    def marked(order: Any) -> None:
        marks.append(time.perf_counter())
        shuffle(order)

    with np.load(samples) as file:
        x, y = file["x"], np.eye(10, dtype=np.float32)[file["y"]]
    np.random.seed(0)  # noqa: NPY002 (what that code draws from)
    slopes = [code.AlternatedLeftReLU(slope) for slope in (-0.6, 0.6, -0.6)]
    with redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:
        model = code.SET_MLP((784, 1000, 1000, 1000, 10), (*slopes, code.Softmax), epsilon=20)
        np.random.shuffle = marked
        settings = {
            "learning_rate": 0.01,
            "momentum": 0.9,
            "weight_decay": 2e-4,
            "zeta": 0.3,
            "dropoutrate": 0.3,
        }
        # One epoch more than is timed at either end: the first compiles, and after the last nothing is rewired.
        model.fit(
            x, y, x[:100], y[:100], code.CrossEntropy, epochs + 2, batch, **settings, testing=False,
            save_filename=f"{folder}/run",
        )  # fmt: skip
    print(json.dumps([after - before for before, after in pairwise(marks[1:])]))


if __name__ == "__main__":
    main()
