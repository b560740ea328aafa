"""Load and run damaged artifacts by the thousand: every one is refused with a FormatError, or runs.

    python benchmarks/fuzz_artifacts.py --count 100000

Prints JSON: mutations, how many loaded, how many were refused, errors that are not FormatErrors, processes that died,
and the largest memory that one load took beyond ten times its file.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import resource
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import gossamer as gs
from gossamer.errors import FormatError, GossamerError
from gossamer.patterns import parse

LAYOUTS = (
    "csr",
    "csr_bands",
    "fanin",
    "nm",
    "nm_lanes",
    "nm_bytes",
    "block",
    "dense",
    "slice",
    "convolution",
)
NASTY = (
    *(None, True, -1, 0, 1, 2, 7, 255, 65536, 1 << 24, 1 << 31, 1 << 63, 10**30, 1.5, -1e308, 1e308, 3.4e38),
    *(
        "",
        "csr",
        "dense",
        "slice",
        "core",
        "torch",
        "int8",
        "x",
        "x" * 3000,
        [],
        {},
        [[]],
        [1 << 27],
        [1, 1 << 31, 1 << 31],
    ),
)
CHUNK = 2000  # mutations a process


def network(kind: str) -> tuple[gs.Frozen, torch.Tensor]:
    """A small network of a kind, and an input."""
    torch.manual_seed(0)
    if kind == "convolution":
        parts = [
            nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"),
            nn.MaxPool2d(2),
            nn.AvgPool2d(2),
            nn.Flatten(),
        ]
        model, x = nn.Sequential(*parts, nn.Linear(8, 4), nn.Softmax(1)), torch.ones(3, 1, 8, 8)
        gs.sparsify(model, 0.5, allocation="uniform")
        return gs.freeze(model.eval(), x, keep="fanin"), x
    parts = [
        nn.Linear(16, 16),
        nn.BatchNorm1d(16),
        nn.LeakyReLU(),
        nn.Linear(16, 16),
        nn.ReLU(),
        nn.Linear(16, 16),
    ]
    model, x = nn.Sequential(*parts, nn.ELU()), torch.ones(3, 16)
    pattern = {"fanin": "fanin:2", "block": "block:2:4"}.get(
        kind, "nm:1:4" if kind.startswith("nm") else "unstructured"
    )
    gs.sparsify(model, None if kind.startswith("nm") else 0.5, parse(pattern), "uniform")
    narrow = {"values": "int8", "activations": "int8"} if kind == "nm_bytes" else {}
    return gs.freeze(model, x, keep="csr" if kind == "slice" else kind, **narrow), x


def everywhere(tree: object, path: tuple = ()) -> list[tuple]:
    """The way to every value of a JSON tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(way for key, child in items for way in everywhere(child, (*path, key)))]


def put(tree: Any, way: Sequence[Any], value: Any) -> None:
    """Replace a value, unless a change before has taken the way to it."""
    *above, last = way
    with suppress(LookupError, TypeError):
        for key in above:
            tree = tree[key]
        tree[last] = value


def mutated(source: Path, target: Path, draw: random.Random) -> None:
    """A file with one to four bytes, values or tensors changed."""
    how = draw.choice(("bytes", "document", "document", "tensors"))
    if how == "bytes":
        content = bytearray(source.read_bytes())
        head = 8 + struct.unpack("<Q", content[:8])[0]
        low, high = draw.choice(((0, 8), (8, head), (head, len(content))))
        for _ in range(draw.randint(1, 4)):
            content[draw.randrange(low, high)] = draw.randrange(256)
        target.write_bytes(bytes(content[: draw.choice((len(content), draw.randrange(len(content))))]))
        return
    with safe_open(source, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a handle, not a dict)
        document = json.loads(file.metadata()["gossamer"])
    roots = (
        (document, ()),
        (document["nodes"], ("nodes",)),
        (document["report"]["inputs"], ("report", "inputs")),
    )
    ways = [way for way in (draw.choice(everywhere(*draw.choice(roots))) for _ in range(3)) if way]
    for number in range(draw.randint(1, 3)):
        if how == "document":
            put(document, ways[number % len(ways)] if ways else ("kind",), copy.deepcopy(draw.choice(NASTY)))
        else:
            name = draw.choice(sorted(tensors))
            flat = tensors[name].reshape(-1).clone()
            raw = flat.view(torch.uint8)
            for _ in range(draw.randint(1, 4) if raw.numel() else 0):
                raw[draw.randrange(raw.numel())] = draw.randrange(256)
            tensors[name] = draw.choice((flat.view(tensors[name].shape), flat[:-1], flat.to(torch.int64)))
    save_file(
        {name: each.contiguous() for name, each in tensors.items()},
        target,
        {"gossamer": json.dumps(document)},
    )


def child(first: int, count: int) -> None:
    """Mutations ``first`` to ``first + count``; one JSON line."""
    found: Counter[str] = Counter()
    raw: Counter[str] = Counter()
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        inputs = {}
        for kind in LAYOUTS:
            net, inputs[kind] = network(kind)
            gs.save(net, Path(folder) / kind)
            gs.load(Path(folder) / kind)(inputs[kind])
        target = Path(folder) / "mutated"
        for number in range(first, first + count):
            draw = random.Random(number)
            kind = draw.choice(LAYOUTS)
            mutated(Path(folder) / kind, target, draw)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                net = gs.load(target)
                found["loaded"] += 1
            except FormatError:
                found["refused"] += 1
                net = None
            except BaseException as error:
                raw[f"load: {type(error).__name__}: {str(error)[:80]} ({kind}, {number})"] += 1
                net = None
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            worst = max(worst, grown - 10 * target.stat().st_size)
            try:
                _ = net and net(inputs[kind])
            except GossamerError:
                found["refused its input"] += 1
            except BaseException as error:
                raw[f"run: {type(error).__name__}: {str(error)[:80]} ({kind}, {number})"] += 1
    print(json.dumps({"found": found, "raw": raw, "worst": worst}))


def main() -> None:
    """Chunks in processes of their own, so that a crash is seen."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="mutations")
    parser.add_argument("--first", type=int, default=0, help="number of the first one; a number is a seed")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.first, asked.count)
        return
    found, raw, died, worst = Counter(), Counter(), [], 0
    for first in range(asked.first, asked.first + asked.count, CHUNK):
        number = min(CHUNK, asked.first + asked.count - first)
        command = [sys.executable, __file__, "--child", "--first", str(first), "--count", str(number)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (this very file)
        if done.returncode:
            died.append(
                {"first": first, "count": number, "code": done.returncode, "said": done.stderr[-300:]}
            )
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        found.update(row["found"])
        raw.update(row["raw"])
        worst = max(worst, row["worst"])
    print(
        json.dumps(
            {"mutations": asked.count, **found, "raw": raw, "died": died, "bytes_beyond": worst}, indent=2
        )
    )


if __name__ == "__main__":
    main()
