"""The estimators in use: tables, early stopping, going on, pickling, pipelines, searches, freezing."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, random_array
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectFromModel
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import gossamer as gs
from gossamer.errors import ConfigError, DensityError, NonFiniteError, PatternError, ShapeError
from gossamer.estimators import SparseMLPClassifier, SparseMLPRegressor
from gossamer.nn import SparseModule
from gossamer.nn.perceptron import ACTIVATIONS
from gossamer.patterns import patterns
from gossamer.rules import rules

QUICK = {"hidden_layer_sizes": (32,), "epsilon": 3, "learning_rate": 1e-2, "max_iter": 5, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X[:600] / 16).astype(np.float32), y[:600]


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return StandardScaler().fit_transform(X), (y - y.mean()) / y.std()


def same(a, b):
    """Two fitted estimators hold the same bits."""
    states = [model.network_.state_dict() for model in (a, b)]
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name].long(), states[1][name].long())
        if "values" not in name
        else torch.equal(states[0][name], states[1][name])
        for name in states[0]
    )


# --- networks --------------------------------------------------------------------------------------------------------
def test_epsilon_counts_connections_as_in_the_paper(digits):
    model = SparseMLPClassifier(**QUICK).fit(*digits)
    assert model.network_[0].connections == 3 * (64 + 32)
    assert model.connections_ == 3 * (64 + 32) + 3 * (32 + 10)
    assert SparseMLPClassifier(**{**QUICK, "epsilon": 1000}).fit(*digits).connections_ == 64 * 32 + 32 * 10


def test_density_wins_over_epsilon_and_may_name_layers(digits):
    whole = SparseMLPClassifier(**QUICK, density=0.25).fit(*digits)
    assert whole.connections_ == pytest.approx(0.25 * 2368, abs=2)
    model = SparseMLPClassifier(**QUICK, density={"fc1": 0.5, "fc2": 1.0}).fit(*digits)
    assert [model.network_[0].connections, model.connections_] == [1024, 1024 + 320]


@pytest.mark.parametrize("pattern", sorted(patterns))
@pytest.mark.parametrize("rule", sorted(rules))
def test_every_rule_on_every_pattern_that_it_takes(digits, pattern, rule):
    named = {"nm": "nm:1:4", "block": "block:2"}.get(pattern, pattern)
    # A rule that removes neurons takes the same share of them at every update: a small one leaves enough.
    settings = {**QUICK, "pattern": named, "rule": rule, "epsilon": None if pattern == "nm" else 3}
    settings["drop_fraction"] = 0.1
    model = SparseMLPClassifier(**settings)
    if gs.rules.rules[rule]().undefined_in("packed"):
        with pytest.raises(ConfigError, match="packed layers"):
            model.fit(*digits)
        return
    try:
        gs.rules.rules[rule]().check(gs.patterns.parse(named))
    except PatternError:
        with pytest.raises(PatternError):
            model.fit(*digits)
        return
    model.fit(*digits)
    assert isinstance(model.network_[0], SparseModule)
    assert model.score(*digits) > 0.5


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_learns(digits, activation):
    assert SparseMLPClassifier(**QUICK, activation=activation).fit(*digits).score(*digits) > 0.7


def test_a_rule_may_be_an_object_and_moves_connections(digits):
    still = SparseMLPClassifier(**QUICK, rule="static").fit(*digits)
    moved = SparseMLPClassifier(**QUICK, rule=gs.SET(every=3, drop=0.5)).fit(*digits)
    before, after = (model.network_[0].topology.positions for model in (still, moved))
    assert before.numel() == after.numel()
    assert not torch.equal(before, after)


def test_a_pattern_may_be_an_object(digits):
    named, made = (
        SparseMLPClassifier(**QUICK, pattern=zeros).fit(*digits) for zeros in ("fanin", gs.FanIn())
    )
    assert same(named, made)


def test_importances_are_sums_of_absolute_outgoing_weights(digits):
    for settings in ({}, {"pattern": "block:2"}, {"epsilon": 1000}):
        model = SparseMLPClassifier(**{**QUICK, **settings}).fit(*digits)
        dense = model.network_.double()[0](torch.eye(64).double()) - model.network_[0].bias
        assert model.feature_importances_ == pytest.approx(dense.abs().sum(1).detach().numpy(), rel=1e-5)


def test_a_layer_too_wide_to_be_dense_is_never_dense():
    """100,000 columns to 4,000 neurons: the dense weight would take 1.5 GiB."""
    script = """
