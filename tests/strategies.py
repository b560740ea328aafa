"""What the conformance suites iterate over: registered patterns and rules, shapes that bite, trainings."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

import gossamer as gs
from gossamer.errors import DensityError, PatternError
from gossamer.patterns import Grid, Pattern, parse, patterns
from gossamer.rules import Rule, rules
from gossamer.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gossamer.training import Engine

# --- patterns -----------------------------------------------------------------------------------------------

# Arguments worth testing. A pattern that is not named here joins with its default arguments.
EXAMPLES = {
    "fanin": ("fanin", "fanin:2", "fanin:4", "fanin:8"),
    "nm": ("nm:1:4", "nm:2:4", "nm:1:8", "nm:3:7"),
    "block": ("block:4", "block:8", "block:1:4", "block:8:1"),
}
PATTERNS: list[Pattern] = [parse(text) for name in patterns for text in EXAMPLES.get(name, (name,))]

# Before they are rounded up to what the pattern divides.
SHAPES = {
    "one_row": (1, 40),
    "one_column": (12, 1),
    "one_connection": (1, 1),
    "square": (16, 16),
    "tall": (48, 8),
    "wide": (8, 96),
    "odd": (7, 13),
}
DENSITIES = (0.2, 0.5, 1.0)


def fit(pattern: Pattern, shape: tuple[int, int]) -> tuple[int, int]:
    """The smallest shape, at least this one, that the pattern divides."""
    out = -(-shape[0] // pattern.unit[0]) * pattern.unit[0]
    for inputs in range(shape[1], shape[1] + 257):
        try:
            pattern.grid((out, inputs))
        except PatternError:
            continue
        return out, inputs
    raise AssertionError(f"no shape near {shape} suits {pattern}")


def density_near(pattern: Pattern, wanted: float, shape: tuple[int, int]) -> float:
    """The density closest to ``wanted`` that the pattern can have on this shape."""
    fractions = {wanted, 1.0, *(n / m for m in range(2, 17) for n in range(1, m))}
    fractions |= {n / shape[1] for n in range(1, min(shape[1], 64) + 1)}
    for density in sorted(fractions, key=lambda d: abs(d - wanted)):
        try:
            pattern.budget(density, shape)
        except DensityError:
            continue
        return density
    raise AssertionError(f"{pattern} has no density on {shape}")


@dataclass(frozen=True)
class Case:
    """A pattern on a layer."""

    pattern: Pattern
    shape: tuple[int, int]
    density: float

    def __str__(self) -> str:
        return f"{self.pattern}-{self.shape[0]}x{self.shape[1]}-{self.density:.3g}"

    @property
    def grid(self) -> Grid:
        """The unit grid."""
        return self.pattern.grid(self.shape)

    @property
    def units(self) -> int:
        """The budget."""
        return self.pattern.budget(self.density, self.shape)

    def sample(self, seed: int = 0) -> Tensor:
        """A topology."""
        return self.pattern.sample(self.units, self.grid, torch.Generator().manual_seed(seed))

    def topology(self, seed: int = 0) -> Topology:
        """A topology with its shape."""
        return Topology(self.pattern, self.shape, self.sample(seed))


def case(pattern: Pattern, shape: tuple[int, int], density: float) -> Case:
    """The nearest case the pattern allows."""
    shape = fit(pattern, shape)
    return Case(pattern, shape, density_near(pattern, density, shape))


CASES = list(dict.fromkeys(case(p, s, d) for p in PATTERNS for s in SHAPES.values() for d in DENSITIES))


@st.composite
def cases(draw: Callable[..., Any]) -> Case:
    """Any pattern on any small layer at any density it allows."""
    shape = draw(st.tuples(st.integers(1, 24), st.integers(1, 40)))
    return case(draw(st.sampled_from(PATTERNS)), shape, draw(st.floats(0.02, 1.0)))


# --- rules --------------------------------------------------------------------------------------------------

TRAINED_ON: list[Pattern] = [parse(text) for text in ("unstructured", "fanin", "fanin:4", "nm:1:8", "nm:2:4")]
TRAINED_ON += [parse("block:4"), parse("block:8:1")]
TRAINED_ON += [p for p in PATTERNS if p.name not in ("unstructured", "fanin", "nm", "block")]


def make_rules(**settings: Any) -> list[Rule]:
    """Every registered rule, in each of the settings it declares to be worth testing, with these settings."""
    return [rules[name](**settings, **variant) for name in rules for variant in rules[name].variants]


def rule_id(rule: Rule) -> str:
    """A short name for test ids."""
    usual = type(rule)()
    values = {field.name: getattr(rule, field.name) for field in fields(rule)}
    other = {key: value for key, value in values.items() if key != "every" and value != getattr(usual, key)}
    return "-".join([rule.name, *(f"{key}={getattr(v, 'name', v)}" for key, v in other.items())])


def defined(**settings: Any) -> list[tuple[Rule, Pattern]]:
    """Every rule with every pattern on which it is defined."""
    return [(r, p) for r in make_rules(**settings) for p in TRAINED_ON if not r.undefined_on(p)]


def homes_of(rule: Rule) -> list[str]:
    """The homes in which a rule is defined."""
    return [home for home in ("packed", "masked") if not rule.undefined_in(home)]


def brings_values(rule: Rule) -> bool:
    """Whether a rule gives weights other values than zero when connections appear."""
    return type(rule).revalued is not Rule.revalued and rule.grows


def pair_id(pair: Any) -> str:
    """A short name for a (rule, pattern) pair."""
    return f"{rule_id(pair[0])}-{pair[1]}" if isinstance(pair, tuple) else str(pair)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "nesterov_wd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": lambda p: torch.optim.Adam(p, lr=5e-3),
    "adamw": lambda p: torch.optim.AdamW(p, lr=5e-3, weight_decay=0.05),
    "sgdw": lambda p: gs.SGDW(p, lr=0.05, momentum=0.9, weight_decay=1e-4),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=2e-3, momentum=0.5),
}

# --- small trainings ----------------------------------------------------------------------------------------

IN, HIDDEN, OUT = 32, 24, 16


def make_model(
    home: str, pattern: Pattern, dtype: torch.dtype = torch.float32, seed: int = 0, dropout: float = 0.0
) -> nn.Sequential:
    """A small network whose linear layers are all sparse, the same for every home."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(IN, HIDDEN), nn.ReLU(), nn.Dropout(dropout), nn.Linear(HIDDEN, OUT)).to(
        dtype
    )
    generator = torch.Generator().manual_seed(seed)
    density = {name: density_near(pattern, 0.25, fit(pattern, size)) for name, size in SIZES.items()}
    gs.sparsify(model, density, pattern, home=home, generator=generator)
    return model


