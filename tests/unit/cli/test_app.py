"""What all commands share."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

import gossamer

COMMANDS = ("bench", "compare", "demo", "freeze", "inspect", "report", "train")


def test_help_names_every_command(call):
    answer = call("--help")
    assert answer.code == 0
    assert all(name in answer.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_common_options(call, name):
    answer = call(name, "--help")
    assert answer.code == 0
    assert all(option in answer.stdout for option in ("--json", "--quiet", "--debug"))


def test_version(call):
    assert call("--version").stdout.strip() == gossamer.__version__


def test_help_imports_no_torch():
    code = (
        "import sys; from gossamer.cli.app import app\n"
        "try: app()(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'matplotlib', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_module_runs_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "gossamer", "--version"], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, gossamer.__version__)


def test_unknown_command_is_a_usage_error(call):
    assert call("paint").code == 2


def test_an_error_is_one_sentence_without_traceback(call, tmp_path):
    answer = call("inspect", tmp_path / "nothing")
    assert answer.code == 2
    assert answer.stderr.startswith("error: inspect: expected")
    assert answer.stderr.count("\n") == 1
    assert "Traceback" not in answer.stderr


def test_json_errors_are_json(call, tmp_path):
    answer = call("inspect", tmp_path / "nothing", "--json")
    assert answer.code == 2
    assert answer.document["kind"] == "ConfigError"
    assert str(tmp_path) in answer.document["error"]


def test_an_error_of_the_system_names_the_file_and_the_reason(call, finished, tmp_path, monkeypatch):
    """As a full disk would."""
    from gossamer import storage

    def full(_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "page.html"))

    monkeypatch.setattr(storage, "_settle", full)
    answer = call("report", finished, "--out", tmp_path / "page.html")
    assert answer.code == 1
    assert answer.stderr == f"error: {tmp_path / 'page.html'}: No space left on device\n"


@pytest.mark.parametrize("package", ["torch", "pydantic"])
def test_a_missing_package_is_a_sentence_that_says_what_to_install(package):
    """For a name of the package and for a command; pickling what is raised works as for any error of ours."""
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "import pickle, gossamer\n"
        "try: gossamer.freeze\n"
        "except gossamer.GossamerError as error:\n"
        "    assert isinstance(pickle.loads(pickle.dumps(error)), ModuleNotFoundError)\n"
        "    print(error, file=sys.stderr)\n"
        "sys.argv = ['gossamer', 'train', '--data', 'digits']\n"
        "gossamer.cli.main() if hasattr(gossamer, 'cli') else __import__('gossamer.cli').cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    said = f"import: expected the package {package}, got none; pip install 'gossamer[train]'"
    assert (done.returncode, done.stderr) == (1, f"{said}\nerror: {said}\n")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--data", "mnits"], "did you mean 'mnist'?"),
        (["--rule", "rigel"], "did you mean 'rigl'?"),
        (["--pattern", "fnin"], "did you mean 'fanin'?"),
        (["--optimizer", "sdg"], "did you mean 'sgd'?"),
        (["--set", "rule.evry=3"], "the rule, which is srigl where none is named: settings of srigl"),
        (["--set", "rule.evry=3"], "did you mean 'every'?"),
        (["--set", "optimizer.lr=1e308"], "at most 1e+30"),
        (["--set", "all_relu=1e308"], "at most 1e+30"),
    ],
)
def test_what_was_probably_meant_is_said(call, tmp_path, flags, said):
    answer = call("train", "--data", "digits", *flags, "--out", tmp_path / "run")
    assert answer.code == 2
    assert said in answer.stderr


def test_debug_lets_the_error_through(call, tmp_path):
    with pytest.raises(gossamer.GossamerError):
        call("inspect", tmp_path / "nothing", "--debug")


def test_quiet_says_nothing_on_stderr(call, finished, tmp_path):
    answer = call("report", finished, "-o", tmp_path / "r.html", "--quiet", "--json")
    assert (answer.code, answer.stderr) == (0, "")


def test_markup_in_names_is_shown_not_obeyed(call, tmp_path):
    answer = call("inspect", tmp_path / "[bold]x[/bold]")
    assert "[bold]x[/bold]" in answer.stderr


@pytest.mark.parametrize("words", [("train",), ("bench", "layer")])
def test_an_option_that_counts_zeros_is_answered_with_the_density(call, words):
    """It is no option: the help does not show it, and nothing runs."""
    for option in ("--sparsity", "--pruning-ratio"):
        answer = call(*words, option, "0.9")
        assert answer.code == 2
        assert "1 - sparsity: pass density=0.1" in answer.stderr
        assert option not in call(words[0], "--help").stdout
    assert call("inspect", "--sparsity", "0.9").code == 2
