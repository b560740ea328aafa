"""Packed equals masked: every rule on every pattern, the same seed in both homes, 200 steps with topology updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from harness import arguments, record
from torch import nn
from torch.nn import functional as F

import gossamer as gs
from gossamer import data
from gossamer.errors import PatternError
from gossamer.patterns import Pattern, parse
from gossamer.rules import Rule, rules
from gossamer.training import Engine

PATTERNS = ("unstructured", "fanin", "fanin:4", "nm:1:8", "nm:2:4")
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4),
    "adamw": lambda p: torch.optim.AdamW(p, lr=2e-3),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.9),
}


def variants(pattern: Pattern) -> dict[str, Rule]:
    """Every registered rule, and where its default is undefined on a pattern, its form without ablation."""
    found: dict[str, Rule] = {}
    for name in rules:
        candidates = [rules[name](every=10)]
        if name == "srigl":
            candidates.append(gs.SRigL(every=10, gamma=None))
        for rule in candidates:
            try:
                rule.check(pattern)
            except PatternError:
                continue
            found.setdefault(name, rule)
    return found


def trained(
    home: str, pattern: Pattern, rule: Rule, optimizer: str, dtype: torch.dtype
) -> tuple[Engine, float]:
    """200 steps on digits in one home."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 16)).to(
        dtype
    )
    density = None if str(pattern).startswith("nm") else 0.25
    gs.sparsify(model, density, pattern, home=home, generator=torch.Generator().manual_seed(0))
    step = OPTIMIZERS[optimizer](model.parameters())
    engine = gs.attach(model, step, rule, total_steps=200)
    # Not standardized: a pixel that never changes is then 0 and its gradient exactly 0 in both homes. As any other
    # constant it would tie with its like, and rounding would decide.
    x_train, y_train, *_ = data.load("digits").tensors(standardize=False, dtype=dtype)
    x_train = x_train / 16
    draw = torch.Generator().manual_seed(1)
    for _ in range(200):
        pick = torch.randint(len(x_train), (64,), generator=draw)
        step.zero_grad()
        loss = F.cross_entropy(model(x_train[pick]), y_train[pick])
        loss.backward()
        step.step()
    return engine, loss.item()


def compare(pattern: Pattern, rule: Rule, optimizer: str, dtype: torch.dtype) -> dict[str, Any]:
    """Both homes side by side: share of equal positions and the largest difference of a value."""
    (packed, loss), (masked, _) = (
        trained(home, pattern, rule, optimizer, dtype) for home in ("packed", "masked")
    )
    same = shared = 0
    worst = 0.0
    for a, b in zip(packed.layers.values(), masked.layers.values(), strict=True):
        p, q = a.topology.positions, b.topology.positions
        both = torch.isin(p, q)
        same += int(both.sum())
        shared += p.numel()
        if bool(both.all()) and p.numel() == q.numel():
            worst = max(worst, float((a.unit_values() - b.unit_values()).abs().max()))
    return {
        "pattern": str(pattern),
        "rule": rule.name,
        "optimizer": optimizer,
        "dtype": str(dtype).removeprefix("torch."),
        "updates": len({row.step for row in packed.history}),
        "same_topology": same == shared,
        "share_of_equal_positions": round(same / shared, 6),
        "largest_value_difference": worst,
        "loss": round(loss, 5),
    }


def main() -> None:
    """All combinations in float64 (rounding cannot decide a tie) and float32 (it may)."""
    torch.set_num_threads(arguments(__doc__, threads=1).threads)
    rows = []
    for dtype in (torch.float64, torch.float32):
        for pattern in map(parse, PATTERNS):
            for rule in variants(pattern).values():
                rows += [compare(pattern, rule, optimizer, dtype) for optimizer in OPTIMIZERS]
                print(rows[-1], flush=True)
    record("parity", {"steps": 200, "rows": rows})
    exact = [row for row in rows if row["dtype"] == "float64"]
    assert all(row["same_topology"] and row["largest_value_difference"] < 1e-9 for row in exact), (
        "homes disagree"
    )


if __name__ == "__main__":
    main()
