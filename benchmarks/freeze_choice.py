"""What freezing chooses: against the best forced form, against dense at other batch sizes, and how large files are.

(a) Ten freezes of 256-256-256-256-10 in blocks of 16 at 90 and 95 % zeros, for batch 1 and 16, beside every form that
can be forced. (b) An MLP and a small vision transformer at 90 % zeros, frozen for batch 1, beside the dense model at 2,
8, 32 and 128. (c) Bytes of files with exact, bfloat16 and int8 values. One thread; a round takes all in turn.
"""

from __future__ import annotations

import tempfile
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from harness import Row, arguments, pin, record
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer.errors import PatternError
from gossamer.layouts import layouts
from gossamer.measure import alternate

FREEZES, BATCHES = 10, (2, 8, 32, 128)


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class Attention(nn.Module):
    """Several heads over all tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.read, self.write = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        parts = self.read(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        written: Tensor = self.write(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return written


class Block(nn.Module):
    """Attention, then two layers, each behind a norm and around a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before, self.attention, self.between = (
            nn.LayerNorm(width),
            Attention(width, heads),
            nn.LayerNorm(width),
        )
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before(x))
        return x + self.layers(self.between(x))


class Transformer(nn.Module):
    """Four blocks of width 192 over 64 patches of an image of 32 x 32."""

    def __init__(self, width: int = 192, blocks: int = 4, heads: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.places = nn.Parameter(torch.randn(1, 64, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        y: Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return y


NETWORKS = {
    "mlp 784-1000-1000-10": (lambda: perceptron(784, 1000, 1000, 10), (784,), ()),
    "vit 4 x 192": (Transformer, (3, 32, 32), ("patches", "head")),
}


def forced(model: nn.Sequential, x: Tensor) -> dict[str, gs.freezing.Frozen]:
    """The network in every form that can be forced: for all layers, or for all but the last, which is then dense."""
    names = [name for name, _ in model.named_children() if name.isdigit() and int(name) % 2 == 0]
    made = {}
    for name in layouts:
        for label, layers in ((name, names), (f"{name}, dense", names[:-1])):
            try:
                keep = dict.fromkeys(layers, name)
                made[label] = gs.freeze(model, x, keep=keep, candidates=["dense"])
            except PatternError:
                continue
    return made


def repeated(density: float, batch: int, seconds: float) -> Row:
    """(a): ten freezes against the best forced form."""
    model = perceptron(256, 256, 256, 256, 10)
    gs.sparsify(model, density, gs.Block(16), "uniform", dense_last=True)
    x = torch.randn(batch, 256)
    rivals = forced(model, x)
    frozen = {f"freeze {number}": gs.freeze(model, x) for number in range(FREEZES)}
    calls: dict[str, Any] = {name: partial(net, x) for name, net in (rivals | frozen).items()}
    times = {name: timing.p10 for name, timing in alternate(calls, seconds=seconds).items()}
    best = min(rivals, key=times.__getitem__)
    ratios = [times[name] / times[best] for name in frozen]
    plans = {tuple(layer["runs"][0] for layer in net.plan["layers"]) for net in frozen.values()}
    return {
        "density": density, "batch": batch, "best_forced": best, "forced": {n: times[n] for n in rivals},
        "ratios": ratios, "worst": max(ratios), "plans": len(plans),
    }  # fmt: skip


def against_dense(name: str, seconds: float) -> list[Row]:
    """(b): frozen for batch 1, called with more."""
    make, shape, skip = NETWORKS[name]
    dense, model = make().eval(), make()
    gs.sparsify(model, 0.1, skip=skip)
    frozen = gs.freeze(model.eval(), torch.randn(1, *shape))
    rows = []
    for batch in BATCHES:
        x = torch.randn(batch, *shape)
        calls = {"dense": partial(dense, x), "unfrozen": partial(model, x), "frozen": partial(frozen, x)}
        with torch.no_grad():
            times = {key: timing.median for key, timing in alternate(calls, seconds=seconds).items()}
        classes = [(row["batch"], row["up_to"]) for row in frozen.plan["batches"]]
        rows.append(
            {
                "network": name,
                "batch": batch,
                **times,
                "ratio": times["frozen"] / times["dense"],
                "classes": classes,
            }
        )
    return rows


def files() -> list[Row]:
    """(c): bytes of the file for each type of values, and for each preference."""
    rows = []
    for density in (0.1, 1.0):
        model = perceptron(784, 300, 100, 10)
        if density < 1:
            gs.sparsify(model, density, gs.Unstructured(), "uniform")
        for prefer in ("speed", "size"):
            sizes = {}
            for values in ("exact", "bfloat16", "int8"):
                with tempfile.TemporaryDirectory() as folder:
                    gs.save(
                        gs.freeze(model, torch.randn(1, 784), values=values, prefer=prefer),
                        Path(folder) / "n",
                    )
                    sizes[values] = (Path(folder) / "n").stat().st_size
            rows.append({"network": "mlp 784-300-100-10", "density": density, "prefer": prefer, **sizes})
    return rows


def main() -> None:
    options = arguments(__doc__ or "", cores="0", seconds=6.0)
    torch.set_num_threads(pin(options.cores))
    torch.manual_seed(0)
    choices = [repeated(density, batch, options.seconds) for density in (0.1, 0.05) for batch in (1, 16)]
    for row in choices:
        print(
            row["density"],
            row["batch"],
            row["best_forced"],
            f"worst {row['worst']:.3f}, plans {row['plans']}",
        )
    beyond = [row for name in NETWORKS for row in against_dense(name, options.seconds)]
    for row in beyond:
        print(row["network"], row["batch"], f"{row['ratio']:.3f} of dense", row["classes"])
    sizes = files()
    for row in sizes:
        print(row)
    record("freeze_choice", {"choices": choices, "batches": beyond, "files": sizes})


if __name__ == "__main__":
    main()