import resource, numpy as np, torch
from scipy.sparse import random_array
from gossamer.estimators import SparseMLPClassifier
torch.set_num_threads(1)
X = random_array((40, 100_000), density=1e-3, format="csr", random_state=0)
y = np.arange(40) % 2
tiny = SparseMLPClassifier((8,), epsilon=1, max_iter=1).fit(X[:, :10], y)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
model = SparseMLPClassifier((4000,), epsilon=5, rule="set", max_iter=2, batch_size=10).fit(X, y)
model.predict(X)
print(peak() - before, model.connections_)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    mib, connections = done.stdout.split()
    assert int(connections) == 5 * 104_000 + 8000
    assert float(mib) < 300


# --- tables ----------------------------------------------------------------------------------------------------------
def test_sparse_and_dense_tables_give_the_same_bits(digits):
    X, y = digits
    dense, sparse = (SparseMLPClassifier(**QUICK).fit(table, y) for table in (X, csr_array(X)))
    assert same(dense, sparse)
    assert np.array_equal(dense.predict_proba(X), sparse.predict_proba(csr_array(X)))


def test_string_labels_come_back(digits):
    X, y = digits
    names = np.array([f"digit {k}" for k in range(10)])
    model = SparseMLPClassifier(**QUICK).fit(X, names[y])
    assert list(model.classes_) == list(names)
    assert set(model.predict(X)) <= set(names)
    assert model.predict_proba(X).sum(1) == pytest.approx(1.0)


def test_several_outputs(diabetes):
    X, y = diabetes
    model = SparseMLPRegressor(**{**QUICK, "max_iter": 30}).fit(X, np.stack([y, -y], 1))
    said = model.predict(X)
    assert said.shape == (len(X), 2)
    assert np.corrcoef(said[:, 0], said[:, 1])[0, 1] < -0.5
    assert model.score(X, np.stack([y, -y], 1)) > 0.3


def test_class_weights_move_the_border(digits):
    X, y = digits
    few = (y == 3).astype(int)
    found = [
        SparseMLPClassifier(**{**QUICK, "max_iter": 2}, class_weight=weight).fit(X, few).predict(X).sum()
        for weight in (None, "balanced", {0: 1, 1: 1000})
    ]
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize("kind", [SparseMLPClassifier, SparseMLPRegressor])
def test_what_is_wrong_with_a_table_is_said_as_scikit_learn_says_it(digits, kind):
    X, y = digits
    model = kind(**QUICK).fit(X, y)
    hole = X.copy()
    hole[3, 5] = np.nan
    for call in (lambda: kind(**QUICK).fit(hole, y), lambda: model.predict(hole)):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            call()
    for call in (lambda: model.predict(X[:, :9]), lambda: model.partial_fit(X[:, :9], y)):
        with pytest.raises(ValueError, match=r"X has 9 features, but .* is expecting 64 features"):
            call()
    with pytest.raises(NotFittedError):
        kind().predict(X)
    with pytest.raises(NotFittedError):
        kind().freeze()
    assert not hasattr(kind(), "feature_importances_")


