"""Recipes: stages in order, killed anywhere and gone on with, and refused before anything is done."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import gossamer as gs
from gossamer.cli.app import app
from gossamer.errors import ConfigError, DataError, FormatError, GossamerError
from gossamer.recipes import begin, read_recipe, reopen, run
from gossamer.recipes.recipe import checked_recipe
from gossamer.recipes.running import ROWS
from gossamer.recipes.work import begin_work, load_weights
from gossamer.report.compression import write_compression
from gossamer.runs.progress import progress_bar

if TYPE_CHECKING:
    from pathlib import Path

TRAIN = {"kind": "train", "epochs": 2, "batch": 100, "optimizer": {"lr": 0.1}}
STAGES: list[dict[str, Any]] = [
    TRAIN,
    {"kind": "prune", "density": 0.3, "pattern": "fanin", "score": "snip", "dense_last": True},
    TRAIN | {"epochs": 1, "distill": {"alpha": 0.5}},
    {"kind": "prune", "density": 0.1, "dense_last": True},
    TRAIN | {"rule": {"name": "rigl", "every": 5}},
    {"kind": "quantize", "batches": 2},
    {"kind": "freeze", "keep": "csr"},
]


def recipe(stages: Any = STAGES, **more: Any) -> Any:
    """Of a small perceptron on digits."""
    return checked_recipe(
        {"data": "digits", "widths": [24], "threads": 1, "stage": [*stages], **more}, "a test"
    )


def bar() -> Any:
    """Progress that nobody sees."""
    return progress_bar(Console(stderr=True), quiet=True)


class Killed(Exception):
    """In place of a signal."""


def told_at(number: int) -> Any:
    """Stops behind a stage."""

    def told(row: dict[str, Any]) -> None:
        if row["step"] == number:
            raise Killed

    return told


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test looks at times."""
    monkeypatch.setattr("gossamer.recipes.facts.SECONDS", 0.02)


SAME = ("stage", "accuracy", "loss", "connections", "digest")


