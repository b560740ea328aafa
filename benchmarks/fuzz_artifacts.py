"""Load and run damaged artifacts by the thousand, by torch and by the runtime: each is refused, or runs.

    python benchmarks/fuzz_artifacts.py --count 100000

With a core built with -DGOSSAMER_SANITIZE=ON, LD_PRELOAD=libasan.so and ``--room 0``, sanitizers look on.

Prints JSON: mutations; how many loads and calls were done and how many refused; errors that are none of ours;
processes that died; and the most memory that one load and one call took beyond what the process had before.
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
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from fuzz_networks import KINDS, network
from safetensors import safe_open
from safetensors.torch import save_file

import gossamer as gs
from gossamer.errors import FormatError, GossamerError
from gossamer.runtime import Runtime

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
CHUNK = 1000  # mutations a process


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


def near(tree: Any, way: Sequence[Any], draw: random.Random) -> Any:
    """A value of the same kind as the one at the end of the way: such a file often loads."""
    for key in way:
        tree = tree[key]
    if type(tree) is int:  # no bool
        return draw.choice((tree - 1, tree + 1, 2 * tree, 0, 1, 2, 3, 5, draw.randrange(64)))
    if isinstance(tree, list):
        return draw.choice((tree[::-1], tree[1:], tree * 2))
    others = ("relu", "silu", "csr", "dense", "core", "torch", "reflect", "circular", None)
    return {bool: not tree, float: draw.uniform(-9, 9)}.get(type(tree), draw.choice(others))


def mutated(source: Path, target: Path, draw: random.Random) -> None:
    """A file with one to four bytes, values or tensors changed."""
    how = draw.choice(("bytes", "document", "document", "document", "tensors"))
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
    nodes = document["nodes"]
    node = draw.randrange(len(nodes))
    roots = [(document, ()), (nodes, ("nodes",)), (document["report"]["inputs"], ("report", "inputs"))]
    roots += [
        (nodes[node][part], ("nodes", node, part))
        for part in ("geometry", "settings")
        if nodes[node].get(part)
    ]
    ways = [way for way in (draw.choice(everywhere(*draw.choice(roots))) for _ in range(3)) if way]
    mild = draw.random() < 0.5
    for number in range(1 if mild else draw.randint(1, 3)):
        if how == "document":
            way = ways[number % len(ways)] if ways else ("kind",)
            put(document, way, near(document, way, draw) if mild else copy.deepcopy(draw.choice(NASTY)))
        else:
            name = draw.choice(sorted(tensors))
            flat = tensors[name].reshape(-1).clone()
            raw = flat.view(torch.uint8)
            for _ in range(draw.randint(1, 4) if raw.numel() else 0):
                raw[draw.randrange(raw.numel())] = draw.randrange(256)
            tensors[name] = draw.choice(
                (flat.view(tensors[name].shape), flat[:-1], flat.to(torch.int64))
                if not mild
                else (flat.view(tensors[name].shape),)
            )
    save_file(
        {name: each.contiguous() for name, each in tensors.items()},
        target,
        {"gossamer": json.dumps(document)},
    )


class Found:
    """What became of files: outcomes that are promised, others by their message, and the largest growth of memory."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.raw: Counter[str] = Counter()
        self.most = {"load": 0, "call": 0}

    def trial(self, what: str, label: str, run: Callable[[], Any], *, others: bool = False) -> Any:
        """The result of a call, or None where it was refused; with ``others`` torch may refuse it as well."""
        before = _peak()
        torch_too: tuple[type[Exception], ...] = (RuntimeError,) if others else ()
        try:
            made = run()
        except GossamerError as error:
            kind = "refused" if isinstance(error, FormatError) else type(error).__name__
            self.outcomes[f"{what}: {kind}"] += 1
            made = None
        except torch_too as error:
            self.outcomes[f"{what}: {type(error).__name__} of torch"] += 1
            made = None
        except BaseException as error:
            self.raw[f"{what}: {type(error).__name__}: {str(error)[:80]} ({label})"] += 1
            made = None
        else:
            self.outcomes[f"{what}: done"] += 1
        verb = what.rpartition(" ")[2]
        self.most[verb] = max(self.most[verb], _peak() - before)
        return made

    def file(self, path: Path, label: str, samples: Sequence[torch.Tensor]) -> None:
        """Load a file by torch and by the runtime, and call what loads."""
        net = self.trial("load", label, lambda: gs.load(path))
        for x in samples if net is not None else ():
            resized = x.shape[1:] != samples[0].shape[1:]  # to a size that the file does not describe
            self.trial("call", label, lambda x=x: net(x), others=resized)
        run = self.trial("runtime load", label, lambda: Runtime(path, exact=False))
        for x in samples if run is not None else ():
            self.trial("runtime call", label, lambda x=x: run(x.numpy()))


def _peak() -> int:
    """Bytes of memory that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def child(first: int, count: int, room: int) -> None:
    """Mutations ``first`` to ``first + count``; one JSON line. The number of each goes to the error stream first."""
    if room:
        resource.setrlimit(resource.RLIMIT_AS, (room << 30, room << 30))
    found = Found()
    with tempfile.TemporaryDirectory() as folder:
        samples, target = {}, Path(folder) / "mutated"
        for kind in KINDS:
            net, x = network(kind)
            gs.save(net, Path(folder) / kind)
            samples[kind] = [x, x[:0], *([torch.rand(2, 4, 34, 18)] if x.dim() == 4 else [])]
            found.file(Path(folder) / kind, kind, samples[kind])
        if found.raw or any(not outcome.endswith("done") for outcome in found.outcomes):
            raise RuntimeError(f"not all files run as they are: {found.outcomes} {found.raw}")
        found.outcomes.clear()
        for number in range(first, first + count):
            print(number, file=sys.stderr, flush=True)
            draw = random.Random(number)
            kind = draw.choice(sorted(KINDS))
            mutated(Path(folder) / kind, target, draw)
            found.file(target, f"{kind}, {number}", samples[kind])
    print(json.dumps({"found": found.outcomes, "raw": found.raw, "most": found.most}))


def main() -> None:
    """Chunks in processes of their own, so that a crash is seen."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="mutations")
    parser.add_argument("--first", type=int, default=0, help="number of the first one; a number is a seed")
    parser.add_argument("--room", type=int, default=12, help="GiB of addresses of a process; 0: no bound")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.first, asked.count, asked.room)
        return
    found, raw, died = Counter(), Counter(), []
    most = {"load": 0, "call": 0}
    for first in range(asked.first, asked.first + asked.count, CHUNK):
        number = min(CHUNK, asked.first + asked.count - first)
        numbers = ["--first", str(first), "--count", str(number), "--room", str(asked.room)]
        command = [sys.executable, __file__, "--child", *numbers]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (this very file)
        if done.returncode:
            died.append(
                {"first": first, "count": number, "code": done.returncode, "said": done.stderr[-300:]}
            )
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        found.update(row["found"])
        raw.update(row["raw"])
        most = {verb: max(size, row["most"][verb]) for verb, size in most.items()}
    report = {"mutations": asked.count, **found, "raw": raw, "died": died, "bytes_more": most}
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
