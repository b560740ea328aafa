"""Synchronous data parallelism over torch's own DistributedDataParallel."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gossamer.nn import SparseModule
from gossamer.topology import Topology
from gossamer.training.ranks import Ranks, refuse_shards, talking
from gossamer.version import __version__


def data_parallel(model: nn.Module, **settings: Any) -> DistributedDataParallel:
    """Wrap a sparse model for DistributedDataParallel: every rank starts with topology and values of rank 0.

    Call ``attach`` on the inner model as without ranks: updates then decide together. Masks and fingerprints of
    connections are left to us: torch would send them before every forward pass.

    Args:
        model: nn.Module - the same layers on every rank.
        settings: of DistributedDataParallel, e.g. ``gradient_as_bucket_view=True``.
    Returns:
        DistributedDataParallel - ``no_sync``, accumulation and uneven batches work as for dense models.
    Raises:
        ConfigError: other layers or another version on some rank, or weights sharded by FSDP.
        RankError: a rank does not answer.
    Cost: one message of the size of the model; afterwards a step exchanges gradients of connections, never of a mask.
    Source: Li et al., VLDB 2020, for the exchange of gradients.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, SparseModule)}
    refuse_shards(layers)
    kinds = {name: f"{tuple(p.shape)} {p.dtype}" for name, p in model.named_parameters()}
    patterns = {f"pattern of {name}": f"{layer.pattern} {layer.shape}" for name, layer in layers.items()}
    Ranks().agree("data_parallel", lambda: {"version": __version__, **kinds, **patterns})
    for layer in layers.values():
        _take_topology(layer)
    ignored = [
        f"{name}.{buffer}" if name else buffer
        for name, layer in layers.items()
        for buffer, _ in layer.named_buffers(recurse=False)
    ]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, ignored)  # noqa: SLF001 (torch's way)
    with talking("data_parallel"):
        return DistributedDataParallel(model, **settings)


def _take_topology(layer: SparseModule) -> None:
    """Let rank 0 decide the connections; their values follow with all parameters."""
    box = [layer.topology.positions]
    with talking("data_parallel"):
        dist.broadcast_object_list(box, src=0)
    if dist.get_rank() != 0:
        topology = Topology(layer.pattern, layer.shape, box[0])
        layer.assign(topology, torch.zeros(topology.connections))
