"""Plug-ins on the command line: what the user typed runs, and nothing that a file names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gossamer import plugins
from gossamer.errors import FormatError
from gossamer.rules import rules
from gossamer.storage import write
from plugin_files import DATA, PATTERN, RULE, install, plugins_forgotten, write_plugin

if TYPE_CHECKING:
    from pathlib import Path

TAKE = ("bench", "demo", "freeze", "train")
PARTS = (RULE.format(name="wander"), PATTERN.format(name="anywhere"), DATA.format(name="rings"))
OWN = ["--data", "rings", "--pattern", "anywhere", "--rule", "wander", "--widths", "8", "--density", "0.5"]
OWN += ["--allocation", "uniform", "--every", "2", "--epochs", "2", "--batch", "16", "--threads", "1"]


@pytest.fixture
def command(call):
    """A call as a process of its own would make it: with no plug-in of an earlier one."""

    def run(*arguments):
        with plugins_forgotten():
            return call(*arguments)

    return run


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A plug-in, and a run that used it."""
    return write_plugin(tmp_path_factory.mktemp("plugin") / "mine.py", *PARTS)


@pytest.fixture(scope="module")
def run(call, mine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mine"
    with plugins_forgotten():
        answer = call("train", "--plugin", mine, *OWN, "--out", folder, "--json")
    assert answer.code == 0, answer.stderr
    return folder


@pytest.mark.parametrize("name", ["bench", "demo", "freeze", "inspect", "report", "train"])
def test_who_takes_a_plugin(call, name):
    """Those that train or build; the others would run code to look at a file."""
    assert ("--plugin" in call(name, "--help").stdout) == (name in TAKE)


def test_a_run_folder_names_no_file_and_is_resumed_with_it(command, mine, run, tmp_path):
    """Without it the sentence says what to pass; with it, cut back to its start, the same bits come out."""
    config = json.loads((run / "config.json").read_text())["config"]
    assert (config["data"], config["pattern"], config["rule"]["name"]) == ("rings", "anywhere", "wander")
    for file in run.iterdir():
        assert file.is_dir() or str(mine.parent).encode() not in file.read_bytes()
    answer = command("train", "--resume", run)
    assert answer.code == 2
    assert "expected a data set that is known here, got 'rings'; if a plug-in defined it" in answer.stderr
    assert "pass --plugin FILE again" in answer.stderr

    again = tmp_path / "again"
    again.mkdir()
    (again / "config.json").write_bytes((run / "config.json").read_bytes())
    assert command("train", "--resume", again, "--plugin", mine).code == 0
    assert (again / "topology.jsonl").read_bytes() == (run / "topology.jsonl").read_bytes()
    assert (again / "topology.jsonl").read_text().count("\n") >= 4


def test_freezing_and_measuring_take_it_and_looking_does_not(command, mine, run, tmp_path):
    """inspect cannot build a pattern that it does not know, and says so; report needs none."""
    target = tmp_path / "net.safetensors"
    missing = command("freeze", run, "--out", target)
    assert missing.code == 2
    assert "expected a pattern that is known here, got 'anywhere'" in missing.stderr
    answer = command("freeze", run, "--out", target, "--plugin", mine, "--keep", "csr")
    assert answer.code == 0, answer.stderr
    assert command("inspect", target).code == 0
    looked = command("inspect", run)
    assert looked.code == 2
    assert "got 'anywhere'; if a plug-in defined it: this command loads none" in looked.stderr
    assert command("report", run, "--out", tmp_path / "page.html").code == 0
    layer = ["bench", "layer", "--in", 32, "--out", 16, "--pattern", "anywhere", "--density", 0.5]
    assert command(*layer, "--seconds", 0.05).code == 2
    assert command(*layer, "--seconds", 0.05, "--plugin", mine).code == 0


def test_a_broken_plugin_is_a_sentence(command, tmp_path):
    """It names the file and the reason, and no run begins."""
    broken = write_plugin(tmp_path / "broken.py", PARTS[0], "import no_such_package")
    answer = command("train", "--plugin", broken, *OWN, "--out", tmp_path / "run", "--json")
    assert answer.code == 1
    assert answer.document["kind"] == "PluginError"
    assert f"plug-in {broken}: expected code that can be imported" in answer.stderr
    assert "No module named 'no_such_package'" in answer.stderr
    assert not (tmp_path / "run").exists()
    assert command("demo", "--plugin", tmp_path / "none.py").code == 2


def hostile(folder: Path, run: Path, evil: Path) -> list[list[object]]:
    """Calls on a run folder, a configuration and an artifact that name a file wherever a name may stand."""
    document = json.loads((run / "config.json").read_text())
    calls = []
    places = {"plugin": str(evil), "plugins": [str(evil)], "data": str(evil), "pattern": str(evil)}
    for number, (place, value) in enumerate([*places.items(), ("rule", {"name": str(evil)})]):
        copy = folder / f"run{number}"
        copy.mkdir()
        for name in ("last.safetensors", "metrics.jsonl"):
            (copy / name).write_bytes((run / name).read_bytes())
        changed = {**document, "config": {**document["config"], place: value}, "plugin": str(evil)}
        (copy / "config.json").write_text(json.dumps(changed))
        calls += [["train", "--resume", copy], ["inspect", copy], ["freeze", copy, "--keep", "csr"]]
        toml = folder / f"config{number}.toml"
        rule = '[rule]\nname = "{value}"\n'.replace("{value}", str(evil))
        toml.write_text(rule if place == "rule" else f"{place} = {json.dumps(value)}\n")
        calls.append(["train", toml, "--out", folder / f"new{number}"])
    return calls


def test_nothing_runs_because_a_file_names_it(command, finished, tmp_path):
    """Neither a run folder nor a configuration nor an artifact."""
    import torch

    import gossamer as gs

    mark = tmp_path / "mark"
    evil = write_plugin(tmp_path / "evil.py", mark=mark)
    for arguments in hostile(tmp_path, finished, evil):
        command(*arguments)
    report = command("report", tmp_path / "run0", "--out", tmp_path / "page.html")
    assert report.code == 0, report.stderr
    artifact = tmp_path / "net.safetensors"
    for document in ({"kind": "frozen network", "version": 1, "plugin": str(evil)}, {"plugins": [str(evil)]}):
        write(artifact, {"a": torch.zeros(1)}, document)
        with pytest.raises(FormatError):
            gs.load(artifact)
        assert command("inspect", artifact).code == 1
    assert not mark.exists()
    plugins_of_ours = command("train", "--plugin", evil, "--data", "none")  # typed, it does run
    assert plugins_of_ours.code == 2
    assert mark.read_text() == "evil\n"


def test_inspect_and_report_import_no_installed_plugin(command, run, tmp_path, monkeypatch):
    """Though the run names one; freeze, which builds the network, does."""
    mark = tmp_path / "mark"
    text = write_plugin(tmp_path / "text", PARTS[1], mark=mark).read_text()
    install(
        tmp_path / "site", "toy-pattern", {"gossamer.patterns": {"anywhere": "toy_pattern"}}, toy_pattern=text
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert command("inspect", run).code == 2
    assert command("report", run, "--out", tmp_path / "page.html").code == 0
    assert not mark.exists()
    assert command("freeze", run, "--out", tmp_path / "net.safetensors", "--keep", "csr").code == 0
    assert mark.exists()


def test_a_broken_installed_plugin_is_a_warning_and_the_rest_works(tmp_path):
    """In a process of its own: a sentence on stderr, also where remarks are off."""
    site = tmp_path / "site"
    install(site, "toy-bad", {"gossamer.rules": {"limp": "toy_bad"}}, toy_bad="import no_such_package\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *sys.path]), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-m", "gossamer", "train", "--data", "digits", "--quiet", "--rule", "rigel"]
    done = subprocess.run(call, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    said = done.stderr.splitlines()
    assert (done.returncode, len(said)) == (2, 2)
    assert said[0].startswith(
        "warning: plug-in 'limp', toy_bad of toy-bad 1.5: expected code that can be imported"
    )
    assert said[0].endswith("the others work")
    assert "did you mean 'rigl'" in said[1]


def test_workers_load_what_their_launcher_did(tmp_path, mine):
    """A process that starts afresh knows the rule, the pattern and the data set."""
    call = [sys.executable, "-m", "gossamer", "train", "--quiet", "--plugin", str(mine), *OWN]
    done = subprocess.run(
        [*call, "--workers", "1", "--out", str(tmp_path / "run")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]


def test_the_calls_above_are_apart(command, mine):
    """The fixture forgets: one call's plug-in is not another's."""
    command("bench", "layer", "--plugin", mine, "--pattern", "none")
    assert "wander" not in rules
    assert plugins.files() == []
