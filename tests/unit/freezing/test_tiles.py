"""Layouts for a matrix unit: bfloat16 as torch rounds it, the same bits without the unit, what is not finite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

import gossamer as gs
from gossamer.errors import PatternError
from gossamer.kernels.cpu import available_isas, library
from gossamer.kernels.cpu.chain import Chain
from gossamer.layouts import layout
from gossamer.layouts.connections import Connections
from gossamer.layouts.values import rounded
from gossamer.trace.tensors import tensor_of

UNIT = library.MATRIX_UNIT
FORMS = {"tiles": "unstructured", "shared_tiles": "fanin:16"}
BYTES = {"tile_bytes": "unstructured", "shared_tile_bytes": "fanin:16"}
WIDTHS = (70, 48, 32, 16)
# A process whose system refuses the unit: a filter answers EPERM to the request for it, and lets all else pass.
REFUSED = """
import ctypes, struct
LOAD, IS, RETURN = 0x20, 0x15, 0x06
AUDIT_X86_64, ARCH_PRCTL, ASK, EPERM = 0xC000003E, 158, 0x1023, 0x00050001
program = b"".join(struct.pack("HBBI", *row) for row in [
    (LOAD, 0, 0, 4), (IS, 0, 5, AUDIT_X86_64), (LOAD, 0, 0, 0), (IS, 0, 3, ARCH_PRCTL),
    (LOAD, 0, 0, 16), (IS, 0, 1, ASK), (RETURN, 0, 0, EPERM), (RETURN, 0, 0, 0x7FFF0000),
])
held = ctypes.create_string_buffer(program, len(program))
filter = struct.pack("HxxxxxxP", 8, ctypes.addressof(held))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
if libc.prctl(22, 2, ctypes.c_char_p(filter)):
    print("no filter"); raise SystemExit