WRONG = {
    "hidden_layer_sizes": (0,),
    "density": 0.0,
    "epsilon": -1,
    "pattern": "hexagons",
    "rule": "magic",
    "drop_fraction": 2.0,
    "update_every": 0,
    "activation": "swoosh",
    "negative_slope": "steep",
    "dropout": 1.0,
    "optimizer": "lbfgs",
    "learning_rate": 0,
    "momentum": 1.0,
    "alpha": -1,
    "batch_size": "auto",
    "max_iter": 0.5,
    "validation_fraction": 1.0,
    "n_iter_no_change": 0,
    "tol": None,
    "early_stopping": "yes",
    "warm_start": 1,
    "device": "meta",
    "class_weight": "fair",
}
BEYOND_FLOAT32 = {
    "learning_rate": 1e308, "alpha": 1e308, "negative_slope": 1e308, "epsilon": 1e308, "tol": float("inf"),
    "density": float("nan"), "dropout": float("nan"), "momentum": float("nan"), "hidden_layer_sizes": 1 << 40,
    "optimizer": ["adam"], "activation": np.array(["relu", "tanh"]), "rule": np.array(["set", "rigl"]),
    "class_weight": {0: -1.0}, "device": "gpu",
}  # fmt: skip


@pytest.mark.parametrize(("parameter", "value"), [*WRONG.items(), *BEYOND_FLOAT32.items()])
def test_a_hyper_parameter_out_of_range_is_refused_when_fitting(digits, parameter, value):
    model = SparseMLPClassifier().set_params(**{parameter: value})
    with pytest.raises(ValueError, match=r": expected .*, got "):
        model.fit(*digits)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_the_largest_settings_diverge_in_words(digits, optimizer):
    """Just inside of the bounds no error of torch comes up."""
    X, y = digits
    model = SparseMLPRegressor(**{**QUICK, "learning_rate": 1e30, "optimizer": optimizer}, alpha=1e6)
    with pytest.raises(NonFiniteError):
        model.fit(X, y)


@pytest.mark.parametrize("sizes", [8, np.int64(8), np.array([8]), np.array(8), [np.int32(8)], range(8, 9)])
def test_widths_are_taken_as_scikit_learn_takes_them(digits, sizes):
    model = SparseMLPClassifier(**{**QUICK, "max_iter": np.int64(1), "hidden_layer_sizes": sizes})
    model.set_params(learning_rate=np.float32(0.01), dropout=np.float64(0.1), batch_size=np.int16(50))
    assert model.fit(*digits).network_[0].out_features == 8
    search = GridSearchCV(model, {"hidden_layer_sizes": [4, (4, 3), ()], "tol": np.logspace(-4, -3, 1)}, cv=2)
    assert search.fit(*digits).best_params_["hidden_layer_sizes"] in (4, (4, 3), ())


def test_without_hidden_layers_it_is_a_linear_model(digits):
    model = SparseMLPClassifier(**{**QUICK, "hidden_layer_sizes": (), "max_iter": 30}).fit(*digits)
    assert len(model.network_) == 1
    assert model.score(*digits) > 0.8


@pytest.mark.parametrize("width", [4, 400])
def test_a_rule_on_a_pattern_is_judged_by_the_settings_alone(width):
    """Also on a table so narrow that no layer would be sparse; the hint names what the estimator takes."""
    X, y = np.random.default_rng(0).normal(size=(40, width)), np.arange(40) % 2
    with pytest.raises(PatternError, match="choose pattern='fanin'"):
        SparseMLPClassifier((8,), rule="srigl", max_iter=1).fit(X, y)
    with pytest.raises(ValueError, match=r"epsilon=\): expected None, as nm:1:4"):
        SparseMLPClassifier((8,), pattern="nm:1:4", max_iter=1).fit(X, y)


def test_a_density_without_room_for_one_input_a_neuron_is_refused(digits):
    with pytest.raises(DensityError, match="fc1"):
        SparseMLPClassifier(**{**QUICK, "density": 0.001, "pattern": "fanin"}).fit(*digits)


