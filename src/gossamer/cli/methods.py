"""What ``gossamer demo`` compares: one network, one budget, several ways to find the connections."""

from __future__ import annotations

from typing import NamedTuple

from gossamer.runs.config import DENSE, OptimizerConfig, RunConfig, ScheduleConfig

DENSITY = 0.125  # of every layer and every method: what 1:8 fixes
DENSE_METHOD = "dense"


class Scale(NamedTuple):
    """How large the demo is on a data set; every width is a multiple of 8."""

    widths: tuple[int, ...]
    epochs: int
    batch: int
    lr: float


SCALES = {"digits": Scale((256, 128), 20, 32, 0.05)}
SCALE = Scale((1024, 512), 6, 128, 0.2)


def methods(
    data: str, samples: int, seed: int, threads: int, epochs: int | None = None
) -> dict[str, RunConfig]:
    """Configurations by method, dense first.

    Args:
        data: str - a data set.
        samples: int - how many it has to train on.
        seed: int - of all methods.
        threads: int.
        epochs: int or None - None takes what suits the data set.

    Returns:
        name -> RunConfig.

    Example:
        >>> list(methods("digits", 1442, seed=0, threads=1))
        ['dense', 'static', 'set', 'rigl', 'srigl', 'srigl-nm']
    """
    scale = SCALES.get(data, SCALE)
    epochs = epochs or scale.epochs
    per_epoch = -(-samples // scale.batch)
    every = max(1, min(100, per_epoch * epochs // 30))
    shared = RunConfig(
        data=data,
        widths=scale.widths,
        optimizer=OptimizerConfig(name="sgd", lr=scale.lr, momentum=0.9, nesterov=True, weight_decay=1e-4),
        schedule=ScheduleConfig(name="cosine", warmup=per_epoch // 4),
        epochs=epochs,
        batch=scale.batch,
        seed=seed,
        threads=threads,
    )
    rules = {
        "static": ("fanin", {"name": "static"}),
        "set": ("unstructured", {"name": "set", "every": per_epoch}),  # once an epoch, as in its paper
        "rigl": ("unstructured", {"name": "rigl", "every": every}),
        "srigl": ("fanin", {"name": "srigl", "every": every}),
        "srigl-nm": ("nm:1:8", {"name": "srigl", "every": every, "gamma": None}),
    }
    sparse = {
        name: shared.model_copy(
            update={"pattern": pattern, "density": DENSITY, "allocation": "uniform", "rule": rule}
        )
        for name, (pattern, rule) in rules.items()
    }
    return {DENSE_METHOD: shared.model_copy(update={"pattern": DENSE}), **sparse}
