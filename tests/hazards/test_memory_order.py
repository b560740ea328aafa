"""Feature-major memory from end to end: between sparse layers nothing is copied and nothing is turned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import gossamer as gs

BATCH = 12
COPIES = {"clone", "copy_", "_to_copy", "contiguous"}
PATTERNS = {"fanin": gs.FanIn(), "fanin:4": gs.FanIn(4), "unstructured": gs.Unstructured(), "nm": gs.NM(1, 4)}
BETWEEN: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "dropout": lambda: nn.Dropout(0.3),
}


class Watch(TorchDispatchMode):
    """Counts copies, and operands of sparse products that the kernels have to turn."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[str] = []
        self.turned = 0
        self.products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        space, name = func.name().split("::")
        name = name.split(".")[0]
        if space == "gossamer":
            panels = args[:2] if name == "linear_grad_values" else args[:1]
            self.products += 1
            self.turned += sum(panel.stride() != (1, BATCH) for panel in panels)
        elif name in COPIES:
            self.copies.append(name)
        return func(*args, **(kwargs or {}))


def chain(pattern: gs.Pattern, between: Callable[[], nn.Module]) -> nn.Sequential:
    density = 0.25
    layers: list[nn.Module] = []
    for n_in, n_out in ((16, 32), (32, 24), (24, 32), (32, 8)):
        layers += [gs.SparseLinear(n_in, n_out, density=density, pattern=pattern), between()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_chain_turns_its_input_and_nothing_else(pattern: str, between: str) -> None:
    model, x = chain(PATTERNS[pattern], BETWEEN[between]), torch.randn(BATCH, 16)
    with torch.no_grad(), Watch() as watch:
        model(x)
    assert watch.products == 4
    assert (watch.copies, watch.turned) == ([], 1)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_residual_addition_keeps_the_order(pattern: str) -> None:
    first = gs.SparseLinear(16, 16, density=0.25, pattern=PATTERNS[pattern])
    second = gs.SparseLinear(16, 16, density=0.25, pattern=PATTERNS[pattern])
    with torch.no_grad(), Watch() as watch:
        h = first(torch.randn(BATCH, 16)).relu()
        second(h + 0.5 * second(h))
    assert (watch.copies, watch.turned) == ([], 1)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_training_step_turns_the_ends_and_nothing_between(pattern: str) -> None:
    """The first layer's input for its product and its weight gradient, and nothing where the loss keeps strides."""
    model, x = chain(PATTERNS[pattern], nn.ReLU), torch.randn(BATCH, 16)
    with Watch() as watch:
        loss: Tensor = model(x).square().sum()
        loss.backward()
    assert watch.products == 4 + 3 + 4  # the input itself wants no gradient
    assert watch.copies == []
    assert watch.turned == 2


def test_the_watch_sees_a_copy_and_a_batch_major_operand() -> None:
    layer = gs.SparseLinear(16, 16, density=0.25)
    with torch.no_grad(), Watch() as watch:
        layer(layer(torch.randn(BATCH, 16)).contiguous())
    assert (watch.copies, watch.turned) == (["clone"], 2)
