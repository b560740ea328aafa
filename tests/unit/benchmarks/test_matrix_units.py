"""The benchmark of matrix units: what is compared, what is missing, and how goals are judged."""

from __future__ import annotations

from typing import Any

import matrix_cases
import matrix_goals
import matrix_units
import pytest
import torch

FORM = {"pattern": "block:16:32", "density": 0.1, "compute": "bfloat16", "input": "batch-major", "us": 10.0}
LAYER: dict[str, Any] = {
    "inputs": 64,
    "outputs": 32,
    "batch": 256,
    "ours": [FORM, {**FORM, "us": 1.0, "input": "feature-major"}, {**FORM, "us": 1.0, "compute": "float32"}],
    "rivals": {"torch bfloat16": {"us": 90.0}, "OpenVINO bfloat16": {"us": 60.0}},
}


def test_a_goal_takes_the_best_rival_and_only_what_is_meant() -> None:
    empty: dict[str, Any] = {"network": [], "training": [], "threads": []}
    first, second, *_ = matrix_goals.judged({"layers": [LAYER], **empty})
    assert (first["got"], first["wanted"]) == (6.0, 6)
    assert second["got"] is None  # no such rival


def test_forms_compute_the_layer_and_what_is_missing_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_cases, "AGAINST", ("torch dense", "torch bfloat16"))
    matrix_cases.forms.cache_clear()
    with torch.no_grad():
        case = {"inputs": 64, "outputs": 64, "batch": 4}
        got = matrix_cases.measure(case, ("block:16:32", "unstructured", "nm:1:16", "fanin:7"), 0.01)
    matrix_cases.forms.cache_clear()
    assert "fanin:7" in got["missing"]
    assert {form["input"] for form in got["ours"]} == {"batch-major", "feature-major"}
    for form in got["ours"]:
        exact = form["compute"] == "float32"
        assert form["error"] < (1e-5 if exact else 0.05), form
    assert got["rivals"]["torch dense"]["error"] < 1e-5 < got["rivals"]["torch bfloat16"]["error"]


def test_two_threads_need_two_cores() -> None:
    assert "one core" in matrix_units.two_threads({}, 0.1, 1)["missing"]["two threads"]


def test_packed_layers_are_asked_what_they_compute_in_under_autocast() -> None:
    with torch.no_grad():
        got = matrix_units.training({"inputs": 64, "outputs": 64, "batch": 4}, 0.01)
    assert {"dense float32", "dense bfloat16 autocast", "dense all bfloat16", "unstructured float32"} <= set(
        got["us"]
    )
    name = "unstructured bfloat16 autocast"
    assert (name in got["us"]) != (name in got["missing"])
