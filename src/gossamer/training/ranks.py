"""What an engine asks of the other ranks of torch.distributed: that they are alike, and what they recorded."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from gossamer.errors import ConfigError, RankError
from gossamer.nn import SparseModule
from gossamer.nn.fingerprint import bytes_of
from gossamer.version import __version__

_SOURCE = re.compile(r"^\[[^\]]*\] ")  # the line of gloo's own source in front of its messages
Form = tuple[torch.Size, torch.dtype]


class Ranks:
    """The processes that train one model in step; this one alone where torch.distributed is not in use.

    Args:
        in_step: bool - False: this process trains by itself, whatever others there are.
    Example:
        >>> Ranks().count
        1
    """

    def __init__(self, *, in_step: bool = True) -> None:
        used = in_step and dist.is_available() and dist.is_initialized()
        self.count = dist.get_world_size() if used else 1

    def agree(self, operation: str, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Refuse facts that are not the same on every rank; raises ConfigError on every rank, or RankError.

        Cost: making and exchanging the facts; nothing where there is one rank.
        """
        if self.count == 1:
            return
        everyones: list[Any] = [None] * self.count
        with talking(operation):
            dist.all_gather_object(everyones, dict(facts()))
        for rank, theirs in enumerate(everyones):
            names = {*everyones[0], *theirs}
            differ = sorted(name for name in names if theirs.get(name) != everyones[0].get(name))
            if differ:
                raise ConfigError(
                    operation,
                    expected="the same on every rank",
                    got=f"another {', '.join(differ[:5])} on rank {rank} than on rank 0",
                    hint="build the model from one seed, data and version, or use gossamer.parallel.data_parallel",
                )

    def share(self, layers: Iterable[SparseModule]) -> None:
        """Give every rank the recorded passes of all, in the order of the ranks, so that all compute the same scores.

        Raises:
            RankError: a rank does not answer.
        Cost: the inputs and output gradients of the layers, from every rank to every rank: batch * (inputs + outputs)
            numbers a layer, where the dense gradient has inputs * outputs.
        """
        if self.count == 1:
            return
        layers = list(layers)
        forms = [[(_form(x), _form(dy)) for x, dy in layer.tape.pairs] for layer in layers]
        flat = [bytes_of(tensor) for layer in layers for pair in layer.tape.pairs for tensor in pair]
        everyones: list[Any] = [None] * self.count
        with talking("growth by gradient"):
            dist.all_gather_object(everyones, (forms, sum(part.numel() for part in flat)))
            room = torch.zeros(
                max(size for _, size in everyones), dtype=torch.uint8, device=layers[0].weights.device
            )
            room[: sum(part.numel() for part in flat)] = torch.cat([room[:0], *flat])
            boxes = [torch.empty_like(room) for _ in everyones]
            dist.all_gather(boxes, room)
        for layer in layers:
            layer.tape.pairs.clear()
        for (theirs, _), box in zip(everyones, boxes, strict=True):
            parts = _unpacked(box, [form for pairs in theirs for pair in pairs for form in pair])
            for layer, pairs in zip(layers, theirs, strict=True):
                layer.tape.pairs += [(next(parts), next(parts)) for _ in pairs]


@contextmanager
def talking(operation: str) -> Iterator[None]:
    """Turn what torch raises where another rank is silent or gone into a RankError."""
    try:
        yield
    except RankError:
        raise
    except RuntimeError as error:
        raise RankError(
            operation,
            expected="an answer from every rank within the time limit",
            got=_SOURCE.sub("", str(error).splitlines()[0]).split(". ")[0],
            hint="another rank died, hangs or stopped with an error of its own: see its output",
        ) from error


def refuse_shards(layers: Mapping[str, SparseModule]) -> None:
    """Refuse weights that FSDP2 or tensor parallelism cut into shards; raises ConfigError."""
    tensors = sys.modules.get("torch.distributed.tensor")  # costly to import, and whoever shards has done so
    kinds = (tensors.DTensor,) if tensors else ()
    if sharded := [name for name, layer in layers.items() if isinstance(layer.weights, kinds)]:
        raise ConfigError(
            "attach",
            expected="sparse layers that every rank holds as a whole",
            got=f"shards of {sharded[0]}",
            hint="a topology update moves connections across shards: use gossamer.parallel.data_parallel, not FSDP",
        )


def facts_of(model: nn.Module) -> dict[str, str]:
    """What two ranks have to share of a model: digests of parameters and topologies by name, and our version.

    Cost: O(parameters).
    """
    facts = {"version": __version__}
    for name, parameter in model.named_parameters():
        facts[name] = digest(parameter)
    for name, layer in model.named_modules():
        if isinstance(layer, SparseModule):
            facts[f"topology of {name}"] = f"{layer.pattern}, {digest(layer.topology.positions)}"
    return facts


def digest(tensor: Tensor) -> str:
    """A fingerprint of a tensor's bits, dtype and shape."""
    return sha256(repr(_form(tensor)).encode() + bytes_of(tensor).cpu().numpy().tobytes()).hexdigest()


def _form(tensor: Tensor) -> Form:
    return tensor.shape, tensor.dtype


def _unpacked(box: Tensor, forms: Iterable[Form]) -> Iterator[Tensor]:
    """The tensors whose bytes are in a box, each in aligned memory of its own."""
    done = 0
    for shape, dtype in forms:
        size = shape.numel() * dtype.itemsize
        yield box[done : done + size].clone().view(dtype).view(shape)
        done += size