def facts(rows: list[dict[str, Any]]) -> list[Any]:
    """What does not depend on the clock; layouts of a frozen network are chosen by it."""
    return [[row[name] for name in SAME] for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An uninterrupted one: its folder, and its rows."""
    folder = tmp_path_factory.mktemp("whole") / "a"
    wanted = recipe(sensitivity={"densities": [0.5, 0.1], "samples": 100})
    begin(folder, wanted)
    with bar() as progress:
        return folder, run(folder, wanted, progress)


def test_every_stage_has_a_row(whole: Any) -> None:
    """Counts by hand: 64 -> 24 -> 10, and a rule moves connections without gaining any."""
    folder, rows = whole
    assert [row["stage"] for row in rows] == [
        "start",
        "train",
        "prune",
        "train",
        "prune",
        "train",
        "quantize",
        "freeze",
    ]
    full = 64 * 24 + 24 * 10
    fan = int(0.3 * 64) * 24 + 240
    assert [row["connections"] for row in rows[:6]] == [full, full, fan, fan, *[144 + 240] * 2]
    assert rows[1]["accuracy"] > 0.8
    assert rows[0]["digest"] != rows[1]["digest"]
    net = gs.load(folder / "7-freeze" / "net.safetensors")
    assert rows[7]["bytes"] == (folder / "7-freeze" / "net.safetensors").stat().st_size
    assert net(torch.zeros(1, 64)).shape == (1, 10)
    points = json.loads((folder / "sensitivity.json").read_text())
    found = [(point["layer"], point["density"]) for point in points]
    assert found == [("", 1.0), ("fc1", 0.5), ("fc1", 0.1), ("fc2", 0.5), ("fc2", 0.1)]


@pytest.mark.parametrize("stage", [0, 1, 2, 3, 4, 5, 6])
def test_a_kill_behind_any_stage_changes_nothing(whole: Any, stage: int, tmp_path: Path) -> None:
    """The rows of a resumed recipe are those of an uninterrupted one."""
    begin(tmp_path / "a", recipe())
    with bar() as progress, pytest.raises(Killed):
        run(tmp_path / "a", reopen(tmp_path / "a"), progress, told_at(stage))
    with bar() as progress:
        rows = run(tmp_path / "a", reopen(tmp_path / "a"), progress)
    assert facts(rows[:7]) == facts(whole[1][:7])


def test_a_kill_within_a_training_goes_on_from_its_checkpoint(
    whole: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """After its first epoch, and again in the middle of pruning."""
    from gossamer.recipes.stages.train import Tuning

    steps = 0
    original = Tuning._finish_epoch

    def stop(self: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 2:
            raise Killed
        return original(self)

    begin(tmp_path / "a", recipe())
    monkeypatch.setattr(Tuning, "_finish_epoch", stop)
    with bar() as progress, pytest.raises(Killed):
        run(tmp_path / "a", recipe(), progress)
    monkeypatch.setattr(Tuning, "_finish_epoch", original)
    with bar() as progress:
        rows = run(tmp_path / "a", reopen(tmp_path / "a"), progress)
    assert facts(rows[:7]) == facts(whole[1][:7])


def test_other_numbers_in_a_finished_stage_are_noticed(whole: Any, tmp_path: Path) -> None:
    """A row of another model, as of another processor or another file."""
    begin(tmp_path / "a", recipe())
    with bar() as progress, pytest.raises(Killed):
        run(tmp_path / "a", recipe(), progress, told_at(2))
    rows = (tmp_path / "a" / ROWS).read_text().splitlines()
    row = json.loads(rows[2])
    rows[2] = json.dumps(row | {"digest": "0" * 64})
    (tmp_path / "a" / ROWS).write_text("\n".join(rows) + "\n")
    with (
        bar() as progress,
        pytest.raises(FormatError, match="2-prune: expected the model that the stage left"),
    ):
        run(tmp_path / "a", recipe(), progress)
    assert whole


def test_the_page_shows_stages_and_sensitivity(whole: Any) -> None:
    """One file, two figures, the settings."""
    html = write_compression(whole[0]).read_text()
    assert html.count("<svg") == 2
    assert "2 prune" in html
    assert "snip" in html
    assert "http" not in html.replace("http://www.w3.org", "").replace("http-equiv", "")


WRONG: dict[str, tuple[Any, str]] = {
    "unknown stage": ([{"kind": "prun"}], "stage 1: .*'prune'"),
    "no kind": ([{"density": 0.1}], "stage 1: expected kind"),
    "unknown setting": ([{"kind": "prune", "densty": 0.1}], r"stage 1 \(prune\).*densty"),
    "freeze first": ([{"kind": "freeze"}, TRAIN], r"stage 1 \(freeze\) has to be the last"),
    "nothing": ([], "stage"),
    "a value out of range": ([TRAIN | {"epochs": 0}], "stage 1 .*epochs"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_recipes_are_refused_when_they_are_read(case: str) -> None:
    """With the number of the stage."""
    stages, words = WRONG[case]
    with pytest.raises(ConfigError, match=words):
        recipe(stages)


def test_distilling_needs_a_network_that_was_not_pruned(tmp_path: Path) -> None:
    """The teacher is the model before the first pruning."""
    wanted = recipe([TRAIN | {"distill": {}}])
    begin(tmp_path / "a", wanted)
    with bar() as progress, pytest.raises(ConfigError, match="a stage that prunes before"):
        run(tmp_path / "a", wanted, progress)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    """Missing, unknown, of another shape; nothing is loaded; those that fit are, with names of a wrapper."""
    work = begin_work(recipe())
    state = work.model.state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    for wrong, words in (
        ({n: t for n, t in state.items() if n != "fc1.weight"}, "no fc1.weight"),
        (state | {"fc9.weight": torch.ones(2, 2)}, "unknown fc9.weight"),
        (state | {"fc1.weight": torch.ones(2, 2)}, r"fc1.weight \(2, 2\) in place of \(24, 64\)"),
    ):
        torch.save(wrong, tmp_path / "a.pt")
        with pytest.raises(ConfigError, match=words):
            load_weights(work.model, tmp_path / "a.pt")
    assert all(torch.equal(tensor, before[name]) for name, tensor in work.model.state_dict().items())
    torch.save({f"module.{name}": tensor + 1 for name, tensor in state.items()}, tmp_path / "b.pt")
    load_weights(work.model, tmp_path / "b.pt")
    assert all(torch.equal(tensor, before[name] + 1) for name, tensor in work.model.state_dict().items())
    torch.save(work.model, tmp_path / "c.pt")
    with pytest.raises(GossamerError, match="never opened"):
        load_weights(work.model, tmp_path / "c.pt")


def test_a_folder_with_files_and_other_weights_are_refused(tmp_path: Path) -> None:
    """Nothing in it is touched; what cannot begin leaves no folder."""
    for wrong in ({"weights": "nowhere.pt"}, {"widths": None, "model": {"name": "resnet_20"}}):
        with pytest.raises((GossamerError, FileNotFoundError)):
            begin(tmp_path / "new", recipe(**wrong))
        assert not (tmp_path / "new").exists()
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="choose another one"):
        begin(tmp_path, recipe())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    file = tmp_path / "w.pt"
    torch.save(begin_work(recipe()).model.state_dict(), file)
    begin(tmp_path / "a", recipe(weights=str(file)))
    torch.save({"fc1.weight": torch.ones(1)}, file)
    with pytest.raises(DataError, match="other content"):
        reopen(tmp_path / "a")
    with pytest.raises(ConfigError, match="--resume"):
        begin(tmp_path / "a", recipe())


def test_the_command_runs_and_resumes(tmp_path: Path) -> None:
    """From a file, with JSON; a second run in the same folder only with --resume."""
    file = tmp_path / "small.toml"
    file.write_text(
        'data = "digits"\nwidths = [16]\nthreads = 1\n[[stage]]\nkind = "train"\n'
        '[[stage]]\nkind = "prune"\ndensity = 0.2\n[[stage]]\nkind = "freeze"\n'
    )
    assert len(read_recipe(file).stages()) == 3
    runner, out = CliRunner(), str(tmp_path / "out")
    first = runner.invoke(app(), ["compress", str(file), "--out", out, "--json", "--quiet"])
    assert first.exit_code == 0, first.output
    rows = json.loads(first.stdout)["stages"]
    assert [row["stage"] for row in rows] == ["start", "train", "prune", "freeze"]
    assert runner.invoke(app(), ["compress", str(file), "--out", out]).exit_code == 2
    again = runner.invoke(app(), ["compress", "--resume", out, "--json", "--quiet"])
    assert json.loads(again.stdout)["stages"] == rows
    assert runner.invoke(app(), ["compress"]).exit_code == 2
