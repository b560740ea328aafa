"""A topology as a few numbers that survive averaging: how a layer knows that its values are those of its index."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from zlib import crc32

import torch
from torch import Tensor

from gossamer.patterns import Pattern

NAME = "fingerprint"  # of the buffer, beside the index tensors
BITS = 32
SHAPE = (2, BITS)


def number_of(pattern: Pattern, shape: tuple[int, ...], index: Mapping[str, Tensor]) -> int:
    """32 bits of all that an index says.

    Args:
        pattern: Pattern - of the layer.
        shape: tuple of int - of the dense weight: convolutions of other kernels may have a matrix of the same size.
        index: name -> narrow integers, on the CPU.
    Returns:
        int.
    Cost: one pass over the index.
    """
    digest = blake2b(f"{pattern} {shape}".encode(), digest_size=BITS // 8)
    for name, tensor in index.items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(bytes_of(tensor).numpy().data)
    return int.from_bytes(digest.digest(), "little")


def code_of(number: int) -> Tensor:
    """[2, 32], float32: the bits of a number as 0 and 1, and below them their complements.

    Any mean of equal codes has zeros where they have, and ones, but for rounding, where they have ones. In a mean with
    another code something else stands where a zero was: two numbers differ in a bit, and it is 0 in one of the rows.

    Example:
        >>> code_of(5)[:, :4].tolist()
        [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]
    """
    bits = torch.tensor([number >> place & 1 for place in range(BITS)], dtype=torch.float32)
    return torch.stack([bits, 1 - bits])


def number_in(code: Tensor) -> int | None:
    """The number in a code, or in a mean of equal ones; None where it is a mean of several, or no code at all.

    Example:
        >>> number_in(0.9 * code_of(5) + 0.1 * code_of(5)), number_in(0.9 * code_of(5) + 0.1 * code_of(7))
        (5, None)
    """
    if tuple(code.shape[-2:]) != SHAPE or not code.is_floating_point():
        return None
    bits = code.detach().cpu().float().reshape(-1, *SHAPE)  # codes of several models, where they are stacked
    ones = bits > 0.5
    clean = (ones | (bits == 0)) & (ones[:, :1] != ones[:, 1:]) & (ones == ones[0])
    if not bool(clean.all()):
        return None
    return sum(1 << place for place, one in enumerate(ones[0, 0].tolist()) if one)


def readable(tensor: Tensor) -> Tensor | None:
    """The numbers of a tensor, out of the wrappers of torch.func; None where it has a shape and no numbers."""
    from torch._subclasses.fake_tensor import FakeTensor

    wrappers = torch._C._functorch  # noqa: SLF001 (torch.func has no public way to ask)
    while wrappers.is_functorch_wrapped_tensor(tensor):
        tensor = wrappers.get_unwrapped(tensor)
    return None if tensor.is_meta or isinstance(tensor, FakeTensor) else tensor


def sum_of(tensor: Tensor) -> int:
    """A check sum of a tensor; one pass over it."""
    return crc32(bytes_of(tensor).cpu().numpy().data)


def bytes_of(tensor: Tensor) -> Tensor:
    """[bytes], uint8: a tensor as it lies in memory, whatever its dtype, and where it is empty, too."""
    flat = tensor.detach().contiguous().view(-1)
    return flat.view(torch.uint8) if flat.numel() else flat.new_empty(0, dtype=torch.uint8)
