"""Time and memory of the distance of two random layers by width, density and way of matching; a process each."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from harness import Row, arguments, gather, record

from gossamer.measure import peak_memory
from gossamer.patterns import Unstructured
from gossamer.topology import Topology, nnstd

WIDTHS = (1000, 2000, 5000, 10_000)
LARGEST = 20_000  # by greedy matching alone
DENSITIES = (0.01, 0.05)


def drawn(width: int, density: float, seed: int) -> Topology:
    """Any connections, at random."""
    pattern, shape = Unstructured(), (width, width)
    generator = torch.Generator().manual_seed(seed)
    units = pattern.budget(density, shape)
    return Topology(pattern, shape, pattern.sample(units, pattern.grid(shape), generator))


def worker(width: int, density: float, matching: str) -> None:
    """Measure one pair of layers, and print it."""
    one, two = (drawn(width, density, seed) for seed in (0, 1))
    began, busy = time.perf_counter(), time.process_time()
    found = nnstd(one, two, matching=matching)
    row = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - busy}
    print(json.dumps({**row, "distance": found.value, "unmatched": found.unmatched}))


def measured(case: Row) -> Row:
    """One case in a process of its own."""
    given = [str(case[part]) for part in ("width", "density", "matching", "threads")]
    peak = peak_memory([sys.executable, str(Path(__file__)), "worker", *given], timeout=7200)
    return {**json.loads(peak.stdout), "peak_bytes": peak.peak_bytes}


def main() -> None:
    """Every case that is not known yet."""
    options = arguments(__doc__ or "", threads=1, fresh=False, widest=LARGEST, densest=1.0)
    bare = peak_memory([sys.executable, str(Path(__file__)), "worker", "2", "1", "identity", "1"]).peak_bytes
    cases = [
        {"width": width, "density": density, "matching": matching, "threads": options.threads}
        for width in (*WIDTHS, LARGEST)
        for density in DENSITIES
        for matching in ("hungarian", "greedy")
        if width <= options.widest
        and density <= options.densest
        and (width < LARGEST or matching == "greedy")
    ]
    known = gather("topology_speed", cases, measured, fresh=options.fresh)
    rows = [row for row in known if {part: row[part] for part in cases[0]} in cases]
    record("topology_speed", {"bare_bytes": bare, "rows": rows})


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        torch.set_num_threads(int(sys.argv[5]))
        worker(int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
    else:
        main()
