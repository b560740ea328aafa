"""The base install as a user meets it, in an environment without torch. usage: smoke.py PATH OF THE SCRIPT gossamer."""

from __future__ import annotations

import ctypes
import importlib.util
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

    for command in ([script, "--version"], [sys.executable, "-m", "gossamer", "demo"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(f"{Path(command[0]).name} {command[-1]}: {done.stderr.strip()}")
        assert done.returncode == 1, done
        assert HINT in done.stderr, done.stderr
        assert "Traceback" not in done.stderr


if __name__ == "__main__":
    main(*sys.argv[1:])
