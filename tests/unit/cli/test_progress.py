"""What is told of a training while it runs: a bar on a terminal, lines in a log, nothing where it was asked for."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from gossamer.runs.config import RunConfig
from gossamer.runs.execute import record
from gossamer.runs.folder import begin
from gossamer.runs.loop import Loop
from gossamer.runs.progress import progress_bar

RUN = [
    "--data",
    "digits",
    "--widths",
    "16",
    "--density",
    "0.5",
    "--epochs",
    "2",
    "--batch",
    "500",
    "--threads",
    "1",
]


def test_a_log_has_the_data_and_a_line_an_epoch(call, tmp_path):
    answer = call("train", *RUN, "--rule", "static", "--out", tmp_path / "run")
    data, folder, first, second = answer.stderr.splitlines()
    assert data == "data digits: 1,442 samples to train on, 10 classes"
    assert folder.startswith("run folder")
    assert first.startswith("training: epoch 1 of 2, loss ")
    assert second.startswith("training: epoch 2 of 2, loss ")
    assert "%" in second


def test_quiet_says_nothing(call, tmp_path):
    assert call("train", *RUN, "--out", tmp_path / "run", "--quiet").stderr == ""


def test_a_terminal_shows_epoch_loss_and_accuracy_beside_the_bar(tmp_path):
    config = RunConfig(data="digits", widths=(16,), density=0.5, rule={"name": "static"}, epochs=2, batch=500)
    config, samples = begin(tmp_path / "run", config)
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with progress_bar(console, quiet=False) as progress:
        record(tmp_path / "run", loop := Loop(config, samples), progress)
        note = progress.tasks[0].fields["note"]
    assert note.startswith("epoch 2 of 2, loss ")
    assert note.endswith(f"{100 * loop.best['accuracy']:.2f} %")
    assert "training: epoch" not in screen.getvalue()  # no lines between the frames of a bar


@pytest.mark.parametrize(("every", "told"), [(4, False), (5, True)])
def test_a_rule_that_will_never_act_is_told_of(call, tmp_path, every, told):
    """Six steps, and the topology stays from 4.5 on: an update at 4, and none at 5."""
    answer = call("train", *RUN, "--rule", "rigl", "--every", every, "--out", tmp_path / "run")
    assert answer.code == 0
    assert ("rigl will not change a connection in 6 steps" in answer.stderr) is told
