"""What every benchmark shares: arguments, the machine's fingerprint, and JSON results in one place."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from gossamer.measure import machine

RESULTS = Path(__file__).parent / "results"


def arguments(description: str, **options: Any) -> argparse.Namespace:
    """Command-line options ``--name value`` with the types of their defaults."""
    parser = argparse.ArgumentParser(description=description)
    for name, default in options.items():
        kind = {"action": "store_true"} if default is False else {"type": type(default), "default": default}
        parser.add_argument(f"--{name.replace('_', '-')}", **kind)
    return parser.parse_args()


def record(name: str, result: dict[str, Any]) -> None:
    """Write ``results/<name>.json``: the result, the command that made it, and the machine."""
    document = {"command": " ".join(["python", *sys.argv]), "machine": machine(), **result}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"wrote {path}")
