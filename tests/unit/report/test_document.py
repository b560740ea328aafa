"""The HTML: complete, self-contained, escaped, and drawn by a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from gossamer.errors import ConfigError
from gossamer.report import write_report

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "<script>alert(1)<,script>&\"'$x_{\\frac"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


class Page(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.address = path.as_uri()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.text = path.read_text("utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                self.addresses.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)


@pytest.fixture(scope="module")
def page(write_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    runs = [
        write_run(folder / "plain"),
        write_run(folder / HOSTILE, layer=HOSTILE),
        write_run(folder / "flat", image=False),
    ]
    write_report(runs, folder / "report.html", title="a <b> & c")
    return Page(folder / "report.html")


def test_no_script_runs_and_nothing_is_fetched(page):
    assert "script" not in page.tags
    assert page.handlers == []
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not re.search(r"url\((?!['\"]?#)", page.text)
    assert "default-src 'none'" in page.text.replace("&#x27;", "'")


def test_names_are_text(page):
    assert "<script>" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text
    assert "a &lt;b&gt; &amp; c" in page.text
    assert "<i>cpu" not in page.text


def test_everything_is_there(page):
    assert page.tags.count("table") >= 5
    assert (
        page.tags.count("svg") == 2 + 3 * 3 + 2
    )  # two for all; three a run; a pixel map where there is an image
    assert page.tags.count("details") == 3
    assert "currentColor" in page.text
    for said in ("90.00 %", "2.00 x", "3.00 x", "rule.every", "Connections gained and lost"):
        assert said in page.text


def test_the_same_runs_give_the_same_bytes(make_run, tmp_path):
    run = make_run()
    for name in ("a", "b"):
        write_report([run], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_unfinished_and_empty_runs(make_run, tmp_path):
    started, empty = make_run("started"), make_run("empty")
    (started / "summary.json").unlink()
    for path in empty.iterdir():
        if path.name != "config.json":
            path.unlink()
    write_report([started, empty], tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text("utf-8").count("not finished") == 2


def test_many_runs(make_run, tmp_path):
    write_report([make_run(f"run{number}") for number in range(9)], tmp_path / "r.html")


def test_a_damaged_run_leaves_the_old_report(make_run, tmp_path):
    run, path = make_run(), tmp_path / "r.html"
    write_report([run], path)
    before = path.read_bytes()
    (run / "summary.json").write_text("{}")
    with pytest.raises(ValueError, match="summary"):
        write_report([run], path)
    assert path.read_bytes() == before


def test_nothing_to_report(tmp_path):
    with pytest.raises(ConfigError):
        write_report([], tmp_path / "r.html")


def chromium(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a headless browser with a profile of its own."""
    assert CHROMIUM is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    command = [CHROMIUM, *flags, "--v=0", f"--user-data-dir={tmp_path / 'profile'}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)


@browser
def test_a_browser_shows_it_without_complaint(page, tmp_path):
    done = chromium(tmp_path, "--dump-dom", page.address)
    assert "CONSOLE" not in done.stderr, done.stderr
    assert done.stdout.count("<table") == page.tags.count("table")
    assert done.stdout.count("<svg") == page.tags.count("svg")


@browser
@pytest.mark.parametrize("flags", [(), ("--force-dark-mode",)], ids=["light", "dark"])
def test_the_picture_is_not_blank(page, tmp_path, flags):
    image = pytest.importorskip("PIL.Image")
    shot = tmp_path / "shot.png"
    chromium(tmp_path, *flags, "--window-size=400,1600", f"--screenshot={shot}", page.address)
    with image.open(shot) as picture:
        colours = picture.convert("RGB").getcolors(maxcolors=1 << 24)
        background = picture.convert("L").getpixel((2, 2))
    assert len(colours) > 50
    assert (background < 100) == bool(flags)


def test_a_run_whose_connections_go_shows_how_many_are_left(write_run, tmp_path):
    """One that keeps its count needs no such figure."""
    kept, shrunk = write_run(tmp_path / "kept"), write_run(tmp_path / "shrunk")
    path = shrunk / "topology.jsonl"
    path.write_text(path.read_text().replace('"grown": 3', '"grown": 0'))
    for run, there in ((kept, False), (shrunk, True)):
        write_report([run], tmp_path / "report.html")
        assert ("Connections that are left" in (tmp_path / "report.html").read_text("utf-8")) == there
