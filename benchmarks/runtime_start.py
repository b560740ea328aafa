"""What it takes to run a frozen network without torch: bytes installed, time until the first answer, time of a call.

Processes are started in turns, with files in the page cache; times are medians.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from itertools import pairwise
from pathlib import Path
from statistics import median

import harness
import numpy as np
import torch

import gossamer as gs
from gossamer.measure import alternate
from gossamer.runtime import Runtime

WIDTHS, DENSITY = (784, 512, 256, 10), 0.1
BASE = ("numpy", "safetensors", "pydantic")
ROOTS = {"without torch": BASE, "with torch": (*BASE, "torch")}
STARTS = {
    "without torch": "import numpy as np; from gossamer.runtime import Runtime as load; wrap = np.asarray",
    "with torch": "import numpy as np, torch; from gossamer import load; load; wrap = torch.from_numpy",
}
CHILD = """
import json, sys, time
began = time.perf_counter()
{start}
imported = time.perf_counter()
net = load(sys.argv[1])
loaded = time.perf_counter()
net(wrap(np.ones((1, {inputs}), np.float32)))
print(json.dumps([imported - began, loaded - imported, time.perf_counter() - loaded]))
"""


def needed(roots: tuple[str, ...]) -> set[str]:
    """Packages and what they require, without extras, as far as it is installed."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        try:
            required = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            waiting += [re.split(r"[^\w.-]", each)[0] for each in required if "extra ==" not in each]
    return found


def installed(names: set[str]) -> int:
    """Bytes of all their files, compiled Python left out."""
    files = [file.locate() for name in names for file in distribution(name).files or ()]
    return sum(
        Path(file).stat().st_size for file in files if Path(file).suffix != ".pyc" and Path(file).is_file()
    )


def package() -> int:
    """Bytes of Gossamer itself, the core among them."""
    files = Path(gs.__file__).parent.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc")


def start(kind: str, path: Path) -> list[float]:
    """Seconds to import, to load and to answer, in a new process."""
    script = CHILD.format(start=STARTS[kind], inputs=WIDTHS[0])
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 (our own script)
    times: list[float] = json.loads(done.stdout)
    return times


def main() -> None:
    """Make the network, start processes, time calls."""
    options = harness.arguments(__doc__, starts=15, seconds=4.0, cores="0", write=False)
    torch.set_num_threads(harness.pin(options.cores))
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for n_in, n_out in pairwise(WIDTHS):
        layers += [gs.SparseLinear(n_in, n_out, density=DENSITY), torch.nn.ReLU()]
    frozen = gs.freeze(torch.nn.Sequential(*layers[:-1]), torch.randn(1, WIDTHS[0]), keep="csr")
    path = Path(tempfile.mkdtemp()) / "net.safetensors"
    gs.save(frozen, path)
    for kind in STARTS:
        start(kind, path)  # fills the page cache
    times = [{kind: start(kind, path) for kind in STARTS} for _ in range(options.starts)]
    names = ("import", "load", "first answer")
    starts = {
        kind: {name: median(each[kind][place] for each in times) for place, name in enumerate(names)}
        for kind in STARTS
    }
    runtime, calls = Runtime(path), {}
    for batch in (1, 64):
        x = np.ones((batch, WIDTHS[0]), np.float32)
        tensor = torch.from_numpy(x)
        ways = {"Runtime": lambda x=x: runtime(x), "Frozen": lambda x=tensor: frozen(x)}
        taken = alternate(ways, seconds=options.seconds)
        calls[batch] = {name: each.median for name, each in taken.items()}
    bytes_needed = {kind: installed(needed(roots)) + package() for kind, roots in ROOTS.items()}
    result = {"widths": WIDTHS, "density": DENSITY, "bytes": bytes_needed, "seconds": starts, "calls": calls}
    print(json.dumps(result, indent=1))
    if options.write:
        harness.record("runtime_start", result)


if __name__ == "__main__":
    main()
