"""Every command shown in the how-to pages runs, in the order of its page."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

HOWTO = Path(__file__).parents[3] / "docs" / "howto"


@pytest.mark.slow
@pytest.mark.parametrize("page", ["command-line.md", "train.md", "train-cnn.md", "compare-topologies.md"])
def test_commands_of_a_page(call, page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```bash\n(.*?)```", (HOWTO / page).read_text("utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert lines
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "gossamer"
        answer = call(*arguments)
        assert answer.code == 0, f"{line}: {answer.stderr}"


def test_the_configurations_shown_are_complete():
    """One for perceptrons, one for networks of images; epsilon excludes density."""
    from gossamer.runs.config import RunConfig, checked_config

    shown = set()
    for page in ("train.md", "train-cnn.md"):
        (text,) = re.findall(r"```toml\n(.*?)```", (HOWTO / page).read_text("utf-8"), re.DOTALL)
        document = tomllib.loads(text)
        checked_config(document, page)
        shown |= set(document)
    assert set(RunConfig.model_fields) - shown == {"epsilon"}