def test_a_training_that_diverges_says_so_and_lets_go_of_the_network(digits):
    X, y = digits
    model = SparseMLPRegressor(**{**QUICK, "optimizer": "sgd", "learning_rate": 1e20})
    with pytest.raises(NonFiniteError, match="lower the learning rate"):
        model.fit(X, y)
    in_parts = clone(model)
    with pytest.raises(NonFiniteError):
        in_parts.partial_fit(X, y)
    for failed in (model, in_parts):
        assert not [name for name in vars(failed) if name.endswith("_")]
        with pytest.raises(NotFittedError):
            failed.predict(X)
    for again in (model, in_parts):
        assert again.set_params(learning_rate=1e-3).fit(X, y / 10).partial_fit(X, y / 10).n_iter_ == 6


def test_weights_that_the_last_step_broke_are_no_fit():
    """No loss comes after it that would show them."""
    X, y = np.eye(4, dtype=np.float32) * 1e15, np.full(4, 1e15)
    model = SparseMLPRegressor((4,), optimizer="sgd", learning_rate=1e30, max_iter=1, batch_size=4)
    with pytest.raises(NonFiniteError):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


# --- the course of a training ----------------------------------------------------------------------------------------
def test_a_seed_decides_every_bit_and_global_generators_none(digits):
    settings = {**QUICK, "dropout": 0.2, "early_stopping": True}
    first = SparseMLPClassifier(**settings).fit(*digits)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 (the global generator is the point)
    state = torch.get_rng_state()
    assert same(first, SparseMLPClassifier(**settings).fit(*digits))
    assert torch.equal(state, torch.get_rng_state())
    assert not same(first, SparseMLPClassifier(**{**settings, "random_state": 1}).fit(*digits))


def test_training_stops_where_the_loss_does(digits):
    settings = {**QUICK, "max_iter": 50, "n_iter_no_change": 2, "tol": 0.5}
    model = SparseMLPClassifier(**settings).fit(*digits)
    assert model.n_iter_ == len(model.loss_curve_) < 50
    assert model.validation_scores_ == []


def test_early_stopping_keeps_the_best_network(digits):
    X, y = digits
    settings = {**QUICK, "max_iter": 40, "n_iter_no_change": 3, "early_stopping": True, "rule": "set"}
    model = SparseMLPClassifier(**settings, validation_fraction=0.25, drop_fraction=0.9).fit(X, y)
    scores = model.validation_scores_
    assert len(scores) == model.n_iter_
    assert model.best_validation_score_ == max(scores) > scores[-1]
    _, held_out = model._split(torch.from_numpy(y))
    assert len(held_out) == 150
    assert model.score(X[held_out], y[held_out]) == pytest.approx(max(scores), abs=0.01)


def test_regressors_stop_early_too(diabetes):
    model = SparseMLPRegressor(**{**QUICK, "max_iter": 30}, early_stopping=True, n_iter_no_change=2)
    assert model.fit(*diabetes).best_validation_score_ == max(model.validation_scores_)


def test_warm_start_goes_on(digits):
    X, y = digits
    model = SparseMLPClassifier(**QUICK, warm_start=True).fit(X, y)
    network, losses = model.network_, list(model.loss_curve_)
    model.fit(X, y)
    assert model.network_ is network
    assert model.n_iter_ == 10
    assert model.loss_curve_[:5] == losses
    assert model.loss_curve_[5] < losses[0] / 2
    with pytest.raises(ValueError, match="warm_start: expected classes"):
        model.fit(X, y + 1)
    with pytest.raises(ValueError, match="features"):
        model.fit(X[:, :5], y)
    assert SparseMLPClassifier(**QUICK).fit(X, y).fit(X, y).n_iter_ == 5


