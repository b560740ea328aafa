"""Checked downloads: bounded, verified, and moved into place in one step."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from gossamer.data.formats.base import sha256_of_file
from gossamer.data.recipe import Remote
from gossamer.errors import DataError

TIMEOUT_S = 10.0
DEADLINE_S = 900.0
_CHUNK = 1 << 16


def cache_folder() -> Path:
    """Return the folder that keeps downloads: ``GOSSAMER_CACHE``, or ``~/.cache/gossamer``.

    Returns:
        Path - it need not exist yet.

    Example:
        >>> cache_folder().is_absolute()
        True
    """
    return Path(os.environ.get("GOSSAMER_CACHE") or "~/.cache/gossamer").expanduser().absolute()


def is_intact(remote: Remote, folder: Path) -> bool:
    """Say whether a file is in the cache with the right size and checksum.

    Args:
        remote: Remote - the file.
        folder: Path - where it would be.

    Returns:
        bool.

    Cost: O(size) time if the size is right, nothing otherwise.

    Example:
        >>> is_intact(Remote("a", ("https://example.org/a",), sha256="0" * 64, size=1), Path("/nonexistent"))
        False
    """
    path = folder / remote.filename
    return path.is_file() and path.stat().st_size == remote.size and sha256_of_file(path) == remote.sha256


def fetch(
    remote: Remote, folder: Path, *, timeout_s: float = TIMEOUT_S, deadline_s: float = DEADLINE_S
) -> Path:
    """Download one file into a folder, unless it is there and intact.

    The bytes go to a temporary file beside their destination and are renamed over it only when size and checksum are
    right; whatever fails, no partial file stays behind. Another file of that name is set aside under a new one.

    Args:
        remote: Remote - what to fetch.
        folder: Path - where to; made if missing.
        timeout_s: float, seconds - for connecting and for each wait on the network.
        deadline_s: float, seconds - for one address from start to end.

    Returns:
        Path of the verified file.

    Raises:
        DataError: no address delivered it, or the folder cannot be written; the message has every reason.

    Cost: O(size) time, constant memory; at most ``remote.size`` bytes reach the disk.

    Example:
        >>> unreachable = Remote("a", ("http://127.0.0.1:9/a",), sha256="0" * 64, size=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fetch(unreachable, Path(folder))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        gossamer.errors.DataError: downloading a: expected ...
    """
    if is_intact(remote, folder):
        return folder / remote.filename
    reasons = []
    for url in remote.urls:
        try:
            return _fetch_from(url, remote, folder, timeout_s, time.monotonic() + deadline_s)
        except (OSError, http.client.HTTPException) as error:
            reasons.append(f"{url}: {error}")
    raise DataError(
        f"downloading {remote.filename}",
        expected=f"{remote.size} bytes with sha256 {remote.sha256}",
        got="; ".join(reasons),
        hint=f"check the network, or put the file into {folder} yourself",
    )


def _fetch_from(url: str, remote: Remote, folder: Path, timeout_s: float, deadline: float) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{remote.filename}.", dir=folder)
    temporary = Path(name)
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "gossamer"})  # noqa: S310 (addresses are ours)
        with (
            os.fdopen(handle, "wb") as target,
            urllib.request.urlopen(request, timeout=timeout_s) as response,  # noqa: S310 (same)
            _progress(remote) as advance,
        ):
            found = _copy(response, target, remote, deadline, advance)
        if found != remote.sha256:
            raise OSError(f"its sha256 is {found}")
        temporary.chmod(0o644)
        if not is_intact(remote, folder):  # another process may have been faster
            _set_aside(folder / remote.filename)
        return temporary.replace(folder / remote.filename)
    finally:
        temporary.unlink(missing_ok=True)


def _set_aside(path: Path) -> None:
    """Rename a file that is in the way: it may be someone's own."""
    if path.is_file():
        names = (path.with_name(f"{path.name}.other-{number}") for number in itertools.count(1))
        path.rename(next(name for name in names if not name.exists()))


def _copy(
    source: http.client.HTTPResponse,
    target: BinaryIO,
    remote: Remote,
    deadline: float,
    advance: Callable[[int], None],
) -> str:
    digest, size = hashlib.sha256(), 0
    while piece := source.read1(_CHUNK):
        size += len(piece)
        if size > remote.size:
            raise OSError(f"it sends more than {remote.size} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError(f"too slow, {size} bytes so far")
        digest.update(piece)
        target.write(piece)
        advance(len(piece))
    if size < remote.size:
        raise OSError(f"it ended after {size} bytes")
    return digest.hexdigest()


@contextlib.contextmanager
def _progress(remote: Remote) -> Iterator[Callable[[int], None]]:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    except ModuleNotFoundError:
        yield lambda _: None
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(remote.filename, total=remote.size)
        yield lambda n_bytes: bar.advance(task, n_bytes)
