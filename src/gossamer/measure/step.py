"""The memory of a training step, predicted before any of it is taken."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from gossamer.measure.held import nbytes
from gossamer.measure.room import available_memory, require_memory

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


@dataclass(frozen=True)
class StepMemory:
    """Bytes that are held at the peak of a training step.

    Args:
        values: int - all parameters, dense ones included.
        index: int - index tensors and every other buffer.
        transposed: int - at most, what input gradients keep beside the indices.
        gradients: int - of the parameters.
        optimizer: int - state of the optimizer.
        activations: int - what forward keeps for backward; batches given are part of it.
        workspace: int - gradients on their way, and scratch of the products.
    """

    values: int
    index: int
    transposed: int
    gradients: int
    optimizer: int
    activations: int
    workspace: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))

    def fits(self, already: int = 0) -> bool:
        """Whether this machine has the memory, besides ``already`` bytes of it that are taken (the model, say)."""
        return self.total - already <= available_memory()

    def require(self, already: int = 0) -> None:
        """Refuse in one sentence where it does not fit; raises MemoryShortage."""
        hint = "smaller batches, activation checkpointing or a lower density need less"
        require_memory("training step", self.total - already, hint)

    def __str__(self) -> str:
        rows = [f"{field.name:<12}{getattr(self, field.name) / 1e6:>12,.1f} MB" for field in fields(self)]
        return "\n".join([*rows, f"{'total':<12}{self.total / 1e6:>12,.1f} MB"])


def memory(model: nn.Module, batch: Tensor, optimizer: Optimizer | None = None) -> StepMemory:
    """Predict the memory of forward, backward and optimizer step, without taking it.

    The model is run on tensors that have shapes and no data; sparse batches are not predicted.

    Args:
        model: nn.Module - in training mode, if that is what will run.
        batch: Tensor - a batch; one on the device "meta" has any size for nothing.
        optimizer: Optimizer or None - which will train it; None: no state.

    Returns:
        StepMemory - its total is an upper estimate of the tensors: not everything is held at the same moment. What the
        loss makes of the output is not in it, nor what malloc keeps back of memory that was freed.

    Cost: a forward pass over shapes; no memory of the sizes it tells.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(1000, 100), torch.nn.ReLU())
        >>> adam = torch.optim.Adam(model.parameters())
        >>> needed = memory(model, torch.empty(64, 1000, device="meta"), adam)
        >>> needed.values, needed.gradients, needed.optimizer, needed.activations
        (400400, 400400, 800800, 281600)
    """
    parameters, buffers = list(model.parameters()), [*model.buffers(), *_index(model)]
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    saved, transposed = _forward(model, batch)
    largest = max((parameter.numel() * parameter.element_size() for parameter in parameters), default=0)
    return StepMemory(
        values=nbytes(parameters),
        index=nbytes(buffers),
        transposed=transposed,
        gradients=nbytes(trained),
        optimizer=0 if optimizer is None else _state(optimizer),
        activations=sum(saved),
        workspace=2 * max(saved, default=0) + (largest if transposed else 0),
    )


def _index(model: nn.Module) -> list[Tensor]:
    """Index tensors of sparse layers, which are no buffers."""
    return [tensor for module in model.modules() for tensor in getattr(module, "index", {}).values()]


def _forward(model: nn.Module, batch: Tensor) -> tuple[list[int], int]:
    """Bytes of every tensor that backward will need, and bytes of the indices that input gradients will transpose."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode = FakeTensorMode(allow_non_fake_inputs=True)  # index tensors are used as they are
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    index = _index(model)
    saved: dict[int, int] = {}
    transposed: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:  # noqa: SLF001 (what tells storages apart that have no memory)
            saved[storage._cdata] = storage.nbytes()  # noqa: SLF001
        return tensor

    def watch(module: Any, inputs: tuple[Any, ...]) -> None:
        if hasattr(module, "transposed_bytes") and (x := inputs[0]).requires_grad:
            transposed[id(module)] = module.transposed_bytes(x.numel() // x.shape[-1])

    with ExitStack() as stack:
        for module in model.modules():
            stack.callback(module.register_forward_pre_hook(watch).remove)
        stack.enter_context(mode)
        fake: dict[str, Tensor] = {name: mode.from_tensor(tensor) for name, tensor in state.items()}
        own = {t.untyped_storage()._cdata for t in (*fake.values(), *index)}  # noqa: SLF001
        x = torch.empty(batch.shape, dtype=batch.dtype, device="cpu")
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor))
        output = torch.func.functional_call(model, fake, (x,))
    saved.setdefault(x.untyped_storage()._cdata, x.untyped_storage().nbytes())  # noqa: SLF001
    storage = output.untyped_storage()
    saved.setdefault(storage._cdata, storage.nbytes())  # noqa: SLF001
    return list(saved.values()), sum(transposed.values())


def _state(optimizer: Optimizer) -> int:
    """Bytes of state a step of this optimizer makes, seen on a parameter of its own: no list of optimizer classes."""
    import torch

    total = 0.0
    for group in optimizer.param_groups:
        held = [parameter for parameter in group["params"] if parameter.requires_grad]
        size = 1000  # so that scalars beside the state do not count
        sample = torch.nn.Parameter(torch.zeros(size))
        sample.grad = torch.zeros(size)
        probe = copy.copy(optimizer)
        probe.state, probe.param_groups = defaultdict(dict), [{**group, "params": [sample]}]
        probe._optimizer_step_pre_hooks = OrderedDict()  # noqa: SLF001 (an engine's hook must not see this step)
        probe._optimizer_step_post_hooks = OrderedDict()  # noqa: SLF001
        probe.step()
        made = [value for value in probe.state[sample].values() if isinstance(value, torch.Tensor)]
        share = sum(value.numel() for value in made if value.numel() == size) / size
        total += share * nbytes(held)
    return int(total)