@pytest.mark.parametrize("way", ["partial_fit", "warm_start", "fit"])
def test_a_call_that_fails_leaves_the_fit_before_it(diabetes, way):
    """Network, topology, curves and the training's own state: the next call gives the bits it would have given."""
    X, y = diabetes
    settings = {**QUICK, "warm_start": way == "warm_start", "rule": gs.SET(every=3)}
    model, twin = (SparseMLPRegressor(**settings).fit(X, y) for _ in range(2))
    network, said = model.network_, model.predict(X)
    call = model.partial_fit if way == "partial_fit" else model.fit
    model.set_params(learning_rate=1e25)
    with pytest.raises(NonFiniteError):
        call(X, y)
    with pytest.raises(ValueError, match="NaN"):
        call(X, np.full(len(y), np.nan))
    assert model.network_ is network
    assert np.array_equal(model.predict(X), said)
    model.set_params(learning_rate=1e-2)
    for each in (model, twin):
        (each.partial_fit if way == "partial_fit" else each.fit)(X, y)
    assert same(model, twin)
    assert model.loss_curve_ == twin.loss_curve_
    assert model.n_iter_ == twin.n_iter_


@pytest.mark.parametrize(("before", "now"), [(1, 2), (1, 3), (2, 1), (3, 1), (2, 3)])
def test_another_number_of_targets_is_refused_and_not_broadcast(diabetes, before, now):
    """In both ways to go on, and nothing has changed after it."""
    X, y = diabetes
    targets = {1: y, 2: np.stack([y, -y], 1), 3: np.stack([y, -y, y], 1)}
    for settings in ({}, {"warm_start": True}):
        model = SparseMLPRegressor(**{**QUICK, "max_iter": 1}, **settings).fit(X, targets[before])
        said = model.predict(X)
        with pytest.raises(ShapeError, match=f"expected {before} targets for each sample"):
            (model.fit if settings else model.partial_fit)(X, targets[now])
        assert np.array_equal(model.predict(X), said)
    column = SparseMLPRegressor(**{**QUICK, "max_iter": 1}).fit(X, y)
    assert same(column, SparseMLPRegressor(**{**QUICK, "max_iter": 1}).fit(X, y[:, None]))
    assert column.partial_fit(X, y[:, None]).predict(X).shape == y.shape


@pytest.mark.parametrize(
    "y", [np.full(20, 1e300), np.full((20, 2), -1e30), np.zeros((20, 0)), np.zeros((20, 1, 1))]
)
def test_targets_that_cannot_be_learnt_are_named(y):
    """Too large for the squares of float32, none at all, or of too many dimensions."""
    with pytest.raises(ValueError, match=r"target|0 feature|dim 3"):
        SparseMLPRegressor(**QUICK).fit(np.eye(20), y)


def test_inputs_too_large_are_named(digits):
    X, y = digits
    with pytest.raises(NonFiniteError, match="scale features"):
        SparseMLPRegressor(**QUICK).fit(X * np.float32(1e30), y)


CHANGED = {
    "hidden_layer_sizes": 9, "density": 0.5, "epsilon": 4, "pattern": "fanin", "activation": "tanh",
    "negative_slope": 0.5, "dropout": 0.5, "random_state": 3,
}  # fmt: skip
CHANGED_IN_PARTS = CHANGED | {
    "rule": "set", "drop_fraction": 0.5, "update_every": 2, "max_iter": 9, "optimizer": "sgd", "momentum": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGED_IN_PARTS)
def test_a_setting_that_can_no_longer_be_followed_may_not_change(digits, name):
    model = SparseMLPClassifier(**QUICK).fit(*digits)
    model.set_params(**{name: CHANGED_IN_PARTS[name]})
    with pytest.raises(ConfigError, match=rf"{name}=.*as in the call before"):
        model.partial_fit(*digits)
    model.set_params(warm_start=True, max_iter=1)
    if name in CHANGED:
        with pytest.raises(ConfigError, match=rf"{name}=.*as in the call before"):
            model.fit(*digits)
    else:
        assert model.fit(*digits).n_iter_ > 5
    model.set_params(warm_start=False)
    assert model.fit(*digits).n_iter_ == 1