SIZES = {"0": (HIDDEN, IN), "3": (OUT, HIDDEN)}


def batch(step: int, dtype: torch.dtype = torch.float32, size: int = 16) -> tuple[Tensor, Tensor]:
    """The data of one step: products of inputs, so that there is something to learn."""
    x = torch.randn(size, IN, generator=torch.Generator().manual_seed(1000 + step)).to(dtype)
    return x, x[:, :OUT] * x[:, OUT : 2 * OUT]


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, step: int, dtype: torch.dtype = torch.float32
) -> float:
    """One step of an ordinary training loop."""
    x, target = batch(step, dtype)
    optimizer.zero_grad()
    loss = (model(x) - target).square().mean()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def trained(
    home: str,
    pattern: Pattern,
    rule: Rule,
    optimizer: str = "adam",
    steps: int = 20,
    dtype: torch.dtype = torch.float32,
) -> tuple[nn.Sequential, torch.optim.Optimizer, Engine, list[float]]:
    """Train from scratch."""
    model = make_model(home, pattern, dtype)
    optim = OPTIMIZERS[optimizer](model.parameters())
    engine = gs.attach(model, optim, rule, total_steps=steps)
    return model, optim, engine, [train_step(model, optim, step, dtype) for step in range(steps)]


def dense_weight(layer: Any) -> Tensor:
    """[out, in] with zeros where there is no connection, for either home."""
    topology = layer.topology
    return topology.pattern.unpack(layer.unit_values().reshape(-1), topology.positions, topology.grid)


def everything(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """A copy of every tensor and number of a run, for comparing before and after."""
    facts = {f"model/{key}": value.clone() for key, value in model.state_dict().items()}
    for number, (key, parameter) in enumerate(model.named_parameters()):
        facts[f"grad/{key}"] = None if parameter.grad is None else parameter.grad.clone()
        state = {} if optimizer is None else optimizer.state.get(parameter, {})
        facts |= {f"state/{number}/{name}": copy.deepcopy(value) for name, value in state.items()}
    return facts


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Keys whose values are not the same, bit for bit (NaN equals NaN)."""

    def same(x: Any, y: Any) -> bool:
        if isinstance(x, Tensor) and isinstance(y, Tensor):
            if x.dtype != y.dtype or x.shape != y.shape:
                return False
            return (
                torch.equal(torch.nan_to_num(x, 12345.0), torch.nan_to_num(y, 12345.0))
                if x.dtype.is_floating_point
                else torch.equal(x, y)
            )
        return type(x) is type(y) and x == y

    return sorted(
        key for key in a.keys() | b.keys() if key not in a or key not in b or not same(a[key], b[key])
    )


def sparse_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Sparse layers by name."""
    return ((n, m) for n, m in model.named_modules() if hasattr(m, "topology") and hasattr(m, "capacity"))
