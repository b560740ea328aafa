"""The base install as a user meets it, in an environment without torch. usage: smoke.py PATH OF THE SCRIPT gossamer."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path

HINT = "pip install 'gossamer[train]'"


def main(script: str) -> None:
    """Import, open the core, and ask for what needs torch and the command line."""
    for package in ("torch", "typer"):
        assert importlib.util.find_spec(package) is None, f"{package} is there: the environment is not empty"
    import gossamer as gs

    assert Path(gs.__file__).is_relative_to(sys.prefix), gs.__file__
    assert gs.__version__ == metadata.version("gossamer")
    assert resources.files(gs).joinpath("py.typed").is_file()

    from gossamer.kernels import instruction_set
    from gossamer.kernels.cpu import library

    core = library.find()
    assert isinstance(core, ctypes.CDLL), library.why_missing()
    print(f"gossamer {gs.__version__} with a core for {instruction_set()}")

    try:
        gs.sparsify  # noqa: B018
    except ModuleNotFoundError as error:
        print(f"gossamer.sparsify: {error}")
        assert "the package torch" in str(error)
        assert HINT in str(error)
    else:
        raise AssertionError("gossamer.sparsify came without torch")

    import numpy as np

    from gossamer.runtime import Runtime

    folder = Path(__file__).parents[1] / "tests" / "data" / "artifacts"
    row = json.loads((folder / "expected.json").read_text())["int8"]
    x = np.linspace(-1, 1, int(np.prod(row["input"])), dtype=np.float32).reshape(row["input"])
    y = Runtime(folder / "int8.safetensors")(x)
    assert np.allclose(y, np.reshape(row["output"], row["shape"]), rtol=1e-5, atol=1e-5)
    print(f"a file of {row['input'][1]} inputs ran without torch: {y.shape[0]} answers")

    for command in ([script, "--version"], [sys.executable, "-m", "gossamer", "demo"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(f"{Path(command[0]).name} {command[-1]}: {done.stderr.strip()}")
        assert done.returncode == 1, done
        assert HINT in done.stderr, done.stderr
        assert "Traceback" not in done.stderr


if __name__ == "__main__":
    main(*sys.argv[1:])
