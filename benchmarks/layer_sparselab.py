"""SparseLab's own benchmark (one product, batch 2048, 90 %), and the training step of one layer; one pinned core.

Ours and SparseLab's get inputs and gradients as [features, batch] in memory, which is what their kernels want; dense
torch as [batch, features]. SparseLab's input gradient has the transposed weight made beforehand. A step is forward and
both gradients through autograd. All of it takes about a minute and a half.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from harness import Row, arguments, gather, pin, record
from layer_calls import Call, connections_of, products, random_layer
from layer_cases import PATTERNS
from layer_rates import rates
from layer_rivals import INSTALLING, versions
from layer_timing import warm
from torch import Tensor
from torch.nn import functional as F

from gossamer.measure import threads
from gossamer.trace.tensors import tensor_of

OWN = ((1536, 384), (384, 1536), (2560, 640), (640, 2560))  # inputs, outputs
STEP = ((768, 3072), (3072, 768))


def cases() -> list[Row]:
    """SparseLab's own first, then the training steps."""
    own = [(shape, 90.0, 2048) for shape in OWN]
    steps = [
        (shape, sparsity, batch) for shape in STEP for batch in (128, 256) for sparsity in (90.0, 95.0, 98.0)
    ]
    names = ("batch", "inputs", "outputs", "sparsity")
    return [
        dict(zip(names, (batch, *shape, sparsity), strict=True)) for shape, sparsity, batch in own + steps
    ]


@torch.enable_grad()
def step(compute: Any, given: list[Tensor], grad: Tensor) -> Any:
    """Forward and the gradients of ``given``."""
    return torch.autograd.grad(compute(), given, grad)


def dense(w: Tensor, x: Tensor, grad: Tensor) -> dict[str, Call]:
    """Torch, batch-major."""
    wanted = [x.clone().requires_grad_(), w.clone().requires_grad_()]
    return {
        "forward": lambda: F.linear(x, w),
        "dX": lambda: grad @ w,
        "dW": lambda: grad.T @ x,
        "step": partial(step, lambda: F.linear(*wanted), wanted, grad),
    }


def sparselab(w: Tensor, x: Tensor, grad: Tensor) -> dict[str, Call]:
    """The calls of its own benchmark, feature-major; nothing where it is not installed."""
    try:
        import sparselab as peer
        from sparselab import _core, ops
    except ImportError:
        return {}
    ops._clear_transpose_cache()  # noqa: SLF001 (keyed by id(): it could take this weight for an earlier one)
    packed = peer.PaddedCSR.from_dense(w)
    turned, wanted = packed.transpose(), x.clone().requires_grad_()
    return {
        "forward": lambda: peer.spmm(packed, x),
        "dX": lambda: peer.spmm(turned, grad),
        "dW": lambda: _core.spmm_grad_w_simd(packed, grad.numpy(), x.numpy()),
        "step": partial(step, lambda: peer.spmm(packed, wanted), [wanted], grad),
    }


def ours(pattern: str, sparsity: float, x: Tensor, grad: Tensor) -> dict[str, Call]:
    """One pattern, on views of feature-major memory."""
    layer = random_layer(pattern, 1 - sparsity / 100, x.shape[1], grad.shape[1])
    wanted = x.detach().requires_grad_()
    return {
        **products(layer, x, grad),
        "step": partial(step, lambda: layer(wanted), [wanted, layer.values], grad),
    }


def measure(case: Row, seconds: float) -> Row:
    """The three products and the step: contender -> product -> time and rates."""
    generator = torch.Generator().manual_seed(1)
    x, grad = (torch.randn(case[n], case["batch"], generator=generator) for n in ("inputs", "outputs"))
    layer = random_layer("unstructured", 1 - case["sparsity"] / 100, case["inputs"], case["outputs"])
    w, shape = tensor_of(connections_of(layer).dense()), (case["inputs"], case["outputs"], case["batch"])
    contenders = {pattern: ours(pattern, case["sparsity"], x.T, grad.T) for pattern in PATTERNS}
    contenders["torch dense"] = dense(w, x.T.contiguous(), grad.T.contiguous())
    if found := sparselab(w, x, grad):
        contenders["SparseLab"] = found
    calls = {(name, part): call for name, parts in contenders.items() for part, call in parts.items()}
    with torch.no_grad():
        times = warm(calls, seconds)
    measured: dict[str, dict[str, Any]] = {name: {} for name in contenders}
    for (name, part), took in times.items():
        used, parts = (w.numel() if name == "torch dense" else layer.connections), 3 if part == "step" else 1
        measured[name][part] = rates(took, used, 0, shape, parts)
    return {"contenders": measured}


def main() -> None:
    """All cases."""
    options = arguments(f"{__doc__}\n{INSTALLING}", seconds=3.0, cores="0", fresh=False)
    count = pin(options.cores)
    with threads(count):
        rows = gather(
            "layer_sparselab", cases(), lambda case: measure(case, options.seconds), fresh=options.fresh
        )
    record("layer_sparselab", {"threads": count, "versions": versions(), "rows": rows})


if __name__ == "__main__":
    main()
