"""What tells teachers apart, and samples."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b, sha256
from typing import Any

from torch import Tensor, nn

from gossamer.errors import ConfigError
from gossamer.nn.fingerprint import bytes_of

DIGEST = 16  # bytes that stand for a sample


def fingerprint_of(model: nn.Module) -> str:
    """A check sum of everything that a model computes with: its structure, parameters and buffers.

    Args:
        model: nn.Module.
    Returns:
        str, 64 hexadecimal digits.
    Cost: one pass over its state.
    Example:
        >>> model = nn.Linear(2, 2)
        >>> before = fingerprint_of(model)
        >>> _ = nn.init.zeros_(model.weight)
        >>> fingerprint_of(model) == before
        False
    """
    digest = sha256(f"{type(model).__module__}.{type(model).__qualname__}\n{model!r}".encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"\n{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(bytes_of(tensor).cpu().numpy().data)
    return digest.hexdigest()


def writes_to(model: nn.Module) -> list[int]:
    """How often every tensor of a model was written to, and which one it is."""
    tensors = [*model.parameters(), *model.buffers()]
    return [number for tensor in tensors for number in (id(tensor), tensor._version)]  # noqa: SLF001 (torch's own count)


def tensors_in(inputs: Any) -> dict[str, Tensor]:
    """The tensors of inputs by name or place; raises ConfigError where there is anything else, or no common batch.

    Args:
        inputs: a tensor, tuple or dictionary of tensors [batch, ...]; None among them is left out.
    """
    if isinstance(inputs, Tensor):
        named = {"0": inputs}
    elif isinstance(inputs, Mapping):
        named = {str(name): part for name, part in inputs.items()}
    else:
        named = (
            {str(place): part for place, part in enumerate(inputs)}
            if isinstance(inputs, (tuple, list))
            else {}
        )
    found = {name: part for name, part in named.items() if part is not None}
    fits = all(isinstance(part, Tensor) and part.ndim for part in found.values())
    if not found or not fits or len({len(part) for part in found.values()}) != 1:
        raise ConfigError(
            "TeacherCache",
            expected="inputs that are tensors [batch, ...] of one batch",
            got=", ".join(str(getattr(part, "shape", type(part).__name__)) for part in found.values())
            or "none",
        )
    return found


def keys_of(inputs: Any) -> list[bytes]:
    """A digest of every sample of a batch: of all that the teacher reads of it."""
    parts = {name: part.detach().cpu().contiguous() for name, part in tensors_in(inputs).items()}
    head = repr([(name, tuple(part.shape[1:]), str(part.dtype)) for name, part in parts.items()]).encode()
    keys = []
    for sample in zip(*parts.values(), strict=True):
        digest = blake2b(head, digest_size=DIGEST)
        for part in sample:
            digest.update(bytes_of(part).numpy().data)
        keys.append(digest.digest())
    return keys
