"""What every benchmark shares: arguments, the machine's fingerprint, and JSON results in one place."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gossamer.measure import machine

RESULTS = Path(__file__).parent / "results"
RUNS = Path(__file__).parent / "runs"  # unfinished work, not in git


def arguments(description: str, **options: Any) -> argparse.Namespace:
    """Command-line options ``--name value`` with the types of their defaults."""
    parser = argparse.ArgumentParser(description=description)
    for name, default in options.items():
        kind = {"action": "store_true"} if default is False else {"type": type(default), "default": default}
        parser.add_argument(f"--{name.replace('_', '-')}", **kind)
    return parser.parse_args()


def record(name: str, result: dict[str, Any]) -> None:
    """Write ``results/<name>.json``: the result, the command that made it, and the machine."""
    document = {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "machine": machine(),
        **result,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"wrote {path}")


def remembered(name: str, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A run's result: made once and kept in ``runs/<name>.jsonl``, so that a killed benchmark goes on where it was."""
    RUNS.mkdir(exist_ok=True)
    path = RUNS / f"{name}.jsonl"
    for line in path.read_text().splitlines() if path.exists() else []:
        row = json.loads(line)
        if row["key"] == key:
            return dict(row["result"])
    result = make()
    with path.open("a") as file:
        file.write(json.dumps({"key": key, "result": result}) + "\n")
    return result
