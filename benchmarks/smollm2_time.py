"""All 210 products of SmolLM2-135M, dense and pruned, for one token and for a prompt of 256; in turns.

The matrices are those of the blocks, each with weights of its own: together they are larger than any cache, as in a
model that is read once a token. Attention, norms and the head are left out. Weights are drawn: times do not depend on
them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from harness import Row, arguments, pin, record
from smollm2_model import Sizes
from torch import Tensor, nn

import gossamer as gs
from gossamer.measure import alternate, nbytes

FORMS = [
    ("unstructured", 0.5), ("unstructured", 0.3), ("unstructured", 0.1), ("fanin", 0.5), ("fanin", 0.3),
    ("fanin:4", 0.3), ("fanin:8", 0.1), ("nm:2:4", 0.5), ("nm:1:8", 0.125),
]  # fmt: skip


def matrices(blocks: int) -> nn.ModuleList:
    """The linear layers of a model, in the order in which they are read."""
    s, one = Sizes(), Sizes().width // Sizes().heads
    shapes = [(s.width, s.width), (s.width, s.shared * one), (s.width, s.shared * one), (s.width, s.width)]
    shapes += [(s.width, s.hidden), (s.width, s.hidden), (s.hidden, s.width)]
    layers = [nn.Linear(*shape, bias=False) for _ in range(blocks) for shape in shapes]
    return nn.ModuleList(layers).requires_grad_(requires_grad=False)


def products(layers: nn.ModuleList, tokens: int, dtype: torch.dtype) -> Callable[[], None]:
    """Multiply by all of them once."""
    inputs = {width: torch.randn(tokens, width).to(dtype) for width in (Sizes().width, Sizes().hidden)}
    pairs: list[tuple[nn.Module, Tensor]] = [(layer, inputs[layer.in_features]) for layer in layers]

    def run() -> None:
        with torch.inference_mode():
            for layer, x in pairs:
                layer(x)

    return run


def pruned(blocks: int, pattern: str, density: float) -> nn.ModuleList:
    """The same layers, sparse."""
    layers = matrices(blocks)
    gs.prune(layers, density, pattern, allocation="uniform")
    return layers


def held(layers: nn.ModuleList) -> int:
    """Bytes of weights and indices."""
    return nbytes([*layers.parameters(), *layers.buffers()])


def main() -> None:
    """Each form beside both dense ones, in turns."""
    options = arguments(__doc__ or "", cores="0", seconds=20.0, blocks=Sizes().blocks)
    torch.set_num_threads(pin(options.cores))
    torch.manual_seed(0)
    dense = {
        name: matrices(options.blocks).to(dtype)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }
    rows: list[Row] = []
    for pattern, density in FORMS:
        ours = pruned(options.blocks, pattern, density)
        for tokens in (1, 256):
            calls = {
                name: products(layers, tokens, next(layers.parameters()).dtype)
                for name, layers in dense.items()
            }
            times = alternate(
                {**calls, "ours": products(ours, tokens, torch.float32)}, seconds=options.seconds
            )
            row = {"pattern": pattern, "density": density, "tokens": tokens, "bytes": held(ours)}
            row |= {f"{name}_ms": round(time.median * 1e3, 3) for name, time in times.items()}
            row |= {f"{name}_p10_ms": round(time.p10 * 1e3, 3) for name, time in times.items()}
            rows.append(row)
            print(row, flush=True)
    sizes = {f"{name}_bytes": held(layers) for name, layers in dense.items()}
    record("smollm2_time", {"blocks": options.blocks, **sizes, "rows": rows})


if __name__ == "__main__":
    main()