"""
RUN = """
import sys, torch, gossamer as gs
frozen = gs.load(sys.argv[1])
torch.save([frozen(x) for x in torch.load(sys.argv[2])], sys.argv[3])
print(frozen.explain())
"""


def held(dense: torch.Tensor) -> Connections:
    """The layer of all numbers that are not zero."""
    flat = dense.reshape(-1).numpy()
    positions = np.flatnonzero(flat != 0)
    return Connections(tuple(dense.shape), positions, flat[positions])


def run(name: str, layer: Connections, x: torch.Tensor, isa: str | None = None) -> torch.Tensor:
    encoded = layout(name).encode(layer, layout(name).runs(layer))
    parts = {"values": encoded.values, "index": list(encoded.index.values())}
    return Chain([{"layout": name, "shape": encoded.dims, **parts}], isa=isa)(x)


def drawn(n_out: int, n_in: int) -> Connections:
    """Groups of 16 that share their inputs, which are no tile's."""
    read = (torch.rand(-(-n_out // 16), n_in) < 0.3).repeat_interleave(16, 0)[:n_out]
    read[:, 0] = True
    return held(torch.randn(n_out, n_in) * read)


def network(mlp, name):
    return mlp((FORMS | BYTES)[name], 0.3, WIDTHS)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("batch", [1, 5, 16, 97])
def test_frozen_computes_the_rounded_network(mlp, tmp_path, name, batch):
    model, x = network(mlp, name), torch.randn(batch, 70)
    frozen = gs.freeze(model, x, keep=name, compute="bfloat16")
    y = x
    for module in model:
        if isinstance(module, gs.SparseLinear):
            dense = held(module.to_dense().detach())
            w = tensor_of(rounded(dense, "bfloat16").wide().dense())
            y = (y.bfloat16().double() @ w.double().t() + module.bias.double()).float().detach()
        else:
            y = module(y)
    assert (
        frozen(x) - y
    ).abs().max() <= 0.005 * y.abs().max()  # an output between layers may round the other way
    assert {row["compute"] for row in frozen.plan["layers"]} == {"bfloat16"}
    assert "arithmetic in bfloat16" in frozen.explain()
    gs.save(frozen, tmp_path / "net.safetensors")
    loaded = gs.load(tmp_path / "net.safetensors")
    assert torch.equal(loaded(x), frozen(x))
    assert loaded.explain() == frozen.explain()
    exact = gs.freeze(model, x, keep="csr")
    gs.save(exact, tmp_path / "exact.safetensors")
    sizes = [(tmp_path / f"{each}.safetensors").stat().st_size for each in ("net", "exact")]
    assert sizes[0] <= 1.2 * sizes[1], "zeros of tiles are no part of a file"


def test_they_run_only_where_they_are_allowed(mlp):
    with pytest.raises(PatternError, match="compute='float32' does not allow"):
        gs.freeze(network(mlp, "tiles"), torch.randn(2, 70), keep="tiles")
    with pytest.raises(PatternError, match="share their inputs by sixteen"):
        gs.freeze(mlp("unstructured"), torch.randn(2, 32), keep="shared_tiles", compute="bfloat16")


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("shape", [(16, 1), (48, 33), (32, 700)])
def test_instruction_sets_agree_to_the_bit(name, shape):
    layer = drawn(*shape)
    for batch in (1, 15, 33, 100):
        x = torch.randn(batch, shape[1]) * 1e3
        first, *others = (
            run(name, layer, laid, isa) for isa in available_isas() for laid in (x, x.t().contiguous().t())
        )
        assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("name", FORMS | BYTES)
@pytest.mark.parametrize("refused", [False, True])
def test_a_process_without_the_unit_gives_the_same_bits(mlp, tmp_path, name, refused):
    """One whose system does not grant it, and one that is told to use a lower instruction set."""
    xs = [torch.randn(batch, 70) for batch in (1, 3, 16, 40, 64)]
    how = {"values": "int8", "compute": "int8"} if name in BYTES else {"compute": "bfloat16"}
    frozen = gs.freeze(network(mlp, name), xs[0], keep=name, **how)
    gs.save(frozen, tmp_path / "net.safetensors")
    torch.save(xs, tmp_path / "xs")
    files = [str(tmp_path / each) for each in ("net.safetensors", "xs", "ys")]
    env = {**os.environ, "GOSSAMER_ISA": "" if refused else available_isas()[0]}
    code = RUN if not refused else REFUSED + RUN
    if refused and library.matrix_unit():
        pytest.skip(f"nothing to refuse: {library.matrix_unit()}")
    done = subprocess.run(
        [sys.executable, "-c", code, *files],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if done.stdout.startswith("no filter"):
        pytest.skip("this system allows no filters")
    assert all(torch.equal(y, frozen(x)) for x, y in zip(xs, torch.load(files[2]), strict=True))
    note = f"note: {UNIT[3]}: {name} gives the same bits without it, and takes longer"
    assert (note in done.stdout) == refused


def test_threads_that_start_later_have_the_unit(mlp):
    """The system grants it to a process, so also to threads that were there, or come."""
    model, x = network(mlp, "tiles"), torch.randn(40, 70)
    frozen = gs.freeze(model, x, keep="tiles", compute="bfloat16")
    expected, found = frozen(x), []
    threads = [threading.Thread(target=lambda: found.append(frozen(x))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(torch.equal(each, expected) for each in found)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_what_is_not_finite_reaches_who_reads_it(name, isa, bad):
    """As torch's product of bfloat16; and for tiles, as in a dense layer, who shares a tile with a reader: 0 * inf."""
    read = torch.zeros(48, 40)
    read[:16, 3], read[16:, 39], read[16:, 20] = 2, -1, 0.5
    read[0, 3] = 0 if name == "tiles" else 2
    read[0, 5] = read[0, 3] - 2  # reads something else of the same tile
    x = torch.rand(20, 40) + 1
    x[4, 3] = bad
    y = run(name, held(read), x, isa)
    as_torch = (x.bfloat16() @ read.bfloat16().t()).float()
    assert torch.equal(y[4, 1:16].isnan(), as_torch[4, 1:16].isnan())
    assert not y[4, :16].isfinite().any()
    assert y[4, 32:].isfinite().all() if name == "shared_tiles" else y[4, 16:].isnan().all()
    assert y[[i for i in range(20) if i != 4]].isfinite().all()


@pytest.mark.parametrize("isa", available_isas())
def test_shared_tiles_never_multiply_an_input_that_nobody_reads(isa):
    """Padding of tiles reads zeros, not inputs."""
    read = torch.zeros(32, 65)
    read[:16, :33] = 1
    x = torch.ones(3, 65)
    x[1, 33:] = float("inf")
    y = run("shared_tiles", held(read), x, isa)
    assert torch.equal(y[:, :16], torch.full((3, 16), 33.0))
    assert not y[:, 16:].any()


@pytest.mark.parametrize("isa", available_isas())
def test_numbers_beyond_bfloat16_become_infinite(isa):
    """The largest floats round up, as torch rounds them; the smallest count as zero, as in the unit."""
    x = torch.tensor([[3.4e38, 1e-39, 1.0]])
    read = torch.zeros(16, 3)
    for i in range(3):
        read[i, i] = 1
    y = run("tiles", held(read), x.clamp(max=3.3e38), isa)
    assert y[0, 0].item() == torch.tensor(3.3e38).bfloat16().item()
    assert y[0, 1].item() == 0
    assert not run("tiles", held(read), x, isa)[0, :3].isfinite().any()


def test_an_artifact_names_the_arithmetic_and_no_tiles(mlp, tmp_path):
    from safetensors import safe_open

    frozen = gs.freeze(network(mlp, "tiles"), torch.randn(2, 70), keep="tiles", compute="bfloat16")
    gs.save(frozen, tmp_path / "net.safetensors")
    with safe_open(tmp_path / "net.safetensors", framework="np") as file:
        nodes = json.loads(str(file.metadata()["gossamer"]))["nodes"]
    stored = [node["layout"] for node in nodes if node["op"] == "linear"]
    assert stored
    assert all(layout(each).exact for each in stored)
