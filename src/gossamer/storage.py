"""Reading and writing safetensors files so that a crash or a hostile file does no harm."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from gossamer.errors import ConfigError, FormatError

if TYPE_CHECKING:
    from torch import Tensor

KEY = "gossamer"  # the metadata entry that holds our JSON
LARGEST_METADATA = 64 << 20
FOREIGN = {
    b"PK\3\4": "torch.save or another ZIP archive",
    b"\x80": "pickle",
    b"\x89HDF": "HDF5",
}  # by first bytes


def target_of(path: str | os.PathLike[str]) -> Path:
    """The file that writing to a path makes or replaces: links are followed, so that a link stays one.

    Args:
        path: str or PathLike.

    Returns:
        Path, absolute.

    Raises:
        ConfigError: no path, a folder, a device or pipe, or below a file. PermissionError: a protected file.

    Example:
        >>> target_of("")
        Traceback (most recent call last):
        ...
        gossamer.errors.ConfigError: write: expected a path of a file, got ''
    """
    target = Path(os.path.realpath(_path(path, "write")))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if target.exists():
        if not target.is_file():
            raise ConfigError(f"write {path}", expected="a path of a file", got=_kind(target))
        if not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    else:
        above = next(folder for folder in target.parents if folder.exists())
        if not above.is_dir():
            raise ConfigError(f"write {path}", expected=f"{above} to be a folder", got=_kind(above))
    return target


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file that takes the place of ``path`` once complete and on disk; on an error ``path`` stays.

    Raises:
        As ``target_of``. OSError: a full disk, no permission; it names ``path``.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with atomic(target) as part: _ = part.write_text("done")
        >>> target.read_text()
        'done'
    """
    target = target_of(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".gossamer-{secrets.token_hex(8)}.part")
    try:
        part.touch(exist_ok=False)
        # Of the file that is there, or what the user's umask gives; a library that writes by renaming may differ.
        mode = stat.S_IMODE((target if target.exists() else part).stat().st_mode)
        yield part
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        part.chmod(mode)
        part.replace(target)
        _settle(target.parent)
    except OSError as error:
        if error.errno is None:
            raise
        # The system knows the temporary file alone.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def _settle(folder: Path) -> None:
    """Put the rename on disk where folders can be opened and synced; it has happened anyway."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write(
    path: str | os.PathLike[str], tensors: dict[str, Any], document: dict[str, Any], room: int = 0
) -> None:
    """Write torch tensors and a JSON document as one safetensors file, atomically.

    Args:
        path: str or PathLike.
        tensors: name -> tensor, any strides, shared memory allowed (each is written whole).
        document: dict - JSON-ready; NaN is refused.
        room: int - characters that the document takes at least, as ``written_length`` counts; it is filled up with
            spaces.
    Raises:
        As ``atomic``.
    Cost: one copy of each tensor.
    """
    from safetensors.torch import save_file

    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = compact(document)
    text += " " * (room - written_length(text))
    with atomic(path) as part:
        try:
            save_file(own, part, metadata={KEY: text})
        except SafetensorError as error:  # which hides the error of the system in its text
            code = re.search(r"os error (\d+)", str(error))
            number = int(code[1]) if code else errno.EIO
            raise OSError(number, os.strerror(number) if code else str(error), str(path)) from error


def compact(document: Any) -> str:
    """A JSON document without spaces; raises ValueError for NaN.

    Args:
        document: what JSON can hold.

    Example:
        >>> compact({"a": [1, 2]})
        '{"a":[1,2]}'
    """
    return json.dumps(document, allow_nan=False, separators=(",", ":"))


def written_length(text: str) -> int:
    """Characters that a document takes in a file, whose header holds it as a string: quotes take two.

    Args:
        text: str - the document.

    Example:
        >>> written_length('{"a":1}')
        9
    """
    return len(json.dumps(text)) - 2


def kind_of(path: Path) -> str | None:
    """What a file written by ``write`` says it is; None for any other file.

    Args:
        path: Path - of any file.
    Cost: O(header).
    """
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(KEY, "")
        document = json.loads(text) if len(text) <= LARGEST_METADATA else None
    except (SafetensorError, ValueError, RecursionError):
        return None
    return str(document["kind"]) if isinstance(document, dict) and "kind" in document else None


def read(
    path: str | os.PathLike[str], kind: str, versions: tuple[int, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and JSON document of a file written by ``write``.

    Args:
        path: str or PathLike.
        kind: str - what the document must say it is, e.g. "checkpoint".
        versions: versions of that kind this code reads.
    Returns:
        (tensors, document). The contents of the document are not checked beyond kind and version.
    Raises:
        FormatError: not a safetensors file, truncated, not ours, or of an unknown version. FileNotFoundError.
    Cost: O(file).
    """
    with opened(path, kind, versions, "pt") as (file, document):
        return {name: _aligned(file.get_tensor(name)) for name in file.keys()}, document  # noqa: SIM118


