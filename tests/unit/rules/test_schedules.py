"""Schedules and due steps against the published values."""

from __future__ import annotations

import itertools
import math

import pytest

from gossamer.errors import ConfigError
from gossamer.rules import (
    SET,
    Constant,
    CosineDecay,
    CubicDecay,
    LinearDecay,
    RigL,
    SRigL,
    Static,
    build,
    describe,
    schedules,
)


@pytest.mark.parametrize(
    ("step", "fraction", "digits"),
    [
        (0, 0.3, 12),
        (100, 0.299988, 6),
        (5000, 0.271353, 6),
        (12500, 0.15, 12),
        (20000, 0.028647, 6),
        (24900, 1.2e-5, 6),
    ],
)
def test_cosine_goldens(step: int, fraction: float, digits: int) -> None:
    """alpha 0.3, T_end 25,000, directly and as the drop fraction of RigL over 33,334 steps."""
    assert round(CosineDecay(0.3)(step, 0, 25000), digits) == fraction
    assert round(RigL(until=0.75).fraction(step, 100_000 // 3 + 1), 3) == round(fraction, 3)


def test_cosine_ends_at_zero_and_stays_there() -> None:
    """f(0) = alpha, f(T_end) = 0."""
    assert CosineDecay(0.3)(25000, 0, 25000) == 0
    assert CosineDecay(0.3)(99999, 0, 25000) == 0
    assert CosineDecay(0.3)(-5, 0, 25000) == 0.3


@pytest.mark.parametrize(
    ("step", "sparsity"),
    [(5, 0.0), (10, 0.0), (11, 0.16827), (13, 0.43920), (17.5, 0.78750), (20, 0.86667), (25, 0.9), (30, 0.9)],
)
def test_cubic_goldens_of_gradual_magnitude_pruning(step: float, sparsity: float) -> None:
    """t0 = 10, length 15, from 0 to 0.9: the ratio is over t_end - t_start and clamped."""
    assert round(CubicDecay(0.0, 0.9)(step, 10, 25), 5) == sparsity


@pytest.mark.parametrize("name", sorted(schedules))
def test_every_schedule_goes_from_start_to_end_without_turning_back(name: str) -> None:
    """Monotone, within its ends, constant outside the window, and defined for an empty window."""
    schedule = schedules[name](0.4, 0.1)
    values = [schedule(step, 10, 110) for step in range(121)]
    assert values[:11] == [0.4] * 11
    assert values[110:] == ([0.4] * 11 if name == "constant" else pytest.approx([0.1] * 11))
    assert all(a >= b for a, b in itertools.pairwise(values))
    assert math.isfinite(schedule(5, 10, 10))


def test_shapes_of_the_alternatives() -> None:
    """Appendix G of RigL: linear, and the third power of what is left; and a constant."""
    assert [round(s(25, 0, 100), 9) for s in (LinearDecay(0.4), CubicDecay(0.4), Constant(0.4))] == [
        0.3, round(0.4 * 0.75**3, 9), 0.4,
    ]  # fmt: skip


def test_due_steps_honour_every_begin_and_until() -> None:
    """First and last allowed step: ``begin`` counts, ``until * total`` does not."""
    rule = RigL(every=10, begin=20, until=0.5)
    assert [step for step in range(1, 201) if rule.due(step, 100)] == [20, 30, 40]
    assert [step for step in range(1, 201) if rule.due(step, 102)] == [20, 30, 40, 50]
    assert [step for step in range(1, 11) if RigL(every=1, until=1.0).due(step, 10)] == list(range(1, 10))
    assert not any(Static(every=1).due(step, 100) for step in range(1, 101))


def test_the_drop_fraction_starts_at_begin() -> None:
    """The cosine's argument is (step - begin) / (end - begin)."""
    rule = RigL(drop=0.4, begin=100, until=0.5)
    assert rule.fraction(100, 1000) == 0.4
    assert rule.fraction(300, 1000) == pytest.approx(0.2)
    assert rule.fraction(500, 1000) == pytest.approx(0.0)
    assert SET(drop=0.25).fraction(999, 1000) == 0.25
    assert SET(drop=LinearDecay(0.5)).fraction(500, 1000) == 0.25


@pytest.mark.parametrize(
    "settings",
    [
        {"every": 0}, {"every": -1}, {"every": 2.5}, {"every": True}, {"every": "5"}, {"begin": -1},
        {"begin": 0.5}, {"until": 0.0}, {"until": 1.5}, {"until": math.nan}, {"until": "end"},
        {"drop": -0.1}, {"drop": 1.1}, {"drop": math.nan}, {"drop": "much"}, {"drop": None},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("rule", [Static, SET, RigL, SRigL])
def test_settings_out_of_range_are_refused_when_the_rule_is_made(rule: type, settings: dict) -> None:
    """By the constructor and by ``build``, as a ConfigError that names the rule; never at step 10,000."""
    with pytest.raises(ConfigError):
        rule(**settings)
    with pytest.raises(ConfigError):
        build({"name": rule.name, **settings})


@pytest.mark.parametrize("gamma", [-0.1, math.nan, math.inf, "half"])
def test_gamma_out_of_range_is_refused(gamma: object) -> None:
    """At once."""
    with pytest.raises(ConfigError, match="gamma"):
        SRigL(gamma=gamma)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "config",
    [
        {}, {"name": "rigil"}, {"name": None}, {"name": "rigl", "evry": 5}, {"name": "rigl", "drop": [0.3]},
        {"name": "rigl", "drop": {"name": "sine"}}, {"name": "rigl", "drop": {"start": 0.3}},
        {"name": "rigl", "drop": {"name": "cosine", "start": [1]}},
        {"name": "rigl", "drop": {"name": "cosine"}},
        {"name": "rigl", "every": {"name": "cosine", "start": 0.5}},
    ],
    ids=str,
)  # fmt: skip
def test_hostile_configs_are_refused(config: dict) -> None:
    """Unknown names and settings, wrong types: a ConfigError, no traceback from inside."""
    with pytest.raises(ConfigError):
        build(config)


def test_describe_keeps_schedules() -> None:
    """A schedule inside a rule is data too."""
    rule = SRigL(drop=LinearDecay(0.4, 0.1), gamma=None, every=7)
    assert build(describe(rule)) == rule
    assert describe(rule)["drop"] == {"name": "linear", "start": 0.4, "end": 0.1}