@pytest.mark.parametrize("optimizer", ["sgd", "sgdw", "rmsprop", "adam", "adamw"])
def test_rate_and_decay_may_change_between_parts_and_are_used(digits, optimizer):
    """A rate of almost nothing leaves the network as it is."""
    model = SparseMLPClassifier(**{**QUICK, "optimizer": optimizer, "rule": "static"})
    model.partial_fit(*digits, classes=range(10))
    before = [parameter.clone() for parameter in model.network_.parameters()]
    model.set_params(learning_rate=1e-30)
    if optimizer == "sgdw":
        return  # its momentum holds steps, which go on whatever the rate is
    model.partial_fit(*digits)
    assert all(torch.equal(a, b) for a, b in zip(before, model.network_.parameters(), strict=True))


def test_balanced_weights_need_the_whole_target(digits):
    """Refused at the first call, whatever is in the batch; a dict is taken, classes missing or not."""
    X, y = digits
    with pytest.raises(ConfigError, match="class_weight"):
        SparseMLPClassifier(**QUICK, class_weight="balanced").partial_fit(X, y, classes=range(10))
    model = SparseMLPClassifier(**QUICK, class_weight=dict.fromkeys(range(10), 2.0))
    assert model.partial_fit(X[y < 3], y[y < 3], classes=range(10)).n_iter_ == 1


def test_a_validation_part_without_a_score_is_refused(diabetes, digits):
    X, y = diabetes
    for rows in (2, 10):
        with pytest.raises(ConfigError, match="validation_fraction"):
            SparseMLPRegressor(**QUICK, early_stopping=True).fit(X[:rows], y[:rows])
    with pytest.raises(ConfigError, match="validation_fraction"):
        SparseMLPClassifier(**QUICK, early_stopping=True).fit(digits[0][:20], digits[1][:20])
    model = SparseMLPRegressor(**QUICK, early_stopping=True).fit(X[:20], y[:20])
    assert np.isfinite(model.best_validation_score_)
    assert np.isfinite(model.validation_scores_).all()


def test_a_seed_decides_a_fit_also_beside_others_in_threads(digits):
    """Dropout draws from a generator of its own, though torch's is shared, and leaves that one alone."""
    settings = {**QUICK, "dropout": 0.3}
    alone = SparseMLPClassifier(**settings).fit(*digits)
    state = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: SparseMLPClassifier(**settings).fit(*digits), range(4)))
    assert all(same(alone, model) for model in together)
    assert torch.equal(state, torch.get_rng_state())


def test_partial_fit_is_a_training_in_parts(digits):
    """The same steps as fit: one pass a call, optimizer and topology going on."""
    whole = SparseMLPClassifier(**QUICK, tol=0.0).fit(*digits)
    parts = SparseMLPClassifier(**QUICK)
    for _ in range(5):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(*digits, classes=range(10))))  # noqa: S301
    assert same(whole, parts)
    assert parts.loss_curve_ == whole.loss_curve_


def test_partial_fit_wants_to_know_the_classes(digits):
    X, y = digits
    model = SparseMLPClassifier(**QUICK)
    with pytest.raises(ValueError, match="expected classes in the first call"):
        model.partial_fit(X, y)
    model.partial_fit(X[y < 5], y[y < 5], classes=range(10))
    assert model.predict_proba(X).shape == (600, 10)
    model.partial_fit(X, y)
    with pytest.raises(ValueError, match="previously unseen labels"):
        model.partial_fit(X, y + 5)
    with pytest.raises(ValueError, match="as before"):
        model.partial_fit(X, y, classes=range(11))
    with pytest.raises(ValueError, match="early_stopping=False"):
        model.set_params(early_stopping=True).partial_fit(X, y)


def test_a_regressor_learns_in_parts(diabetes):
    X, y = diabetes
    model = SparseMLPRegressor(**QUICK)
    for _ in range(20):
        for part in np.array_split(np.arange(len(X)), 3):
            model.partial_fit(X[part], y[part])
    assert model.n_iter_ == 60
    assert model.score(X, y) > 0.4


