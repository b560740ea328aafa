"""Errors travel: through pickle, copies, pools of processes, joblib and scikit-learn's searches."""

from __future__ import annotations

import copy
import importlib
import multiprocessing
import pickle
import pkgutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import gossamer
from gossamer.compress.watching import _EnoughError
from gossamer.errors import (
    ConfigError,
    GossamerError,
    PluginWarning,
    SparseEfficiencyWarning,
    TrainingWarning,
)
from gossamer.importing.onnx.build import NotOurs
from gossamer.network.lowering import NotLowered
from gossamer.network.operators import Unsupported
from gossamer.network.spelling import NotSpelled
from gossamer.registry import Registry
from gossamer.trace.reader import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def raised_here(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    """Every class below ``kind`` that this package defines."""
    for child in kind.__subclasses__():
        if child.__module__.split(".")[0] == "gossamer":
            yield child
        yield from raised_here(child)


def all_kinds() -> list[type[BaseException]]:
    """Errors and warnings of every module of the package."""
    for module in pkgutil.walk_packages(gossamer.__path__, "gossamer."):
        if not module.name.endswith(("__main__", "adapters.layer")):  # which is of no use without peft
            importlib.import_module(module.name)
    return sorted(set(raised_here(BaseException)), key=lambda kind: kind.__name__)


KINDS = all_kinds()
ERRORS = [kind for kind in KINDS if issubclass(kind, GossamerError)]


def carried(protocol: int, error: Any) -> Any:
    """What a pickle brings back."""
    return pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 (our own bytes)


WAYS: dict[str, Callable[[Any], Any]] = {"copy": copy.copy, "deepcopy": copy.deepcopy}
WAYS |= {f"pickle {number}": partial(carried, number) for number in range(pickle.HIGHEST_PROTOCOL + 1)}


class Particular(ConfigError):
    """A subclass with an argument of its own, as a user may write one."""

    def __init__(self, where: str, *, line: int) -> None:
        super().__init__(where, expected="order", got="chaos", hint="tidy up")
        self.line = line


class Stubborn(Exception):
    """An error of someone else that pickles and does not come back."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def made(kind: type[GossamerError]) -> GossamerError:
    """An error of a kind, with all there may be on it."""
    error = kind("a call", expected="this", got="that", hint="do so")
    error.add_note("first note")
    error.__cause__ = KeyError("root")
    return error


def test_every_kind_of_the_package_is_under_one_root() -> None:
    """What is no GossamerError is a warning, or what the caller inside the package answers."""
    assert len(ERRORS) >= 14
    others = {kind for kind in KINDS if kind not in ERRORS}
    assert {kind for kind in others if issubclass(kind, Warning)} == {
        PluginWarning,
        SparseEfficiencyWarning,
        TrainingWarning,
    }
    assert {kind for kind in others if not issubclass(kind, Warning)} == {
        _EnoughError,
        NotLowered,
        NotOurs,
        NotSpelled,
        UnreadableError,
        Unsupported,
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_all_parts_survive(kind: type[GossamerError], way: str) -> None:
    """Class, sentence, the four parts, notes and the cause."""
    error = made(kind)
    back = WAYS[way](error)
    assert type(back) is kind
    assert str(back) == str(error) == "a call: expected this, got that; do so"
    assert back.args == error.args
    assert (back.operation, back.expected, back.got, back.hint) == ("a call", "this", "that", "do so")
    assert back.__notes__ == ["first note"]
    assert repr(back.__cause__) == "KeyError('root')"
    assert back.__suppress_context__


@pytest.mark.parametrize("way", WAYS)
def test_what_hides_its_context_still_does(way: str) -> None:
    """``raise ... from None`` in a worker prints nothing more in the parent; a plain ``raise`` stays plain."""
    hidden, plain = ConfigError("a", expected="b", got="c"), ConfigError("a", expected="b", got="c")
    hidden.__cause__ = None
    assert WAYS[way](hidden).__suppress_context__
    assert not WAYS[way](plain).__suppress_context__


@pytest.mark.parametrize("way", WAYS)
def test_a_subclass_with_arguments_of_its_own_travels(way: str) -> None:
    """As does what ``within`` makes of it."""
    for error in (Particular("a file", line=3), Particular("a file", line=3).within("reading")):
        back = WAYS[way](error)
        assert (type(back), str(back), back.line) == (Particular, str(error), 3)
    assert str(error) == "reading: a file: expected order, got chaos; tidy up"


def test_a_cause_that_cannot_travel_becomes_a_note() -> None:
    """Or the pool that carries the error would break on it."""
    error = ConfigError("a", expected="b", got="c")
    error.__cause__ = Stubborn(1, 2)
    back = carried(pickle.DEFAULT_PROTOCOL, error)
    assert back.__cause__ is None
    assert back.__notes__ == ["caused by Stubborn: 1 and 2"]
    assert not hasattr(error, "__notes__")


def test_warnings_travel() -> None:
    """As ordinary ones do."""
    for copied in WAYS.values():
        assert copied(SparseEfficiencyWarning("slow")).args == ("slow",)


def by_pool(work: Callable[[str], Any]) -> None:
    """In the classic pool, which hangs where an error does not unpickle; hence the limit."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.map_async(work, ["red"]).get(timeout=60)


def by_executor(work: Callable[[str], Any]) -> None:
    """In the newer pool, which breaks there."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(work, ["red"], timeout=60))


@pytest.mark.parametrize("run", [by_pool, by_executor])
def test_an_error_of_a_worker_arrives(run: Callable[[Callable[[str], Any]], None]) -> None:
    """The pool neither hangs nor breaks, and says what its worker said."""
    with pytest.raises(ConfigError, match="colour by name: expected one of"):
        run(Registry("colour").__getitem__)


def test_a_search_says_what_its_worker_said() -> None:
    """``error_score="raise"`` with several jobs, by joblib, raises the setting's own error."""
    np = importlib.import_module("numpy")
    search = importlib.import_module("sklearn.model_selection").GridSearchCV
    model = importlib.import_module("gossamer.estimators").SparseMLPClassifier
    table, labels = np.random.default_rng(0).normal(size=(24, 4)), np.arange(24) % 2
    grid = search(model((4,), max_iter=1), {"dropout": [2.0, 3.0]}, n_jobs=2, cv=2, error_score="raise")
    with pytest.raises(ConfigError, match="dropout"):
        grid.fit(table, labels)
