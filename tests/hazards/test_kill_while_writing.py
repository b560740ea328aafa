"""A process killed at any moment of writing a checkpoint leaves the previous one whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import gossamer as gs
from strategies import OPTIMIZERS, differences, everything, make_model, train_step

# Saves once, trains on, and is killed inside the second save, at the named place.
SCRIPT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import torch, gossamer as gs
from strategies import OPTIMIZERS, make_model, train_step
torch.set_num_threads(1)
model = make_model("packed", gs.FanIn())
optim = OPTIMIZERS["adam"](model.parameters())
engine = gs.attach(model, optim, gs.RigL(every=2), total_steps=20)
for step in range(3):
    train_step(model, optim, step)
gs.save_checkpoint({path!r}, model, optim, engine, gs.training.Extras(progress={{"step": 3}}))
for step in range(3, 6):
    train_step(model, optim, step)
kill = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL)
where = {where!r}
if where == "middle":
    import safetensors.torch
    def half(tensors, path, metadata):
        open(path, "wb").write(b"half a file" * 1000)
        kill()
    safetensors.torch.save_file = half
elif where == "end":
    real = os.replace
    os.replace = lambda a, b: (real(a, b), kill())
else:
    setattr(os, where, kill)
gs.save_checkpoint({path!r}, model, optim, engine, gs.training.Extras(progress={{"step": 6}}))
"""


@pytest.mark.parametrize(("where", "survivor"), [("middle", 3), ("fsync", 3), ("replace", 3), ("end", 6)])
def test_sigkill_while_writing_leaves_a_whole_checkpoint(where: str, survivor: int, tmp_path: Path) -> None:
    """Before the rename it is the old one, after it the new one; and training resumes from it."""
    path, tests = tmp_path / "run.safetensors", Path(__file__).parents[1]
    script = SCRIPT.format(tests=str(tests), path=str(path), where=where)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, check=False, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    model = make_model("packed", gs.FanIn(), seed=5)
    optim = OPTIMIZERS["adam"](model.parameters())
    engine = gs.attach(model, optim, gs.RigL(every=2), total_steps=20)
    assert gs.load_checkpoint(path, model, optim, engine) == {"step": survivor}
    twin = make_model("packed", gs.FanIn())
    twin_optim = OPTIMIZERS["adam"](twin.parameters())
    gs.attach(twin, twin_optim, gs.RigL(every=2), total_steps=20)
    for step in range(survivor):
        train_step(twin, twin_optim, step)
    for step in range(survivor, 8):
        assert train_step(model, optim, step) == train_step(twin, twin_optim, step)
    assert differences(everything(model, optim), everything(twin, twin_optim)) == []
    gs.save_checkpoint(path, model, optim, engine)  # leftovers of the dead process are not in the way
