"""Reading and writing safetensors files so that a crash or a hostile file does no harm."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from gossamer.errors import FormatError

KEY = "gossamer"  # the metadata entry that holds our JSON
LARGEST_METADATA = 64 << 20


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary file that takes the place of ``path`` once complete and on disk; on an error ``path`` stays.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with atomic(target) as part: _ = part.write_text("done")
        >>> target.read_text()
        'done'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.touch()
        mode = (
            part.stat().st_mode
        )  # what the user's umask gives; a library that writes by renaming may differ
        yield part
        part.chmod(mode)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        part.unlink(missing_ok=True)


def write(path: str | Path, tensors: dict[str, Any], document: dict[str, Any]) -> None:
    """Write torch tensors and a JSON document as one safetensors file, atomically.

    Args:
        path: str or Path.
        tensors: name -> tensor, any strides, shared memory allowed (each is written whole).
        document: dict - JSON-ready; NaN is refused.
    Cost: one copy of each tensor.
    """
    from safetensors.torch import save_file

    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic(path) as part:
        save_file(own, part, metadata={KEY: json.dumps(document, allow_nan=False)})


def read(path: str | Path, kind: str, versions: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and JSON document of a file written by ``write``.

    Args:
        path: str or Path.
        kind: str - what the document must say it is, e.g. "checkpoint".
        versions: versions of that kind this code reads.
    Returns:
        (tensors, document). The contents of the document are not checked beyond kind and version.
    Raises:
        FormatError: not a safetensors file, truncated, not ours, or of an unknown version. FileNotFoundError.
    Cost: O(file).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with safe_open(path, framework="pt") as file:
            document = _document(path, (file.metadata() or {}).get(KEY), kind, versions)
            # Copies in memory of torch's own alignment: in the file it depends on the length of the document, and dense
            # products of other libraries may give other bits for another alignment.
            return {name: file.get_tensor(name).clone() for name in file.keys()}, document  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise FormatError(
            f"read {path.name}", expected="a complete safetensors file", got=str(error)
        ) from None


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
