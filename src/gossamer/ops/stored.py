"""How many connections an index holds."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def stored_connections(index: Sequence[Tensor], layout: str, shape: Sequence[int]) -> int:
    """Connections, from the sizes of the index tensors alone: the layout says how many share an entry.

    Args:
        index: the layout's integer tensors; the last one has the entries.
        layout: str.
        shape: the layout's integers.
    Returns:
        int.
    Cost: O(1).
    Example:
        >>> import torch
        >>> stored_connections([torch.zeros(2), torch.zeros(2, 3)], "fanin", [8, 5, 4])  # 4 neurons share an entry
        24
    """
    sharing = {"fanin": shape[2:3], "block": shape[2:4]}.get(layout, ())
    entries = index[-1].numel()
    for count in sharing:
        entries *= count
    return entries