@contextmanager
def opened(
    path: str | os.PathLike[str], kind: str, versions: tuple[int, ...], framework: str
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A file written by ``write``, for reading tensor by tensor, and its JSON document.

    Args:
        path: str or Path.
        kind: str - what the document must say it is.
        versions: versions of that kind that are read.
        framework: "pt" or "np" - whether the tensors are torch's or NumPy's.
    Raises:
        As ``read``.
    Cost: O(header); a tensor costs when it is read.
    """
    path = _path(path, "read")
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if not path.is_file():
        raise FormatError(f"read {path}", expected=f"a file of a Gossamer {kind}", got=_kind(path))
    try:
        with safe_open(path, framework=framework) as file:
            yield file, _document(path, (file.metadata() or {}).get(KEY), kind, versions)
    except SafetensorError as error:
        raise FormatError(
            f"read {path.name}", expected="a complete safetensors file", got=_found(path, error)
        ) from None


def _path(path: Any, operation: str) -> Path:
    """A path that can name a file; raises ConfigError."""
    if not isinstance(path, (str, os.PathLike)):
        hint = "safetensors needs a file: take a temporary one" if hasattr(path, "write") else ""
        raise ConfigError(operation, expected="a path of a file", got=type(path).__name__, hint=hint)
    if not os.fspath(path) or "\0" in str(path):
        raise ConfigError(operation, expected="a path of a file", got=repr(path))
    return Path(path)


def _kind(path: Path) -> str:
    """What stands at a path."""
    if path.is_dir():
        return "a folder"
    return "a file" if path.is_file() else "a device or a pipe"


def _found(path: Path, error: SafetensorError) -> str:
    """What a file that is no whole safetensors file seems to be."""
    with path.open("rb") as file:
        start = file.read(8)
    for magic, writer in FOREIGN.items():
        if start.startswith(magic) and any(start[4:]):  # or it is the length of a header, whose end is zeros
            return f"a file that looks like one of {writer}"
    return f"a damaged one or a file of another kind ({error})"


def _aligned(tensor: Tensor) -> Tensor:
    """In memory as torch lays it out: in a file tensors start anywhere, and sums of vendor libraries depend on that."""
    return tensor.clone() if tensor.data_ptr() % 64 else tensor


def _document(path: Path, text: str | None, kind: str, versions: tuple[int, ...]) -> dict[str, Any]:
    """Parse the JSON and check what it says it is."""
    if text is None or len(text) > LARGEST_METADATA:
        raise FormatError(
            f"read {path.name}",
            expected=f"a Gossamer {kind}",
            got="a file without (or with oversized) metadata",
        )
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        raise FormatError(f"read {path.name}", expected="JSON metadata", got=str(error)) from None
    if not isinstance(document, dict) or document.get("kind") != kind:
        got = document.get("kind") if isinstance(document, dict) else type(document).__name__
        raise FormatError(f"read {path.name}", expected=f"a Gossamer {kind}", got=repr(got))
    if document.get("version") not in versions:
        raise FormatError(
            f"read {path.name}",
            expected=f"version {' or '.join(map(str, versions))}",
            got=f"version {document.get('version')!r}",
            hint="a newer Gossamer may have written it: upgrade",
        )
    return document
