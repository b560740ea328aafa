"""What a teacher puts out, kept on disk: for these weights, data and augmentation, and no others."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gossamer import storage
from gossamer.distillation.identity import DIGEST, fingerprint_of, keys_of, tensors_in, writes_to
from gossamer.errors import ConfigError, FormatError, StateError

KIND, VERSION = "teacher outputs", 1
KEYS = "keys"
NEAR = 1e-3  # of the largest output: what processors may differ by
LARGEST_PENDING = 64 << 20  # bytes; then a file is written
PREFIX = "of/"  # in front of a layer's name in a file
Made = dict[str, Tensor]


class TeacherCache:
    """Outputs of a teacher, one a sample, in a folder that any number of processes may use at once.

    A sample is known by its own content, so order and batches may change; files are of one teacher, data set and
    augmentation, and are checked when they are read. They are safetensors, written aside and renamed. Outputs stay in
    memory too. The first batch with samples from a file runs through the teacher again, which has to agree.

    Args:
        folder: path - files of other teachers may lie beside.
        data: str - which data: its check sum, or name and version.
        augmentation: str or None - ``"none"``: every epoch has the same inputs; or what makes random ones come again,
            such as ``"crop and flip, seed 3"``. None, for inputs that never come again, is refused.
        most: int - bytes of outputs that are kept.
    Raises:
        ConfigError: no data, or augmentation that cannot be told again.
    Cost: a check sum of every sample; the memory of the outputs.
    Example:
        >>> import tempfile
        >>> cache = TeacherCache(tempfile.mkdtemp(), data="digits 1.0", augmentation="none")
        >>> cache.hits, cache.misses
        (0, 0)
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, data: str, augmentation: str | None, most: int = 4 << 30
    ) -> None:
        if not isinstance(augmentation, str) or not augmentation.strip():
            raise ConfigError(
                "TeacherCache",
                expected='augmentation="none", or a text that names the draws, e.g. "crop and flip, seed 3"',
                got=repr(augmentation),
                hint="inputs that are augmented at random and never come again cannot be cached",
            )
        if not isinstance(data, str) or not data.strip():
            raise ConfigError("TeacherCache", expected="data, a check sum or a name", got=repr(data))
        self.root, self.data, self.augmentation, self.most = Path(folder), data, augmentation, most
        self.hits = self.misses = self.bytes = 0
        self.identity: dict[str, Any] = {}
        self._rows: dict[bytes, tuple[Made, int]] = {}
        self._pending: list[tuple[bytes, Made, int]] = []
        self._waiting = 0  # bytes
        self._verified = True  # nothing was read
        self._teacher: tuple[nn.Module, ...] = ()
        self._writes: list[int] = []

    @property
    def folder(self) -> Path:
        """Where the files of this teacher are; known once the cache is open."""
        return self.root / sha256(storage.compact(self.identity).encode()).hexdigest()[:16]

    def open(self, teacher: nn.Module, names: tuple[str, ...]) -> None:
        """Take up what is there for a teacher.

        Args:
            teacher: nn.Module.
            names: of its layers whose outputs are kept.
        Raises:
            StateError: it is open already. FormatError: a damaged or foreign file, or more than ``most`` bytes.
        Cost: one pass over the weights, and over the files.
        """
        if self._teacher:
            raise StateError("TeacherCache", expected="a cache of its own for each loss", got="one in use")
        self.identity = {
            "teacher": fingerprint_of(teacher),
            "data": self.data,
            "augmentation": self.augmentation,
            "layers": list(names),
        }
        paths = sorted(self.folder.glob("*.safetensors"))
        if (size := sum(path.stat().st_size for path in paths)) > self.most:
            raise FormatError(
                f"read {self.folder}",
                expected=f"at most {self.most} bytes",
                got=str(size),
                hint="raise most=",
            )
        for path in paths:
            self._read(path)
        self._verified = not self._rows
        self._teacher, self._writes = (teacher,), writes_to(teacher)

    def outputs(self, inputs: Any, run: Callable[[Any], Made]) -> Made:
        """The outputs for a batch; where one sample is unknown the teacher runs on all of it.

        What is given is always what is kept, so that a run with a full cache has the bits of one with an empty one.

        Args:
            inputs: a tensor, tuple or dictionary of tensors, [batch, ...] each.
            run: inputs -> name -> Tensor [batch, ...].
        Raises:
            StateError: the teacher has changed. ConfigError: inputs or outputs that are not one a sample, or too many.
        """
        self._check_teacher()
        keys = keys_of(inputs)
        known = sum(key in self._rows for key in keys)
        self.hits, self.misses = self.hits + known, self.misses + len(keys) - known
        if known < len(keys) or not self._verified:
            made = run(inputs)
            self._verify(keys, made)
            self._keep(keys, made)
        names = [str(name) for name in self.identity["layers"]]
        device = next(iter(tensors_in(inputs).values())).device
        return {name: self._stacked(keys, name).to(device) for name in names}

    def flush(self) -> None:
        """Write what was added since the last time, as one file."""
        if not self._pending:
            return
        keys = b"".join(key for key, _, _ in self._pending)
        tensors = {
            PREFIX + name: torch.stack([made[name][row] for _, made, row in self._pending])
            for name in self.identity["layers"]
        }
        tensors[KEYS] = torch.frombuffer(bytearray(keys), dtype=torch.uint8).view(-1, DIGEST)
        path = self.folder / f"{sha256(keys).hexdigest()[:16]}.safetensors"
        document = {"kind": KIND, "version": VERSION, "identity": self.identity, "sha256": _sum_of(tensors)}
        storage.write(path, tensors, document)
        self._pending.clear()
        self._waiting = 0

    def _verify(self, keys: list[bytes], made: Made) -> None:
        """Once: the teacher says of samples that were read what was read, but for rounding on another machine."""
        rows = [row for row, key in enumerate(keys) if key in self._rows]
        if self._verified or not rows:
            return
        self._verified = True
        for name, tensor in made.items():
            kept = self._stacked([keys[row] for row in rows], name)
            if tensor.ndim < 1 or len(tensor) != len(keys):
                return  # refused where it is kept
            now = tensor.detach().cpu()[rows]
            same = now.shape == kept.shape and now.dtype == kept.dtype
            if not (
                same
                and torch.allclose(
                    now.double(), kept.double(), rtol=NEAR, atol=NEAR * float(kept.abs().max())
                )
            ):
                raise StateError(
                    f"TeacherCache {self.folder}",
                    expected="what this teacher puts out",
                    got="other numbers, of a teacher with the same weights",
                    hint="its hooks, settings or code are others: take another folder, or name them in data=",
                )

    def _keep(self, keys: list[bytes], made: Made) -> None:
        for name, tensor in made.items():
            if tensor.ndim < 1 or len(tensor) != len(keys):
                raise ConfigError(
                    "TeacherCache",
                    expected=f"{len(keys)} outputs of {name or 'the teacher'}, one a sample",
                    got=str(list(tensor.shape)),
                )
        kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in made.items()}
        one = sum(tensor[0].nbytes for tensor in kept.values())
        fresh = {key: row for row, key in reversed([*enumerate(keys)]) if key not in self._rows}
        if self.bytes + one * len(fresh) > self.most:
            raise ConfigError(
                "TeacherCache",
                expected=f"at most {self.most} bytes of outputs",
                got="more",
                hint="raise most=",
            )
        if fresh and self._pending and one * len(fresh) and not _alike(self._pending[0][1], kept):
            self.flush()  # samples of another size, as sequences of other lengths are, have a file of their own
        for key, row in fresh.items():
            self._rows[key] = kept, row
            self._pending.append((key, kept, row))
        self.bytes, self._waiting = self.bytes + one * len(fresh), self._waiting + one * len(fresh)
        if self._waiting > LARGEST_PENDING:
            self.flush()

    def _stacked(self, keys: list[bytes], name: str) -> Tensor:
        rows = [self._rows[key][0][name][self._rows[key][1]] for key in keys]
        if any(row.shape != rows[0].shape or row.dtype != rows[0].dtype for row in rows):
            raise FormatError(
                f"read {self.folder}", expected="outputs of one shape and type in a batch", got="several"
            )
        return torch.stack(rows)

    def _read(self, path: Path) -> None:
        """One file: what it says it is, then sizes, then numbers."""
        with storage.opened(path, KIND, (VERSION,), "pt") as (file, document):
            if document.get("identity") != self.identity:
                raise FormatError(
                    f"read {path}", expected="outputs of this teacher, data and augmentation", got="of others"
                )
            wanted = {PREFIX + str(name) for name in self.identity["layers"]}
            if set(file.keys()) != {KEYS, *wanted}:
                raise FormatError(
                    f"read {path}", expected=f"{KEYS} and {sorted(wanted)}", got=str(sorted(file.keys()))
                )
            shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            count = shapes[KEYS][0] if shapes[KEYS] else 0
            if shapes[KEYS] != [count, DIGEST] or any(shape[:1] != [count] for shape in shapes.values()):
                raise FormatError(
                    f"read {path}", expected=f"{KEYS} [n, {DIGEST}] and n outputs", got=str(shapes)
                )
            keys, made = file.get_tensor(KEYS), {name: file.get_tensor(name) for name in sorted(wanted)}
        if document.get("sha256") != _sum_of({KEYS: keys, **made}):
            raise FormatError(f"read {path}", expected="the numbers that were written", got="others")
        fine = all(t.is_floating_point() and bool(torch.isfinite(t).all()) for t in made.values())
        if keys.dtype != torch.uint8 or not fine:
            raise FormatError(f"read {path}", expected="bytes as keys, and finite floats", got="others")
        kept = {name.removeprefix(PREFIX): tensor for name, tensor in made.items()}
        for row, key in enumerate(keys.numpy()):
            self._rows.setdefault(key.tobytes(), (kept, row))
        self.bytes += sum(tensor.nbytes for tensor in kept.values())

    def _check_teacher(self) -> None:
        """Refuse a teacher whose weights were written to since."""
        if not self._teacher:
            raise StateError(
                "TeacherCache", expected="a cache that a Distillation opened", got="a closed one"
            )
        if (writes := writes_to(self._teacher[0])) == self._writes:
            return
        if fingerprint_of(self._teacher[0]) != self.identity["teacher"]:
            raise StateError(
                "TeacherCache",
                expected="the weights that the cache was opened for",
                got="a teacher that has changed since",
                hint="make a new cache and a new loss",
            )
        self._writes = writes


def _sum_of(tensors: Made) -> str:
    """SHA-256 of the bytes of tensors by name."""
    found = sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _alike(one: Made, other: Made) -> bool:
    """Whether rows of both can lie in one tensor."""
    return all(
        a.shape[1:] == other[name].shape[1:] and a.dtype == other[name].dtype for name, a in one.items()
    )
