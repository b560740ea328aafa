"""``freeze``: trace, remove what is dead, fuse, measure, keep the fastest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gossamer.errors import ConfigError, DtypeError, ShapeError
from gossamer.freezing.arithmetic import with_use
from gossamer.freezing.assemble import freeze_graph
from gossamer.freezing.in_place import freeze_in_place, left_as_it_is
from gossamer.freezing.onlookers import on_cpu
from gossamer.freezing.private import private
from gossamer.freezing.repeat import Source, plan_of
from gossamer.freezing.wanted import Wanted, sizes
from gossamer.measure import nbytes, require_memory
from gossamer.network.graph import Graph
from gossamer.trace.agreement import same
from gossamer.trace.calling import Example
from gossamer.trace.read import readable
from gossamer.trace.trace import known, trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gossamer.freezing.frozen import Frozen


UNSAID = ("fastest", None, (), "exact", "float32", "speed")  # what is asked for beside a plan: nothing


def freeze(
    model: nn.Module,
    example_input: Any,
    *,
    keep: str | Mapping[str, str] = "fastest",
    candidates: Iterable[str] | None = None,
    batch_sizes: Iterable[int] = (),
    values: str | Mapping[str, str] = "exact",
    compute: str = "float32",
    prefer: str = "speed",
    plan: Source | None = None,
) -> Frozen:
    """Make a trained model small and fast: dead neurons gone, every layer in the form measured fastest.

    Args:
        model: nn.Module on the CPU - left as it is.
        example_input: Tensor [batch, ...], a tuple of inputs, or a dict of named ones - says how the model is called,
            with which shapes, and at which batch to measure. An argument that is None counts as not given.
        keep: "fastest" measures; a layout ("dense", "slice", "csr", "fanin", "nm", "nm_lanes",
            "nm_bytes", "nm_nibbles", "nm_nibble_bytes", "bitmask", "bitmask_bytes", "window_bytes", "csr_bands",
            "csr_halves", "fanin_bytes", "tiles", "shared_tiles", "tile_bytes", "shared_tile_bytes", "block") for all
            linear layers, or a mapping layer -> layout, measures nothing for them and is the same on every
            machine.
        candidates: layouts that may be tried; None is all of them. Where none fits, a layer is dense.
        batch_sizes: measure at these instead, and at run time use what was measured nearest.
        values: "exact" keeps every weight to the bit; "bfloat16", "int8", "int4", "ternary" and "binary" round the
            weights of linear layers and convolutions, all but the first with a scale a neuron; a layer whose scales
            would outweigh that takes bfloat16. Below 8 bits the file alone is smaller: kernels read int8. It is
            never larger than with more bits. Measure the accuracy. A mapping layer -> type leaves other layers exact.
        compute: the arithmetic that layers may use. "float32" (a network of float64: that);
            "bfloat16", "float16" and "int8" also try layouts that round inputs and weights to it when they run. What is
            stored is what ``values`` says. "int8" needs values of int8 or fewer bits, and rounds inputs to 127 steps of
            either sign, sample by sample. Which layers do is measured; one that none can use is a warning.
        prefer: "speed" takes what is fastest; "size" the smallest form of each layer, the faster one of two as small.
        plan: a Plan, a frozen network, its ``plan``, or a file that holds one (what ``save`` wrote, or JSON): repeats
            it. Nothing is measured, and the same model gives the same bits. It says all that the arguments above do.

    Returns:
        Frozen - an nn.Module in evaluation, without gradient; ``explain()`` says what was chosen and why.

    Raises:
        MemoryShortage: a copy of the model, or the dense form of a layer, does not fit into memory.
        ConfigError: unknown layout, layer, batch size, input, preference, type of values, or arithmetic;
            a plan of another network.
        PatternError: a layout that cannot hold its layer exactly.
        DtypeError: parameters elsewhere than on the CPU; other than float32 where values are rounded, or arithmetic is
            asked for.
        ShapeError: an example without a batch dimension. StateError: a model that cannot be copied.

    Cost: a copy of the model, one pass over its connections, 0.1 s of measuring a layer, about 2 s at most, and as
    much at batch sizes that were not asked for.

    Example:
        >>> import gossamer as gs
        >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        >>> _ = gs.sparsify(model, density=0.1)
        >>> frozen = freeze(model, torch.randn(1, 64), keep="csr")
        >>> x = torch.randn(5, 64)
        >>> bool(torch.allclose(frozen(x), model(x), atol=1e-5)), frozen.plan["layers"][0]["chosen"]
        (True, 'csr')
    """
    asked = sizes(batch_sizes)
    wishes = (keep, candidates, asked, values, compute, prefer)
    if plan is not None and wishes != UNSAID:
        raise ConfigError(
            "freeze(plan=)",
            expected="no other argument that chooses layouts",
            got="one that the plan already decides",
            hint="leave one of them out",
        )
    if not isinstance(model, nn.Module):
        raise ConfigError("freeze", expected="a torch.nn.Module", got=repr(model)[:80])
    model = getattr(model, "_orig_mod", model)  # what torch.compile was given
    example = Example.of(model, example_input)
    _check(model, example.values)
    twin = private(model)
    if known(twin):
        twin = nn.Sequential(twin)  # a layer by itself, which gets the name "0"
    names = [name for name, module in twin.named_modules() if readable(module)]
    batches = asked or (example.values[0].shape[0],)
    wanted = Wanted.of(keep, candidates, batches, names, values, compute, prefer)
    wanted = replace(wanted, plan=None if plan is None else plan_of(plan))
    with (
        torch.no_grad(),
        on_cpu(),
        torch.autocast("cpu", enabled=False),
    ):  # a frozen network computes in its own types
        expected, again = example.call(twin, example.values), example.call(twin, example.values)
        if not same(expected, again):
            why = "two runs on the example differ: it adds noise, or keeps dropout on, or counts its calls"
            return with_use(left_as_it_is(twin, example, wanted, why), compute)
        graph = trace(twin, example, expected)
        if isinstance(graph, Graph):
            return with_use(freeze_graph(graph, example.values, wanted), compute)
        return with_use(freeze_in_place(twin, example, wanted, why=graph, expected=expected), compute)


def _check(model: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Refuse what cannot be frozen here."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.device.type != "cpu":
            raise DtypeError(
                "freeze",
                expected="a model on the CPU",
                got=f"{name} on {tensor.device}",
                hint="call model.cpu() first",
            )
    held = nbytes([*model.parameters(), *model.buffers()])
    require_memory("freeze", held, "freezing works on a copy of the model")
    first = inputs[0] if inputs else None
    if not isinstance(first, Tensor):
        raise ShapeError(
            "freeze",
            expected="an example whose first input is a tensor [batch, ...]",
            got="nothing" if first is None else type(first).__name__,
            hint="torch.as_tensor(x) makes one of an array or a list, a tuple or a dict holds several inputs",
        )
    least = 2 if first.is_floating_point() or first.is_complex() else 1
    if first.dim() < least or not first.shape[0]:
        raise ShapeError(
            "freeze",
            expected="an example [batch, ...] of at least one sample",
            got=f"shape {list(first.shape)}",
            hint="x.unsqueeze(0) adds a batch dimension" if first.numel() else "give it a sample",
        )
