"""Hard sigmoid: a line between zero and one."""

from __future__ import annotations

from gossamer.network.operators.base import Operator, Settings, operator, plain, unset

operator(
    Operator(
        "hardsigmoid",
        lambda torch, xs, _s, _t: torch.nn.functional.hardsigmoid(xs[0]),
        modules={"torch.nn.Hardsigmoid": unset},
        calls={"torch.nn.functional.hardsigmoid": plain},
        elementwise=True,
        activations={"hardsigmoid": lambda _: Settings()},
    )
)
