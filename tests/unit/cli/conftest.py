"""What the tests of the command line share: an invoker, and one small finished run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("typer")
pytest.importorskip("tensorboard")

SMALL = [
    "--data",
    "digits",
    "--widths",
    "32,16",
    "--density",
    "0.25",
    "--every",
    "10",
    "--epochs",
    "3",
    "--threads",
    "1",
]


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """Its stdout as JSON."""
        return json.loads(self.stdout)


@pytest.fixture(scope="session")
def call() -> Callable[..., Answer]:
    """Run the command line in this process."""
    from typer.testing import CliRunner

    from gossamer.cli.app import app

    runner, whole = CliRunner(env={"TERM": "dumb"}), app()

    def run(*arguments: object) -> Answer:
        result = runner.invoke(whole, [str(argument) for argument in arguments], catch_exceptions=False)
        return Answer(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def finished(call: Callable[..., Answer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests may add files, not change it."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    answer = call("train", *SMALL, "--rule", "srigl", "--out", folder, "--json")
    assert answer.code == 0, answer.stderr
    return folder


@pytest.fixture(scope="session")
def frozen(call: Callable[..., Answer], finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frozen file."""
    path = tmp_path_factory.mktemp("frozen") / "net.safetensors"
    assert call("freeze", finished, "--out", path, "--keep", "fanin").code == 0
    return path
