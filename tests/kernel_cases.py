"""Layers that bite a kernel, their dense form, and the error budget; driven by the kernel table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

BATCHES = (0, 1, 2, 7, 8, 9, 31, 33, 55, 63, 64, 65, 111, 130)
WIDE_BATCHES = (1, 65)  # for cases with thousands of inputs
FEW = (1, 2, 3, 7, 8, 9)  # around the batches whose products are scattered


@dataclass(frozen=True)
class Case:
    """One layer, and (row, column) of every stored value, worked out apart from the package."""

    name: str
    layout: str
    shape: tuple[int, ...]
    index: tuple[Tensor, ...]
    row: Tensor
    column: Tensor
    batches: tuple[int, ...] = BATCHES

    @property
    def used(self) -> int:
        return self.row.numel()

    def dense(self, values: Tensor) -> Tensor:
        """[n_out, n_in] with the stored values in place; padding left out."""
        full = torch.zeros(self.shape[:2], dtype=values.dtype)
        full[self.row[self.real], self.column[self.real]] = values[: self.used][self.real]
        return full

    @property
    def real(self) -> Tensor:
        """[used], bool: what is stored for a connection, not for padding."""
        return (self.row < self.shape[0]) & (self.column < self.shape[1])


def _choose(n: int, k: int) -> list[int]:
    return sorted(torch.randperm(n)[:k].tolist())


def _choices(*shape: int, n: int, m: int) -> Tensor:
    """[*shape, n]: n of m numbers in order, drawn afresh at each place."""
    return torch.rand(*shape, m).argsort(-1)[..., :n].sort(-1).values


def csr(
    name: str, columns: Sequence[Sequence[int]], n_in: int, *, wide: bool = False, **more: object
) -> Case:
    pointer, flat, row = [0], [], []
    for r, cols in enumerate(columns):
        flat += cols
        row += [r] * len(cols)
        pointer.append(len(flat))
    ptr = torch.tensor(pointer, dtype=torch.int64 if wide else torch.int32)
    col = torch.tensor(flat, dtype=torch.int64).to(torch.int32 if wide else torch.uint16)
    return Case(name, "csr", (len(columns), n_in), (ptr, col), _long(row), _long(flat), **more)  # type: ignore[arg-type]


def fanin(
    name: str,
    n_groups: int,
    rows: Sequence[int],
    k: int,
    n_in: int,
    group: int = 1,
    *,
    wide: bool = False,
    **more: object,
) -> Case:
    cols = [_choose(n_in, k) for _ in rows]
    row = [r * group + g for r, c in zip(rows, cols, strict=True) for _ in c for g in range(group)]
    column = [c for line in cols for c in line for _ in range(group)]
    dtype = torch.int32 if wide else torch.uint16
    index = (_long(list(rows)).to(dtype), _long(cols).reshape(len(rows), k).to(dtype))
    return Case(name, "fanin", (n_groups * group, n_in, group), index, _long(row), _long(column), **more)  # type: ignore[arg-type]


def fanin_bytes(
    name: str, n_groups: int, rows: Sequence[int], k: int, n_in: int, group: int, **more: object
) -> Case:
    return replace(fanin(name, n_groups, rows, k, n_in, group, **more), layout="fanin_bytes")


def nm(name: str, n_out: int, tiles: int, n: int, m: int, *, lanes: bool = False, **more: object) -> Case:
    rows = -(-n_out // 8) * 8 if lanes else n_out
    offset = _choices(rows, tiles, n=n, m=m)
    row = torch.arange(rows)[:, None, None].expand_as(offset)
    column = torch.arange(tiles)[None, :, None] * m + offset
    if lanes:
        offset, row, column = (t.reshape(-1, 8, tiles, n).permute(0, 2, 3, 1) for t in (offset, row, column))
    index = (offset.to(torch.uint8).contiguous(),)
    layout = "nm_lanes" if lanes else "nm"
    return Case(name, layout, (n_out, tiles * m, n, m), index, row.reshape(-1), column.reshape(-1), **more)  # type: ignore[arg-type]


def nm_bytes(name: str, n_out: int, tiles: int, n: int, m: int, **more: object) -> Case:
    blocks, pairs = -(-n_out // 16), -(-tiles // 2)
    offset = _choices(blocks, pairs, 16, 2, n=n, m=m).permute(0, 1, 4, 2, 3)
    index = offset + torch.arange(2) * m
    row = torch.arange(blocks * 16).view(blocks, 1, 1, 16, 1).expand_as(index)
    column = torch.arange(pairs).view(pairs, 1, 1, 1) * 2 * m + index
    dims = (n_out, tiles * m, n, m)
    packed = (index.to(torch.uint8).contiguous(),)
    return Case(name, "nm_bytes", dims, packed, row.reshape(-1), column.reshape(-1), **more)  # type: ignore[arg-type]


def nm_nibbles(name: str, n_out: int, tiles: int, n: int, m: int, side: int = 1, **more: object) -> Case:
    """Sixteen neurons and ``side`` tiles side by side; of every neuron eight places in four bytes."""
    blocks, groups, together = -(-n_out // 16), -(-tiles // side), 8 // side
    place = _choices(blocks, groups, 16, side, n=n, m=m).permute(0, 1, 4, 2, 3)
    row = torch.arange(blocks * 16).view(blocks, 1, 1, 16, 1).expand_as(place)
    column = (torch.arange(groups * side).view(groups, 1, 1, side) * m) + place
    words = -(-groups * n // together)
    packed = torch.zeros(blocks, words, 64, dtype=torch.int64)
    for step, lanes in enumerate(place.reshape(blocks, groups * n, -1).unbind(1)):
        byte = torch.arange(lanes.shape[1]) * together // 2 + step % together // 2
        packed[:, step // together, byte] |= lanes << 4 * (step % 2)
    layout = "nm_nibbles" if side == 1 else "nm_nibble_bytes"
    index = (packed.to(torch.uint8).view(blocks, words, 16, 4),)
    return Case(name, layout, (n_out, tiles * m, n, m), index, row.reshape(-1), column.reshape(-1), **more)  # type: ignore[arg-type]


def bitmask(
    name: str,
    columns: Sequence[Sequence[int]],
    n_in: int,
    *,
    wide: bool = False,
    rounds: bool = False,
    **more: object,
) -> Case:
    """A bit an input, in words of 64; values as those of csr."""
    plain = csr(name, columns, n_in, wide=wide)
    mask = torch.zeros(len(columns), -(-n_in // 64) * 8, dtype=torch.int64)
    for r, cols in enumerate(columns):
        for c in cols:
            mask[r, c // 8] |= 1 << c % 8
    index, shape = (plain.index[0], mask.to(torch.uint8)), (len(columns), n_in, plain.used)
    layout = "bitmask_bytes" if rounds else "bitmask"
    return Case(name, layout, shape, index, plain.row, plain.column, **more)  # type: ignore[arg-type]


def window_bytes(name: str, columns: Sequence[Sequence[int]], n_in: int, **more: object) -> Case:
    """Sixteen neurons and four of their inputs in a window of 64 side by side; 255 fills up."""
    starts, place, row, column = [0], [], [], []
    for block in range(0, len(columns), 16):
        for first in range(0, n_in, 64):
            mine = [[c for c in cols if first <= c < first + 64] for cols in columns[block : block + 16]]
            mine += [[]] * (16 - len(mine))
            for step in range(-(-max(map(len, mine)) // 4)):
                for n, cols in enumerate(mine):
                    four = (cols[4 * step : 4 * step + 4] + [None] * 4)[:4]
                    place += [255 if c is None else c - first for c in four]
                    row += [block + n] * 4
                    column += [n_in if c is None else c for c in four]
            starts.append(len(place) // 64)
    index = (torch.tensor(starts, dtype=torch.int32), _long(place).to(torch.uint8).view(-1, 16, 4))
    return Case(name, "window_bytes", (len(columns), n_in), index, _long(row), _long(column), **more)  # type: ignore[arg-type]


def csr_bands(
    name: str, columns: Sequence[Sequence[int]], n_in: int, band: int, *, wide: bool = False, **more: object
) -> Case:
    starts, flat, row, column = [0], [], [], []
    for first in range(0, n_in, band):
        for r, cols in enumerate(columns):
            inside = [c for c in cols if first <= c < first + band]
            flat += [c - first for c in inside]
            row += [r] * len(inside)
            column += inside
            starts.append(len(flat))
    index = (torch.tensor(starts, dtype=torch.int32), _long(flat).to(torch.uint16 if wide else torch.uint8))
    return Case(name, "csr_bands", (len(columns), n_in, band), index, _long(row), _long(column), **more)  # type: ignore[arg-type]


def csr_halves(name: str, columns: Sequence[Sequence[int]], n_in: int, **more: object) -> Case:
    return replace(csr(name, columns, n_in, **more), layout="csr_halves")  # type: ignore[arg-type]


def block(
    name: str,
    columns: Sequence[Sequence[int]],
    n_in: int,
    h: int,
    w: int,
    *,
    wide: bool = False,
    **more: object,
) -> Case:
    """Whole blocks: ``columns`` of each block row, on the grid of blocks."""
    grid = csr(name, columns, n_in // w, wide=wide)
    members = [(g, c) for g in range(h) for c in range(w)]
    row = [r * h + g for r, cols in enumerate(columns) for _ in cols for g, _ in members]
    column = [block * w + c for cols in columns for block in cols for _, c in members]
    return Case(name, "block", (len(columns) * h, n_in, h, w), grid.index, _long(row), _long(column), **more)  # type: ignore[arg-type]


def tiles(
    name: str,
    columns: Sequence[Sequence[int]],
    n_out: int,
    n_in: int,
    *,
    wide: bool = False,
    width: int = 32,
    **more: object,
) -> Case:
    """Whole tiles of 16 x 32: ``columns`` of each row of tiles; the last ones may reach past the matrix."""
    grid = block(name, columns, -(-n_in // width) * width, 16, width, wide=wide)
    return Case(name, "tiles", (n_out, n_in), grid.index, grid.row, grid.column, **more)  # type: ignore[arg-type]


def tile_bytes(name: str, columns: Sequence[Sequence[int]], n_out: int, n_in: int, width: int) -> Case:
    plain = tiles(name, columns, n_out, n_in, wide=width == 32, width=width)
    return replace(plain, layout="tile_bytes", shape=(n_out, n_in, width))


def shared_tiles(
    name: str,
    n_groups: int,
    rows: Sequence[int],
    k: int,
    n_in: int,
    group: int,
    width: int = 32,
    **more: object,
) -> Case:
    """As fanin, in tiles of 16 neurons by 32 of their inputs; what fills them up lies past the inputs."""
    plain = fanin(name, n_groups, rows, k, n_in, group, **more)
    active, cols = (t.long() for t in plain.index)
    step = torch.arange(-(-k // width) * width)
    filled = torch.cat([cols, (n_in + step[k:]).expand(len(rows), -1)], 1)
    sizes = (len(rows), step.numel() // width, group // 16, 16, width)
    column = filled.view(*sizes[:2], 1, 1, width).expand(sizes)
    member = torch.arange(group).view(group // 16, 16, 1)
    row = (active.view(-1, 1, 1, 1, 1) * group + member).expand(column.shape)
    index, batches = plain.index, plain.batches
    layout = "shared_tiles" if width == 32 else "shared_tile_bytes"
    return Case(name, layout, plain.shape, index, row.reshape(-1), column.reshape(-1), batches)


def dense(name: str, n_out: int, n_in: int, **more: object) -> Case:
    flat = torch.arange(n_out * n_in)
    return Case(name, "dense", (n_out, n_in), (), flat // n_in, flat % n_in, **more)  # type: ignore[arg-type]


def _long(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def cases() -> list[Case]:
    """Edges of every layout: empty, full, single, ablated, wide indices, past one block of features."""
    torch.manual_seed(1)
    big = {"batches": WIDE_BATCHES}
    return [
        csr("csr-empty-and-full-rows", [[], list(range(9)), [3], [], [0, 8]], 9),
        csr("csr-no-connection", [[], []], 5),
        csr("csr-one-column", [[0], [], [0]], 1),
        csr("csr-one-by-one", [[0]], 1),
        csr("csr-wide", [_choose(50, 3 * r) for r in range(14)], 50, wide=True),
        csr("csr-blocks", [_choose(3300, k) for k in (0, 700, 40, 3300, 1, 600)], 3300, **big),
        csr("csr-hardly-any", [[], [7], [12_999], [0, 6_500], []], 13_000, **big),
        csr("csr-scattered", [_choose(14_000, k) for k in (2, 0, 1, 3, 2)], 14_000, batches=FEW),
        csr("csr-scattered-wide", [[], [13_999], [0, 7]], 14_000, wide=True, batches=FEW),
        fanin("fanin-scattered", 5, [0, 1, 4], 2, 14_000, batches=FEW),
        fanin("fanin-all", 7, range(7), 5, 11),
        fanin("fanin-ablated", 9, [1, 4, 5], 4, 20),
        fanin("fanin-all-ablated", 4, [], 3, 6),
        fanin("fanin-no-inputs", 3, [0, 2], 0, 6),
        fanin("fanin-full", 3, [0, 1, 2], 6, 6),
        fanin("fanin-wide", 6, [0, 3, 5], 9, 40, wide=True),
        fanin("fanin-pair", 5, [0, 2, 3], 7, 13, 2),
        fanin("fanin-four", 5, [1, 2, 4], 6, 17, 4),
        fanin("fanin-eight", 3, [0, 2], 5, 12, 8, wide=True),
        fanin("fanin-blocks", 5, range(5), 520, 3300, **big),
        fanin("fanin-four-blocks", 2, range(2), 60, 6600, 4, **big),
        fanin("fanin-eight-blocks", 1, range(1), 60, 13000, 8, **big),
        fanin("fanin-sixteen", 4, [0, 2, 3], 7, 19, 16),
        fanin("fanin-thirty-two", 3, [1], 5, 12, 32, wide=True),
        fanin("fanin-sixteen-blocks", 2, range(2), 60, 6600, 16, **big),
        fanin_bytes("fanin-bytes", 9, [1, 4, 5], 4, 20, 1),
        fanin_bytes("fanin-bytes-wide", 5, [1, 2, 4], 6, 17, 4, wide=True),
        fanin_bytes("fanin-bytes-thirty-two", 3, [1], 5, 12, 32),
        fanin_bytes("fanin-bytes-none", 4, [], 3, 6, 2),
        nm("nm-2-4", 6, 5, 2, 4),
        nm("nm-1-8", 9, 4, 1, 8),
        nm("nm-full-tile", 3, 2, 4, 4),
        nm("nm-1-1", 2, 3, 1, 1),
        nm("nm-200-256", 2, 3, 200, 256),
        nm("nm-blocks", 4, 660, 3, 5, **big),
        block("block-4-4", [[], list(range(5)), [3], [0, 4]], 20, 4, 4),
        block("block-8-8", [[0, 2], [1]], 24, 8, 8, wide=True),
        block("block-16-16", [[1], []], 32, 16, 16),
        block("block-32-32", [[0, 1]], 64, 32, 32),
        block("block-16-64", [[1], [], [0, 1]], 128, 16, 64),
        block("block-one", [[0]], 4, 4, 4),
        block("block-none", [[], []], 8, 2, 4),
        block("block-1-1", [[0, 3], []], 5, 1, 1),
        block("block-1-4", [_choose(7, k) for k in (7, 0, 3, 4)], 28, 1, 4),
        block("block-1-5", [_choose(4, k) for k in (1, 4, 2)], 20, 1, 5),
        block("block-1-16", [_choose(5, k) for k in (1, 5, 4)], 80, 1, 16),
        block("block-4-1", [_choose(19, k) for k in (3, 0, 19, 8)], 19, 4, 1),
        block("block-8-1", [_choose(19, k) for k in (3, 7)], 19, 8, 1, wide=True),
        block("block-3-1", [_choose(9, k) for k in (9, 2)], 9, 3, 1),
        block("block-24-1", [_choose(9, k) for k in (9, 2)], 9, 24, 1),
        block("block-6-12", [_choose(3, k) for k in (3, 1)], 36, 6, 12),
        block("block-2-2", [_choose(9, k) for k in (5, 2)], 18, 2, 2),
        block("block-spans", [_choose(1700, k) for k in (0, 300, 1700, 1, 40)], 6800, 4, 4, **big),
        block("block-tall-spans", [_choose(6700, k) for k in (300, 5)], 6700, 32, 1, **big),
        block("block-wide-spans", [_choose(425, k) for k in (30, 425)], 6800, 1, 16, **big),
        nm("lanes-1-8", 16, 5, 1, 8, lanes=True),
        nm("lanes-3-8-padded", 11, 4, 3, 8, lanes=True),
        nm("lanes-1-4", 8, 7, 1, 4, lanes=True),
        nm("lanes-2-4-padded", 5, 3, 2, 4, lanes=True),
        nm("lanes-1-16", 24, 9, 1, 16, lanes=True),
        nm("lanes-5-16-padded", 10, 5, 5, 16, lanes=True),
        nm("lanes-1-32", 8, 6, 1, 32, lanes=True),
        nm("lanes-4-32-padded", 13, 3, 4, 32, lanes=True),
        nm("lanes-2-5-padded", 3, 6, 2, 5, lanes=True),
        nm_bytes("bytes-1-8", 16, 6, 1, 8),
        nm_bytes("bytes-1-8-padded", 35, 5, 1, 8),
        nm_bytes("bytes-3-8", 17, 4, 3, 8),
        nm_bytes("bytes-2-4-padded", 5, 3, 2, 4),
        nm_bytes("bytes-1-16", 20, 9, 1, 16),
        nm_bytes("bytes-5-16", 3, 4, 5, 16),
        nm_bytes("bytes-4-12-padded", 18, 3, 4, 12),
        nm_bytes("bytes-1-1", 2, 3, 1, 1),
        nm_bytes("bytes-16-16", 9, 2, 16, 16),
        nm_bytes("bytes-long", 16, 410, 1, 8, **big),
        nm_nibbles("nibbles-1-8", 16, 8, 1, 8),
        nm_nibbles("nibbles-1-16-padded", 35, 9, 1, 16),
        nm_nibbles("nibbles-3-8-padded", 17, 4, 3, 8),
        nm_nibbles("nibbles-2-4", 5, 3, 2, 4),
        nm_nibbles("nibbles-2-16", 20, 12, 2, 16),
        nm_nibbles("nibbles-4-12-padded", 18, 3, 4, 12),
        nm_nibbles("nibbles-8-16", 32, 5, 8, 16),
        nm_nibbles("nibbles-1-1", 2, 3, 1, 1),
        nm_nibbles("nibbles-16-16", 9, 2, 16, 16),
        nm_nibbles("nibbles-long", 16, 410, 1, 8, **big),
        nm_nibbles("nibble-bytes-1-8", 16, 8, 1, 8, 4),
        nm_nibbles("nibble-bytes-1-16-padded", 35, 9, 1, 16, 4),
        nm_nibbles("nibble-bytes-3-8", 17, 6, 3, 8, 4),
        nm_nibbles("nibble-bytes-2-4-padded", 5, 3, 2, 4, 4),
        nm_nibbles("nibble-bytes-4-12", 18, 5, 4, 12, 4),
        nm_nibbles("nibble-bytes-1-1", 2, 3, 1, 1, 4),
        nm_nibbles("nibble-bytes-16-16", 9, 2, 16, 16, 4),
        nm_nibbles("nibble-bytes-long", 16, 410, 1, 8, 4, **big),
        *(
            bitmask(
                f"{name}-{case}", [_choose(n_in, k) for k in counts], n_in, rounds=name != "bitmask", **more
            )
            for name in ("bitmask", "bitmask-bytes")
            for case, counts, n_in, more in (
                ("empty-and-full-rows", (9, 0, 1, 0, 2), 9, {}),
                ("no-connection", (0, 0), 5, {}),
                ("one", (1,), 1, {}),
                ("wide", range(0, 50, 2), 50, {"wide": True}),
                ("words", (63, 64, 1, 128, 30, 65), 128, {}),
                ("tail", (100, 3, 129), 129, {}),
                ("long", (0, 700, 40, 3300, 1, 1600), 3300, big),
            )
        ),
        window_bytes("windows-empty-and-full-rows", [_choose(9, k) for k in (9, 0, 1, 0, 2)], 9),
        window_bytes("windows-no-connection", [[], []], 5),
        window_bytes("windows-padded", [_choose(129, k) for k in range(0, 120, 6)], 129),
        window_bytes("windows-long", [_choose(3300, k) for k in (0, 700, 40, 3300, 1, 1600)], 3300, **big),
        csr_bands("bands-empty-and-full-rows", [[], list(range(9)), [3], [], [0, 8]], 9, 4),
        csr_bands("bands-no-connection", [[], []], 5, 2),
        csr_bands("bands-one", [[0]], 1, 1),
        csr_bands("bands-wide", [_choose(50, 3 * r) for r in range(14)], 50, 20, wide=True),
        csr_bands("bands-uneven", [_choose(600, k) for k in (0, 300, 40, 600, 1, 600)], 600, 256),
        csr_bands(
            "bands-blocks", [_choose(3300, k) for k in (700, 3300, 1, 0)], 3300, 1500, wide=True, **big
        ),
        tiles("tiles-fit", [[0, 1], [1]], 32, 64),
        tiles("tiles-uneven", [[0, 3], [], [1, 2, 3]], 39, 100),
        tiles("tiles-one", [[0]], 1, 1),
        tiles("tiles-one-neuron", [[0, 2]], 1, 70, wide=True),
        tiles("tiles-none", [[], []], 20, 5),
        tiles("tiles-dense", [range(5)] * 3, 47, 129),
        tiles("tiles-wide", [_choose(9, k) for k in (2, 9, 0, 5)], 64, 288, wide=True),
        tiles("tiles-long", [_choose(200, k) for k in (200, 0, 7, 61)], 50, 6399, **big),
        shared_tiles("shared-fit", 3, [0, 1, 2], 32, 50, 16),
        shared_tiles("shared-uneven", 4, [0, 2, 3], 7, 19, 16),
        shared_tiles("shared-thirty-two", 3, [1, 2], 45, 77, 32),
        shared_tiles("shared-wide", 5, [0, 4], 65, 90, 32, wide=True),
        shared_tiles("shared-all-ablated", 2, [], 3, 6, 16),
        shared_tiles("shared-no-inputs", 3, [0, 2], 0, 6, 32),
        shared_tiles("shared-one-input", 1, [0], 1, 1, 16),
        shared_tiles("shared-long", 3, [0, 2], 333, 6600, 32, **big),
        tile_bytes("tile-bytes-uneven", [[0, 2], [], [1, 2]], 39, 170, 64),
        tile_bytes("tile-bytes-narrow", [[0, 3], [1]], 32, 100, 32),
        shared_tiles("shared-bytes-uneven", 4, [0, 2, 3], 7, 19, 16, 64),
        shared_tiles("shared-bytes-thirty-two", 3, [1, 2], 70, 90, 32, 64, wide=True),
        csr_halves("halves-empty-and-full-rows", [[], list(range(9)), [3], [], [0, 8]], 9),
        csr_halves("halves-no-connection", [[], []], 5),
        csr_halves("halves-wide", [_choose(50, 3 * r) for r in range(14)], 50, wide=True),
        csr_halves("halves-long", [_choose(900, k) for k in (0, 700, 40, 900, 1)], 900, **big),
        dense("dense-9-30", 9, 30),
        dense("dense-one", 1, 1),
        dense("dense-blocks", 5, 1300, **big),
    ]


def memory_orders(x: Tensor) -> list[tuple[str, Tensor]]:
    """The same [batch, features] tensor in every memory order a kernel may meet."""
    batch, features = x.shape
    gap_rows = torch.zeros(batch, features + 3, dtype=x.dtype)[:, 1 : features + 1].copy_(x)
    gap_columns = torch.zeros(features, batch + 5, dtype=x.dtype)[:, 2 : batch + 2].t().copy_(x)
    neither = torch.zeros(batch, 2 * features, dtype=x.dtype)[:, ::2].copy_(x)
    return [("batch-major", gap_rows), ("feature-major", gap_columns), ("strided", neither)]


def within_budget(got: Tensor, exact: Tensor, plain: Tensor, scale: Tensor) -> bool:
    """Error at most 3 times that of plain torch in the same precision, plus 2 roundings of the largest sum.

    Args:
        got: the kernel's result.
        exact: float64 result.
        plain: plain torch's result in the kernel's precision.
        scale: float64, the same sums over absolute values.
    """
    if got.shape != exact.shape or got.dtype != plain.dtype:
        return False
    if got.numel() == 0:
        return True
    error, own = (got.double() - exact).abs().max(), (plain.double() - exact).abs().max()
    return bool(error <= 3 * own + 2 * torch.finfo(got.dtype).eps * scale.max())
