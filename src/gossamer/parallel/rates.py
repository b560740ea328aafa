"""The learning rate of synchronous training with many workers."""

from __future__ import annotations

from gossamer.errors import ConfigError


def scaled_rate(rate: float, workers: int, epoch: float, warmup: float = 5.0) -> float:
    """Learning rate of WASSP-SGD: from ``rate`` up to ``workers * rate`` over the first epochs, then constant.

    The momentum correction of the papers is part of torch's SGD: its momentum sums gradients and not steps, so that a
    new rate scales all of it.

    Args:
        rate: float - of one worker.
        workers: int.
        epoch: float - epochs done, fractions allowed.
        warmup: float - epochs of the rise; 0 for none.
    Returns:
        float - ``rate * (1 + (workers - 1) * epoch / warmup)``, at most ``workers * rate``.
    Raises:
        ConfigError: a number out of range.
    Cost: O(1).
    Source: Goyal et al. 2017, section 2; Curci et al. 2021, WASSP-SGD.
    Example:
        >>> [scaled_rate(0.01, 5, epoch) for epoch in (0, 2.5, 5, 100)]
        [0.01, 0.03, 0.05, 0.05]
    """
    if workers < 1 or epoch < 0 or warmup < 0:
        raise ConfigError(
            "scaled_rate",
            expected="workers >= 1, epoch >= 0, warmup >= 0",
            got=f"{workers}, {epoch}, {warmup}",
        )
    return rate * (1 + (workers - 1) * (min(epoch / warmup, 1.0) if warmup else 1.0))
