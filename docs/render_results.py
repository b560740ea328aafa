"""Fill the tables of README and documentation from ``benchmarks/results``: ``python docs/render_results.py``.

A page holds markers; what stands between them is replaced and never written by hand:

    <!-- results:NAME -->
    ...
    <!-- /results -->

NAME is a view of one of the ``*_tables.py`` beside this script. Pictures of results are written to ``docs/assets``.
With ``--check`` nothing is written, and a page or picture that is out of date is an error.
"""
# ruff: noqa: INP001, T201 (a script that prints)

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

import diffusion_tables
import estimator_tables  # noqa: F401 - registers its views
import freeze_tables  # noqa: F401 - same
import layer_tables  # noqa: F401 - same
import matrix_tables  # noqa: F401 - same
import network_tables  # noqa: F401 - same
import parallel_tables
import peer_tables  # noqa: F401 - same
import permutation_tables  # noqa: F401 - same
import pruned_tables  # noqa: F401 - same
import rank_tables  # noqa: F401 - same
import readme_tables  # noqa: F401 - same
import result_figures
import scale_tables
import set_tables
import size_tables  # noqa: F401 - same
import topology_tables
from result_tables import VIEWS

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "docs" / "assets"
RESULTS = ROOT / "benchmarks" / "results"
MARKER = re.compile(r"(<!-- results:(?P<name>[\w-]+) -->\n).*?(<!-- /results -->)", re.DOTALL)
PICTURES = {
    "diffusion": ("diffusion", diffusion_tables.thresholds_drawn),
    "diffusion-scale": ("diffusion", diffusion_tables.scale_drawn),
    "speed": ("mlp_speed", result_figures.speed),
    "layers": ("layer_inference", result_figures.layers),
    "pixels": ("mnist_rigl", result_figures.pixels),
    "parallel": ("parallel", parallel_tables.curves),
    "scale": ("scale", scale_tables.curves),
    "set-curves": ("set_mlp", set_tables.curves),
    "topology-travel": ("topology_travel", topology_tables.curves),
}


def load(source: str) -> dict[str, Any] | None:
    """A result document, or None where it has not been measured."""
    path = RESULTS / f"{source}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def block(name: str) -> str:
    """What stands between the markers of a view."""
    if name not in VIEWS:
        raise SystemExit(f"render_results: expected one of {', '.join(VIEWS)}, got {name!r}")
    chosen = VIEWS[name]
    result = load(chosen.source)
    if result is None:
        return f"*Not measured yet:* `{chosen.command}`\n"
    try:
        drawn = chosen.draw(result)
    except KeyError as error:
        raise SystemExit(
            f"render_results: {chosen.source}.json has no {error}; measure again, or adapt the view {name!r}"
        ) from None
    if name.endswith("-picture"):
        return f"{drawn}\n"
    return f"{drawn}\n\n`{result['command']}` on {machine(result['machine'])}\n"


def machine(facts: dict[str, Any]) -> str:
    """One line about where a result was measured."""
    sets = [
        name for name in facts.get("instruction_sets", []) if name.startswith(("amx", "avx", "neon", "sve"))
    ]
    return f"{facts['cpu']} ({', '.join(sets)}), {facts['cores']} cores, torch {facts['torch']}"


def render(text: str, assets: str = "assets") -> str:
    """A page with every marked block filled; ``assets`` is the way from the page to the pictures."""

    def fill(match: re.Match[str]) -> str:
        return f"{match[1]}{block(match['name']).replace('(ASSETS/', f'({assets}/')}{match[3]}"

    return MARKER.sub(fill, text)


def wanted() -> Iterable[tuple[Path, str]]:
    """(file, text) of every page and picture as it should be."""
    for page in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]):
        assets = os.path.relpath(ASSETS, page.parent)
        yield page, render(page.read_text(encoding="utf-8"), assets)
    for name, (source, draw) in PICTURES.items():
        if (result := load(source)) is not None:
            yield ASSETS / f"{name}.svg", str(draw(result))


def main() -> int:
    """Rewrite pages and pictures, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where something is out of date"
    )
    check, stale = parser.parse_args().check, []
    for path, text in wanted():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(text, encoding="utf-8")
    if stale:
        print("out of date:" if check else "rendered:", ", ".join(stale))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
