"""A rank that is different, dies or hangs: a clear error on every rank that can still speak, and no hang."""

from __future__ import annotations

import pytest
import torch

import gossamer as gs
from processes import run_ranks
from rank_programs import (
    LAST,
    built,
    failing,
    many,
    one_fails,
    optimizer_of,
    other_count,
    sharded,
    silent_in_step,
    unlike,
    wrong_batch,
)

UNLIKE = {
    "values": "0.values",
    "rule": "rule on rank 1",
    "steps": "total_steps on rank 1",
    "version": "version on rank 1",
    "wrapped": "pattern of 0",
    "wasap": "rule on rank 1",
}


@pytest.fixture(scope="module")
def refused():
    """What the ranks say, by way of being unlike."""
    answers = run_ranks(many, 2, unlike, [(way,) for way in UNLIKE])
    return dict(zip(UNLIKE, zip(*answers, strict=True), strict=True))


@pytest.mark.parametrize("way", UNLIKE)
def test_ranks_that_differ_are_refused_on_every_rank(refused, way):
    for answer in refused[way]:
        assert answer.startswith("ConfigError"), answer
        assert UNLIKE[way] in answer


BAD = {"features": "ShapeError", "nan": "NonFiniteError", "labels": "is out of bounds"}


@pytest.mark.parametrize("way", BAD)
@pytest.mark.parametrize("mode", ["ddp", "wasap"])
def test_bad_data_on_one_rank_is_an_error_on_all(mode, way):
    """Where the data is, the error names it; NaN spreads, and is met at the next update of the topology."""
    *others, last = run_ranks(wrong_batch, 2, mode, way, time_limit=4.0)
    told = others[0] if (mode, way) == ("wasap", "nan") else last
    assert BAD[way] in told, told
    for answer in {others[0], last} - {told}:
        assert answer.startswith(("RankError", "NonFiniteError")), answer


def test_a_checkpoint_of_another_number_of_ranks_is_refused(tmp_path):
    here, _ = run_ranks(other_count, 2, str(tmp_path))
    assert here.startswith("ConfigError"), here
    assert "ranks" in here


def test_shards_are_refused():
    for answer in run_ranks(sharded, 2):
        assert answer.startswith(
            "ConfigError: attach: expected sparse layers that every rank holds as a whole"
        )


def test_a_silent_rank_is_an_error_everywhere():
    for answer in run_ranks(silent_in_step, 2, time_limit=3.0):
        assert answer.startswith("RankError"), answer


@pytest.mark.parametrize(("who", "how"), [(2, "dies"), (2, "hangs")])
def test_the_server_notices_a_worker_that_is_gone(who, how, tmp_path):
    server, other, gone = run_ranks(failing, 3, who, how, str(tmp_path), time_limit=3.0)
    said = "receive from rank 2" if how == "dies" else "nothing from rank 2"
    assert said in server, server
    assert other.startswith("RankError"), other
    assert gone is None if how == "dies" else gone.startswith("RankError")
    loads(tmp_path)


@pytest.mark.parametrize("how", ["dies", "hangs"])
def test_a_server_that_is_gone_leaves_a_clear_error_and_a_checkpoint(how, tmp_path):
    server, *workers = run_ranks(failing, 3, 0, how, str(tmp_path), time_limit=3.0)
    assert server is None or server.startswith("RankError")
    for worker in workers:
        assert worker.startswith(("RankError: receive from rank 0", "RankError: send to rank 0")), worker
    assert loads(tmp_path) == 6


def loads(folder) -> int:
    """Steps of the checkpoint in a folder."""
    model = built("unstructured")
    optimizer = optimizer_of(model)
    engine = gs.attach(model, optimizer, gs.SET(every=4), total_steps=10_000, fixed=[LAST])
    progress = gs.load_checkpoint(folder / "last.safetensors", model, optimizer, engine)
    assert sum(progress["steps"]) == engine.step
    assert torch.isfinite(model[0].values).all()
    return engine.step


def test_what_fails_on_one_rank_stops_all():
    here, there = run_ranks(one_fails, 2)
    assert here == "RankError: load data: expected success on every rank, got on rank 1: no such data"
    assert "FileNotFoundError: no such data" in there
