"""Code of others: it registers what it says or is named, and nothing of a failed one stays."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from gossamer import plugins
from gossamer.errors import ConfigError, PluginError, PluginWarning
from gossamer.patterns import parse, patterns
from gossamer.rules import RigL, build, rules
from plugin_files import DATA, PATTERN, RULE, install, plugins_forgotten, write_plugin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with plugins_forgotten():
        yield


def test_a_file_registers_rules_patterns_and_data_sets(tmp_path: Path) -> None:
    """Once, however often and in whatever spelling it is named; it leaves nothing beside itself."""
    from gossamer import data

    mark = tmp_path / "mark"
    parts = (RULE.format(name="wander"), PATTERN.format(name="anywhere"), DATA.format(name="rings"))
    file = write_plugin(tmp_path / "mine.py", *parts, mark=mark)
    plugins.load_file(file)
    plugins.load_file(tmp_path / "." / "mine.py")
    assert mark.read_text() == "mine\n"
    assert build({"name": "wander", "every": 3}).every == 3
    assert str(parse("anywhere")) == "anywhere"
    assert data.load("rings").shape == (4, 4)
    assert plugins.files() == [str(file)]
    assert {path.name for path in tmp_path.iterdir()} == {"mine.py", "mark"}


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("class Odd(Exception): pass\nraise Odd('a\\nb')", "Odd: a b"),
        ("class Odd(BaseException): pass\nraise Odd('c')", "Odd: c"),
        ("def f(:", "SyntaxError"),
        ("\0", "null bytes"),
        (RULE.format(name="rigl"), "register rule: expected a name that is not taken, got 'rigl'"),
    ],
)
def test_of_a_file_that_fails_nothing_stays(tmp_path: Path, last: str, said: str) -> None:
    """It is named with what it raised, what it had registered is gone, and mended it can be loaded."""
    file = write_plugin(
        tmp_path / "mine.py", PATTERN.format(name="anywhere"), RULE.format(name="wander"), last
    )
    before = set(sys.modules), list(rules), list(patterns)
    with pytest.raises(
        PluginError, match=f"plug-in {file}: expected code that can be imported, got"
    ) as caught:
        plugins.load_file(file)
    assert said in str(caught.value)
    assert (set(sys.modules), list(rules), list(patterns)) == before
    assert rules["rigl"] is RigL
    assert plugins.files() == []
    plugins.load_file(write_plugin(file, RULE.format(name="wander")))
    assert "wander" in rules


def test_an_interrupt_is_the_users(tmp_path: Path) -> None:
    """And takes back what was done."""
    file = write_plugin(tmp_path / "mine.py", RULE.format(name="wander"), "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        plugins.load_file(file)
    assert "wander" not in rules


@pytest.mark.parametrize(
    ("name", "said"),
    [("none.py", "does not exist"), ("text.txt", r"ending in \.py"), ("folder.py", "a folder")],
)
def test_what_is_no_python_file_is_refused(tmp_path: Path, name: str, said: str) -> None:
    """Before anything runs."""
    (tmp_path / "text.txt").write_text(RULE.format(name="wander"))
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(ConfigError, match=f"a Python file.*{said}"):
        plugins.load_file(tmp_path / name)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, one of which works; each says when it is imported."""
    folder = tmp_path / "site"
    monkeypatch.syspath_prepend(folder)
    mark = f"with open({str(tmp_path / 'mark')!r}, 'a') as file: file.write(__name__ + '\\n')\n"
    group = "gossamer.rules"
    good = mark + RULE.format(name="wander") + RULE.format(name="stroll")
    install(folder, "toy-good", {group: {"wander": "toy_good"}}, toy_good=good)
    install(folder, "toy-bad", {group: {"limp": "toy_bad"}}, toy_bad=mark + "import no_such_package")
    install(folder, "toy-empty", {group: {"sleep": "toy_empty"}}, toy_empty=mark)
    install(folder, "toy-thief", {group: {"rigl": "toy_thief"}}, toy_thief=mark + RULE.format(name="rigl"))
    plugins._installed.cache_clear()
    for registry in (rules, patterns):
        registry._asked.clear()
    return tmp_path / "mark"


def test_a_package_is_imported_when_its_name_is_asked_for(site: Path) -> None:
    """And no other; a name of ours imports none."""
    assert rules["rigl"] is RigL
    assert not site.exists()
    assert build({"name": "wander"}).name == "wander"
    assert site.read_text() == "toy_good\n"
    with pytest.raises(PluginError, match=r"plug-in 'limp', toy_bad of toy-bad 1\.5: .*'no_such_package'"):
        build({"name": "limp"})
    with pytest.raises(PluginError, match="'sleep': expected a rule of this name"):
        rules["sleep"]


def test_a_list_names_those_that_are_broken_once_and_the_rest_works(site: Path) -> None:
    """Whether all are wanted, or a name that nobody has."""
    with pytest.warns(PluginWarning) as told:
        there = list(rules)
    said = sorted(str(warning.message) for warning in told)
    assert len(said) == 3
    assert "'limp', toy_bad of toy-bad 1.5" in said[0]
    assert "'rigl', toy_thief of toy-thief 1.5" in said[1]
    assert "expected a name that is not taken, got 'rigl'" in said[1]
    assert "'sleep'" in said[2]
    assert {"wander", "stroll", "rigl"} <= set(there)
    assert not {"limp", "sleep"} & set(there)
    assert rules["rigl"] is RigL
    assert list(rules) == there  # without a second warning
    with pytest.raises(ConfigError, match="did you mean 'wander'"):
        rules["wandr"]
    with pytest.raises(PluginError, match="toy-bad"):
        rules["limp"]


def test_a_name_that_a_package_registers_on_the_side_is_found(site: Path) -> None:
    """Its entry points say one of two."""
    with pytest.warns(PluginWarning):
        assert "stroll" in rules


def test_threads_that_ask_at_once_all_get_it(site: Path) -> None:
    """Those that come while it is imported wait."""
    module = site.parent / "site" / "toy_good.py"
    module.write_text("import time; time.sleep(0.2)\n" + module.read_text())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: rules["wander"], range(4)))
    assert len(set(found)) == 1
    assert site.read_text() == "toy_good\n"


def test_two_packages_of_one_name_are_both_named(site: Path) -> None:
    """Chance decides nothing."""
    install(site.parent / "site", "toy-twin", {"gossamer.rules": {"wander": "toy_good"}})
    plugins._installed.cache_clear()
    with pytest.raises(PluginError, match="one package that registers it, got toy-") as caught:
        rules["wander"]
    assert "toy-good 1.5" in str(caught.value)
    assert "toy-twin 1.5" in str(caught.value)
    assert not site.exists()


def test_nothing_is_imported_where_plugins_are_off(site: Path) -> None:
    """Neither by name nor for a list."""
    with plugins.off():
        assert "wander" not in rules
        list(rules)
        with pytest.raises(ConfigError, match="rule by name"):
            rules["limp"]
    assert not site.exists()
    assert "wander" in rules


def test_importing_the_package_imports_no_plugin(site: Path) -> None:
    """Neither ``import gossamer`` nor its rooms."""
    code = "import gossamer, gossamer.rules, gossamer.data, gossamer.patterns; gossamer.rules.rules['set']"
    subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=True, capture_output=True
    )
    assert not site.exists()
