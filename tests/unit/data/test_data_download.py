"""Downloads against a server on this machine: verified, bounded, whole or not at all."""

from __future__ import annotations

import hashlib
import http.server
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from gossamer import data
from gossamer.data.download import cache_folder, fetch
from gossamer.errors import DataError

BODY = bytes(range(256)) * 1000
Server = Callable[[str], str]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path: whole, cut off, too long, altered, slow, or not found."""

    bodies: ClassVar[dict[str, bytes]] = {}
    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.requests.append(self.path)
        body = self.bodies.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        pieces = [body] if self.path != "/slow" else [body[at : at + 1] for at in range(40)]
        try:
            for piece in pieces:
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(0.02 if self.path == "/slow" else 0)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    Handler.bodies = {
        "/whole": BODY,
        "/cut": BODY[:-1],
        "/long": BODY * 50,
        "/altered": b"x" + BODY[1:],
        "/slow": BODY,
    }
    Handler.requests = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield lambda path: f"http://127.0.0.1:{running.server_port}{path}"
        running.shutdown()
        thread.join()


def remote(*urls: str, body: bytes = BODY) -> data.Remote:
    return data.Remote("file.bin", urls, sha256=hashlib.sha256(body).hexdigest(), size=len(body))


def test_a_download_is_kept_and_not_repeated(server: Server, tmp_path: Path) -> None:
    path = fetch(remote(server("/whole")), tmp_path / "new")
    assert path.read_bytes() == BODY
    assert fetch(remote(server("/whole")), tmp_path / "new") == path
    assert Handler.requests == ["/whole"]
    assert [file.name for file in path.parent.iterdir()] == ["file.bin"]


def test_a_spoilt_copy_is_fetched_again_and_kept_aside(server: Server, tmp_path: Path) -> None:
    for spoilt in (b"x" + BODY[1:], b"mine"):
        (tmp_path / "file.bin").write_bytes(spoilt)
        assert fetch(remote(server("/whole")), tmp_path).read_bytes() == BODY
    assert (tmp_path / "file.bin.other-1").read_bytes() == b"x" + BODY[1:]
    assert (tmp_path / "file.bin.other-2").read_bytes() == b"mine"


def test_the_next_address_is_tried(server: Server, tmp_path: Path) -> None:
    urls = [server(path) for path in ("/missing", "/altered", "/whole")]
    assert fetch(remote(*urls), tmp_path).read_bytes() == BODY


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing", "404"),
        ("/cut", "ended after 255999 bytes"),
        ("/long", "more than 256000 bytes"),
        ("/altered", "its sha256 is"),
        ("/slow", "too slow"),
    ],
)
def test_a_failure_says_why_and_leaves_nothing(
    server: Server, tmp_path: Path, path: str, reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        fetch(remote(server(path)), tmp_path, deadline_s=0.2)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_data_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"Not a directory|exists"):
        fetch(remote(server("/whole")), tmp_path / "file" / "sub")


def test_without_rich_there_is_no_progress_bar_but_a_file(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert fetch(remote(server("/whole")), tmp_path).read_bytes() == BODY


def test_load_downloads_last_and_then_finds_its_cache(
    server: Server, alone: None, arrays: data.Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.BytesIO()
    np.savez(stream, **arrays._asdict())
    raw = stream.getvalue()
    Handler.bodies["/toy"] = raw
    spec = data.Spec(n_train=6, n_test=3, shape=(4, 5), n_classes=3)
    file = data.Remote(
        "far-set.npz", (server("/toy"),), sha256=hashlib.sha256(raw).hexdigest(), size=len(raw)
    )
    data.register(
        lambda: data.Recipe(name="far-set", spec=spec, classes=tuple("abc"), licence="", remotes=(file,))
    )
    try:
        with pytest.raises(DataError, match="turned off"):
            data.load("far-set", download=False)
        assert data.load("far-set").provenance.kind == "download"
        assert data.load("far-set", download=False).provenance.kind == "cache"
        Handler.bodies.clear()
        (cache_folder() / "far-set" / "far-set.npz").write_bytes(b"spoilt")
        with pytest.raises(DataError, match=r"no intact copy.*404"):
            data.load("far-set")
    finally:
        data.unregister("far-set")
    assert Handler.requests == ["/toy", "/toy"]
