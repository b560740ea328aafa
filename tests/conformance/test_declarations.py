"""The suite of rules reads what a rule declares: a rule of any kind passes it, and a declaration that lies does not."""

from __future__ import annotations

import inspect
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

import gossamer as gs
from conformance import test_rules as suite
from gossamer.rules import SET, Rule, rules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATTERNS = [gs.Unstructured(), gs.Block(4)]
LIES = [{"count": "kept"}, {"grows": True}, {"never": frozenset({"change"})}]


@dataclass(frozen=True, kw_only=True)
class Fade(Rule):
    """Drops the smallest weights for good: all that a rule which shrinks has to say is one line."""

    count: ClassVar[str] = "shrinks"
    grows: ClassVar[bool] = False


@pytest.fixture
def registered() -> Iterator[type[Rule]]:
    """The toy in the registry, for one test."""
    yield rules.register("fade")(Fade)
    rules.remove("fade")


def calls(test: Any, rule: type[Rule], tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The arguments that pytest would give a test of the suite if there were this rule alone."""
    choices: list[list[dict[str, Any]]] = []
    for mark in getattr(test, "pytestmark", ()):
        names = mark.args[0] if isinstance(mark.args[0], (list, tuple)) else [mark.args[0]]
        if "pair" in names:
            every = 10 if "agree" in test.__name__ else 5
            pairs = [{"pair": (rule(every=every), pattern)} for pattern in PATTERNS]
            others = {"optimizer": "adam", "home": "packed"}
            choices.append(
                [pair | {name: others[name] for name in names if name in others} for pair in pairs]
            )
        elif "rule" in names:
            choices.append([{"rule": rule(every=5)}])
        else:
            choices.append([{names[0]: value} for value in mark.args[1]][:2])
    room = {"tmp_path": tmp_path} if "tmp_path" in inspect.signature(test).parameters else {}
    for chosen in itertools.product(*choices):
        yield {key: value for part in (*chosen, room) for key, value in part.items()}


def of_rules() -> list[Any]:
    """Every test of the suite that takes a rule."""
    named = [(name, test) for name, test in vars(suite).items() if name.startswith("test_")]
    takes = {"pair", "rule"}
    return [test for _, test in named if takes & set(inspect.signature(test).parameters)]


@pytest.mark.parametrize("test", of_rules(), ids=lambda t: t.__name__)
def test_a_rule_that_shrinks_passes_the_whole_suite(
    test: Any, registered: type[Rule], tmp_path: Path
) -> None:
    """One class, nothing said anywhere else."""
    for arguments in calls(test, registered, tmp_path):
        try:
            test(**arguments)
        except pytest.skip.Exception:
            continue


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_declaration_that_lies_is_found_out(
    lie: dict[str, Any], registered: type[Rule], tmp_path: Path
) -> None:
    """By one of the checks at least."""
    liar = type("Liar", (registered,), {**lie, "__module__": __name__})
    assert fails(liar, tmp_path)


def test_a_rule_that_grows_and_does_not_say_so_is_found_out(tmp_path: Path) -> None:
    """Also one that grows at neurons it said it would never revive."""
    for lie in ({"grows": False}, {"never": frozenset({"revive"})}, {"count": "many"}):
        assert fails(type("Liar", (SET,), {**lie, "__module__": __name__}), tmp_path), lie


def fails(rule: type[Rule], tmp_path: Path) -> bool:
    """Whether some check of single decisions does not hold."""
    names = (
        "test_an_update_keeps_the_budget_of_every_bucket_exactly",
        "test_the_number_dropped_is_the_floor_of_the_fraction",
        "test_a_neuron_without_connections_stays_so_where_a_rule_never_revives",
        "test_growth_alone_does_not_change_the_loss",
    )
    for name in names:
        for arguments in calls(getattr(suite, name), rule, tmp_path):
            try:
                getattr(suite, name)(**arguments)
            except pytest.skip.Exception:
                continue
            except AssertionError:
                return True
    return False


def test_the_suite_knows_no_rule_by_name() -> None:
    """Neither the checks nor what they iterate over compare names."""
    import strategies

    for module in (suite, strategies):
        text = inspect.getsource(module)
        assert not [name for name in rules if f'"{name}"' in text]
