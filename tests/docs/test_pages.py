"""Pages agree with the code, the result files and each other."""

from __future__ import annotations

import ast
import html
import itertools
import re
import shlex
from typing import TYPE_CHECKING

import pytest
from doc_pages import PAGES, ROOT, name_of, script

if TYPE_CHECKING:
    from pathlib import Path

    import click

FENCE = re.compile(r"^```(?:sh|bash|shell|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
SOURCE = ROOT / "src" / "gossamer"
ROOMS = sorted(p.name for p in SOURCE.iterdir() if (p / "__init__.py").is_file() and p.name != "cli")


def shell_lines(page: Path) -> list[str]:
    """Commands of all shell blocks, continued lines joined, comments and prompts removed."""
    blocks = "\n".join(FENCE.findall(page.read_text(encoding="utf-8"))).replace("\\\n", " ")
    lines = (line.strip().removeprefix("$ ") for line in blocks.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def ours(page: Path) -> list[list[str]]:
    """Calls of the command line: ``gossamer ...``, ``./run ...`` and ``python -m gossamer ...``."""
    found = []
    for line in shell_lines(page):
        for part in re.split(r"&&|\|\||\||;", line):
            words = shlex.split(part, comments=True)
            if words[:3] == ["python", "-m", "gossamer"]:
                words = words[2:]
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words and words[0] in {"gossamer", "./run"}:
                found.append(words)
    return found


def command_line() -> click.Group:
    from typer.main import get_command

    from gossamer.cli.app import app

    group = get_command(app())
    assert hasattr(group, "commands")
    return group


def parameters(command: click.Command) -> list[click.Parameter]:
    """What a command takes once it is called."""
    assert command.name is not None
    return command.make_context(command.name, [], resilient_parsing=True).command.params


@pytest.mark.parametrize("page", [page for page in PAGES if ours(page)], ids=name_of)
def test_commands_and_options_exist(page: Path) -> None:
    commands = command_line().commands
    for program, *words in ours(page):
        if not words or words[0].startswith("-"):
            assert set(words) <= {"--help", "--version"}, words
            continue
        name, *rest = words
        if program == "./run" and name == "test":
            continue
        assert name in commands, f"{name_of(page)}: gossamer {name}"
        known = {
            option
            for parameter in parameters(commands[name])
            for option in parameter.opts + parameter.secondary_opts
        }
        used = {word.split("=")[0] for word in rest if re.match(r"-{1,2}[a-zA-Z]", word)}
        assert used <= known | {"--help"}, f"{name_of(page)}: gossamer {name} {sorted(used - known)}"


def test_the_help_of_every_command_shows_calls_that_exist() -> None:
    for name, command in command_line().commands.items():
        help_ = (command.help or "").partition("Examples:\n")[2]
        calls = [shlex.split(line) for line in help_.splitlines() if line.strip()]
        known = {option for parameter in parameters(command) for option in parameter.opts}
        assert calls, name
        for program, called, *words in calls:
            assert (program, called) == ("gossamer", name)
            assert {word for word in words if word.startswith("-")} <= known, words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in LINK.findall(prose):
        path = target.split("#")[0]
        if path and not re.match(r"[a-z]+:", path):
            assert (page.parent / path).exists(), target


def test_tables_show_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendered blocks and result files agree; run ``python docs/render_results.py`` where they do not."""
    monkeypatch.setattr("sys.argv", ["render_results.py", "--check"])
    assert script("render_results").main() == 0


def test_rendering_leaves_the_rest_of_a_page_alone() -> None:
    rendering = script("render_results")
    text = "before\n<!-- results:parity -->\nold\n<!-- /results -->\nafter\n"
    new = rendering.render(text)
    assert new.startswith("before\n<!-- results:parity -->\n")
    assert new.endswith("<!-- /results -->\nafter\n")
    assert "old" not in new
    assert rendering.render(new) == new


def test_pictures_are_what_the_library_computes() -> None:
    """Run ``python docs/figures.py`` where they are not."""
    figures = script("figures")
    for draw in (figures.storage, figures.patterns, figures.update, figures.modules):
        assert (ROOT / "docs" / "assets" / f"{draw.__name__}.svg").read_text(encoding="utf-8") == str(draw())


PICTURES = sorted((ROOT / "docs" / "assets").glob("*.svg"))
TEXT = re.compile(
    r'<text x="(?P<x>[\d.]+)" y="(?P<y>[\d.]+)"(?: text-anchor="(?P<anchor>\w+)")? fill="[^"]*" '
    r'font-size="(?P<size>\d+)"(?P<bold> font-weight="600")?>(?P<text>[^<]*)<'
)


def spans(picture: str) -> list[tuple[float, float, float, float, str]]:
    """(left, right, top, bottom, text) of every line of text; a character is six tenths of its size wide."""
    found = []
    for match in TEXT.finditer(picture):
        x, y, size = float(match["x"]), float(match["y"]), int(match["size"])
        wide = len(html.unescape(match["text"])) * size * (0.62 if match["bold"] else 0.56)
        left = x - wide * {"end": 1.0, "middle": 0.5}.get(match["anchor"] or "start", 0.0)
        found.append((left, left + wide, y - 0.7 * size, y, match["text"]))
    return found


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_text_of_pictures_stays_inside_and_does_not_overlap(path: Path) -> None:
    picture = path.read_text(encoding="utf-8")
    texts = spans(picture)
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', picture)[1])  # type: ignore[index]
    assert [text for left, right, _, _, text in texts if left < 0 or right > width] == []
    over = [
        (a[4], b[4])
        for a, b in itertools.combinations(texts, 2)
        if min(a[1], b[1]) - max(a[0], b[0]) > 2 and min(a[3], b[3]) - max(a[2], b[2]) > 1
    ]
    assert over == []


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_a_reference_page(room: str) -> None:
    page = ROOT / "docs" / "reference" / f"{room}.md"
    assert f"::: gossamer.{room}\n" in page.read_text(encoding="utf-8")


def defines(module: Path, name: str) -> bool:
    """Whether a module exists and has a function or class of this name."""
    if not module.is_file():
        return False
    body = ast.parse(module.read_text(encoding="utf-8")).body
    return any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name for node in body)


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_in_the_reference(room: str) -> None:
    """A function named like its module is hidden by the module: it needs a directive of its own."""
    tree = ast.parse((SOURCE / room / "__init__.py").read_text(encoding="utf-8"))
    lists = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    )
    public = next(lists, [])
    page = (ROOT / "docs" / "reference" / f"{room}.md").read_text(encoding="utf-8")
    hidden = [name for name in public if defines(SOURCE / room / f"{name}.py", name)]
    for name in hidden:
        assert f"::: gossamer.{room}.{name}\n" in page, name


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    named = set(re.findall(r"[\w/.-]+\.md", nav))
    there = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert named == there


def test_every_decision_is_a_page_of_three_parts() -> None:
    for page in (ROOT / "docs" / "decisions").glob("0*.md"):
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(page.name[:4])}. "), page
        for part in ("**Context.**", "**Choice.**", "**Consequences.**"):
            assert part in text, f"{page.name}: {part}"


def test_changelog_fragments_are_named_for_their_kind() -> None:
    kinds = set(
        re.findall(
            r'^directory = "(\w+)"', (ROOT / "towncrier.toml").read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    for fragment in (ROOT / "changelog.d").iterdir():
        if fragment.name != "README.md":
            assert fragment.name.split(".")[1:] in [[kind, "md"] for kind in kinds], fragment.name