def test_verbose_shows_a_bar_on_stderr_and_else_nothing_is_said(digits, capsys):
    SparseMLPClassifier(**QUICK).fit(*digits)
    assert capsys.readouterr() == ("", "")
    SparseMLPClassifier(**QUICK, verbose=True, early_stopping=True).fit(*digits)
    out, err = capsys.readouterr()
    assert out == ""
    assert "epochs" in err
    assert "held out" in err


# --- among other tools -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pattern", ["unstructured", "fanin"])
def test_pickles_and_copies_predict_the_same(digits, pattern):
    X, y = digits
    model = SparseMLPClassifier(**QUICK, pattern=pattern).fit(X, y)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):  # noqa: S301
        assert same(model, twin)
        assert np.array_equal(twin.predict_proba(X), model.predict_proba(X))
    assert not hasattr(clone(model), "network_")
    assert clone(model).get_params() == model.get_params()


def test_a_search_in_a_pipeline_in_two_processes(digits):
    X, y = digits
    pipeline = make_pipeline(StandardScaler(), SparseMLPClassifier(**QUICK))
    grid = {"sparsemlpclassifier__rule": ["set", "rigl"]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(X, y)
    assert len(search.cv_results_["mean_test_score"]) == 2
    assert search.best_score_ > 0.6
    assert search.predict(X).shape == (600,)


def test_features_are_selected_by_their_strength(digits):
    X, y = digits
    chosen = SelectFromModel(SparseMLPClassifier(**QUICK), max_features=20, threshold=-np.inf).fit(X, y)
    assert chosen.transform(X).shape == (600, 20)


def test_the_frozen_network_says_what_the_estimator_says(digits, tmp_path):
    X, y = digits
    model = SparseMLPClassifier(**QUICK, dropout=0.1).fit(X, y)
    frozen = model.freeze(keep="csr")
    assert frozen(torch.from_numpy(X)).softmax(1).numpy() == pytest.approx(model.predict_proba(X), abs=1e-5)
    gs.save(frozen, tmp_path / "digits.safetensors")
    again = gs.load(tmp_path / "digits.safetensors")
    assert np.array_equal(again(torch.from_numpy(X)).argmax(1).numpy(), model.predict(X))
    assert model.partial_fit(X, y).n_iter_ == 6  # the estimator's own network can still be trained


def test_a_wide_sparse_table_with_few_rows():
    X = random_array((30, 20_000), density=0.01, format="csr", random_state=0)
    y = np.asarray(X[:, [0]].sum(1) > 0).ravel().astype(int)
    y[:5] = 1
    model = SparseMLPClassifier((64,), max_iter=20, epsilon=5, random_state=0).fit(X, y)
    assert model.score(X, y) == 1.0
    assert model.feature_importances_.shape == (20_000,)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rule": "mestt"}, "did you mean 'mest'"),
        ({"rule": "SNFS"}, "did you mean 'snfs'"),
        ({"rule": gs.MEST}, r"make one: MEST\(\)"),
        ({"pattern": gs.NM}, r"make one: NM\(2, 4\)"),
        ({"optimizer": "adamm"}, "did you mean 'adam'"),
        ({"activation": "Relu"}, "did you mean 'relu'"),
        ({"epsilon": None}, "density or epsilon.*None for both"),
        ({"random_state": -1}, r"random_state=\).*2\*\*32"),
        ({"random_state": 1.0}, r"random_state=\).*got 1.0"),
        ({"random_state": np.random.default_rng(0)}, r"random_state=\).*Generator"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_setting_that_is_nearly_right_is_refused_with_what_was_meant(
    settings: dict[str, Any], words: str
) -> None:
    """Before anything is built; numbers of other kinds are no seeds."""
    model = SparseMLPClassifier((8,), max_iter=1, **settings)
    with pytest.raises(ConfigError, match=words):
        model.fit(np.zeros((8, 4)), np.arange(8) % 2)
    assert not hasattr(model, "network_")
