"""What every benchmark shares: arguments, cores, the machine's fingerprint, and JSON results in one place."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gossamer.measure import machine

RESULTS = Path(__file__).parent / "results"
RUNS = Path(__file__).parent / "runs"  # unfinished work, not in git
Row = dict[str, Any]
STARTED = time.perf_counter()


def arguments(description: str, **options: Any) -> argparse.Namespace:
    """Command-line options ``--name value`` with the types of their defaults."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in options.items():
        kind = {"action": "store_true"} if default is False else {"type": type(default), "default": default}
        parser.add_argument(f"--{name.replace('_', '-')}", **kind)
    return parser.parse_args()


def pin(cores: str) -> int:
    """Keep this process, and those it starts, on cores such as ``0`` or ``0,1``; returns how many."""
    wanted = {int(core) for core in cores.split(",")}
    if hasattr(os, "sched_setaffinity"):
        if not wanted <= (there := os.sched_getaffinity(0)):
            raise SystemExit(f"benchmark: expected cores out of {sorted(there)}, got {cores}")
        os.sched_setaffinity(0, wanted)
    return len(wanted)


def shared_file(name: str) -> Path:
    """A file in a folder of GOSSAMER_DATA; without it there is nothing to measure."""
    folders = [Path(entry) for entry in os.environ.get("GOSSAMER_DATA", "").split(os.pathsep) if entry]
    found = [folder / name for folder in folders if (folder / name).is_file()]
    if not found:
        raise SystemExit(f"benchmark: expected {name} in a folder of GOSSAMER_DATA, found it in none")
    return found[0]


def record(name: str, result: Row, folder: Path = RESULTS) -> None:
    """Write ``results/<name>.json``: the result, the command that made it, and the machine."""
    document = {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "machine": machine(),
        **result,
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"wrote {path} after {time.perf_counter() - STARTED:.0f} s")


def known(name: str) -> dict[str, Row]:
    """Every run kept in ``runs/<name>.jsonl``, by its key."""
    path = RUNS / f"{name}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["key"]: row["result"] for row in map(json.loads, lines)}


def remembered(name: str, key: str, make: Callable[[], Row]) -> Row:
    """A run's result: made once and kept in ``runs/<name>.jsonl``, so that a killed benchmark goes on where it was."""
    if (before := known(name).get(key)) is not None:
        return before
    RUNS.mkdir(exist_ok=True)
    result = make()
    with (RUNS / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps({"key": key, "result": result}) + "\n")
    return result


def gather(name: str, cases: list[Row], measure: Callable[[Row], Row], *, fresh: bool) -> list[Row]:
    """Measure the cases that are not known yet, or all; returns every known row, case and measurement in one."""
    if fresh:
        (RUNS / f"{name}.jsonl").unlink(missing_ok=True)
    for case in cases:
        key = " ".join(map(str, case.values()))
        remembered(name, key, lambda case=case: {**case, **measure(case)})
        print(f"{key} ({time.perf_counter() - STARTED:.0f} s)", flush=True)
    return sorted(known(name).values(), key=lambda row: tuple(row.get(part, "") for part in case))
