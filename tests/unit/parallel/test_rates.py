"""The learning rate of many workers."""

from __future__ import annotations

import pytest
import torch

from gossamer.errors import ConfigError
from gossamer.parallel import scaled_rate


def test_the_rate_rises_in_a_straight_line_and_stays():
    rates = [scaled_rate(0.1, 4, epoch / 10) for epoch in range(80)]
    assert rates[0] == 0.1
    assert torch.tensor(rates[:51]).diff().sub(0.3 / 50).abs().max() < 1e-6
    assert rates[50:] == [0.4] * 30
    assert scaled_rate(0.1, 1, 3) == 0.1
    assert scaled_rate(0.1, 4, 0, warmup=0) == 0.4
    with pytest.raises(ConfigError, match="scaled_rate"):
        scaled_rate(0.1, 0, 1)


def test_momentum_is_corrected_by_the_form_of_the_optimizer():
    """Source: Goyal et al. 2017, equations 9 and 10: M <- mu * (new rate / old rate) * M - new rate * gradient."""
    weight = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=scaled_rate(0.1, 5, 0), momentum=0.9)
    expected, velocity, old = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 0.1
    for step in range(40):
        rate = scaled_rate(0.1, 5, step / 6)
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.randn(3, dtype=torch.float64)
        velocity = 0.9 * (rate / old) * velocity - rate * weight.grad
        expected, old = expected + velocity, rate
        optimizer.step()
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=1e-12)
