"""The layers that ``peft`` puts around sparse ones: the adapter's product under the topology, in either home."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import check_adapters_to_merge
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from gossamer import ops
from gossamer.adapters.settings import check_settings
from gossamer.errors import ConfigError, NonFiniteError, StateError
from gossamer.nn.fingerprint import sum_of
from gossamer.nn.linear import MaskedLinear, SparseLinear
from gossamer.nn.traced import as_one_call, is_traced


class SparseLora(nn.Module, LoraLayer):
    """A sparse linear layer with LoRA adapters: ``y = (W + scaling * B A, at the connections of W) x + bias``.

    Args:
        base_layer: SparseLinear or MaskedLinear.
        adapter_name: str.
        config: peft.LoraConfig.
        r, lora_alpha: int - rank, and what scaling is made of.
        kwargs: what else peft hands to its layers.
    Cost: a pass costs that of the base layer and 2 * connections * rank operations. Memory: one number a connection
        more than the base layer takes, and the adapters; nothing of dense size in the packed home.
    """

    base_layer: Any
    lora_A: Any  # noqa: N815 (peft's names)
    lora_B: Any  # noqa: N815
    lora_dropout: Any
    scaling: dict[str, float]
    merged_adapters: list[str]
    active_adapters: list[str]

    def __init__(
        self, base_layer: Any, adapter_name: str, config: Any, r: int = 0, lora_alpha: int = 1, **kwargs: Any
    ) -> None:
        super().__init__()
        LoraLayer.__init__(self, base_layer, **kwargs)
        self._active_adapter = adapter_name
        self._merged_into = 0  # check sum of the connections that hold the merged adapters
        self.update_layer(adapter_name, r, lora_alpha=lora_alpha, config=config, **kwargs)

    def _get_in_out_features(self, module: Any) -> tuple[int, int]:
        """For peft, which knows torch's layers alone."""
        return module.in_features, module.out_features

    def update_layer(self, adapter_name: str, r: int, lora_alpha: int, config: Any, **kwargs: Any) -> None:
        """Make an adapter, as peft asks; raises ConfigError for a kind that knows no topology."""
        check_settings(config)
        super().update_layer(adapter_name, r, lora_alpha=lora_alpha, config=config, **kwargs)

    # --- what a home provides ---------------------------------------------------------------------------------------
    @abstractmethod
    def sampled(self, left: Tensor, right: Tensor) -> Tensor:
        """``left @ right`` at the connections, in the shape of the base layer's weights; 0 elsewhere."""

    @abstractmethod
    def product(self, x: Tensor, weights: Tensor) -> Tensor:
        """The product with other weights at the same connections, without bias."""

    # --- what both get ----------------------------------------------------------------------------------------------
    def delta(self, adapter: str) -> Tensor:
        """What an adapter adds to the base layer's weights, in their shape and the dtype of the adapter."""
        a, b = self.lora_A[adapter].weight, self.lora_B[adapter].weight
        return self.sampled(b * self.scaling[adapter], a)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """As the base layer; one call in a graph that torch.fx traces."""
        if is_traced(x):
            return as_one_call(self, x)
        if args or kwargs:
            raise ConfigError(
                "LoRA on a sparse layer",
                expected="the input alone",
                got=f"{len(args)} more arguments and {sorted(kwargs)}",
                hint="a batch has one set of adapters here: choose it with set_adapter",
            )
        if self.disable_adapters and self.merged:
            self.unmerge()
        if self.disable_adapters or self.merged:
            y: Tensor = self.base_layer(x)
            return y
        return self._adapted(x)

    def _adapted(self, x: Tensor) -> Tensor:
        """One product with the sum of all weights; an adapter that sees the input through dropout has its own."""
        active = [name for name in self.active_adapters if name in self.lora_A]
        apart = [
            name for name in active if self.training and not isinstance(self.lora_dropout[name], nn.Identity)
        ]
        y = self._with([self.delta(name) for name in active if name not in apart], x)
        for name in apart:
            delta = self.delta(name)
            y = y + self.product(self.lora_dropout[name](x).to(delta.dtype), delta).to(y.dtype)
        return y

    def _with(self, deltas: list[Tensor], x: Tensor) -> Tensor:
        """The base layer called with changed weights, so that all that hangs on it is called too."""
        base = self.base_layer
        if not deltas:
            return base(x)  # type: ignore[no-any-return]
        own = base.weights
        weights = sum(deltas, own)
        wide = weights.dtype  # of the adapters, where the layer is narrower: sums of small steps need it
        swapped = {next(name for name, p in base.named_parameters(recurse=False) if p is own): weights}
        if base.bias is not None:
            swapped["bias"] = base.bias.to(wide)
        if wide == own.dtype:
            return functional_call(base, swapped, (x,))  # type: ignore[no-any-return]
        y: Tensor = functional_call(base, swapped, (x.to(wide),))
        return y.to(own.dtype)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add adapters to the stored connections; which ones exist stays.

        Args:
            safe_merge: bool - peft's; sums are always checked here.
            adapter_names: list of str or None - None: the active ones.
        Raises:
            NonFiniteError: a sum is NaN or infinite; the layer stays as it was.
        Cost: O(connections * rank).
        """
        for name in check_adapters_to_merge(self, adapter_names):
            if name in self.lora_A:
                self._add(name, 1)
                self.merged_adapters.append(name)

    def unmerge(self) -> None:
        """Take merged adapters out again, up to rounding; raises StateError where the connections are others now."""
        while self.merged_adapters:
            if self._merged_into != self._connections():
                raise StateError(
                    "unmerge",
                    expected="the connections that the adapters were merged into",
                    got="others: the topology has changed",
                    hint="unmerge before the topology changes",
                )
            self._add(self.merged_adapters[-1], -1)
            self.merged_adapters.pop()

    @torch.no_grad()
    def _add(self, adapter: str, sign: int) -> None:
        base = self.base_layer
        total = (base.weights + sign * self.delta(adapter)).to(base.weights.dtype)
        if not bool(torch.isfinite(total).all()):
            raise NonFiniteError(
                f"merge adapter {adapter!r} into {base.title}",
                expected="finite weights",
                got="NaN or infinity",
            )
        base.assign(base.topology, base.unit_values(total).reshape(-1))
        self._merged_into = self._connections()

    def _connections(self) -> int:
        return sum_of(self.base_layer.topology.positions)

    def __repr__(self) -> str:
        return f"lora.{super().__repr__()}"


class PackedLora(SparseLora):
    """Of a packed layer: a sampled product."""

    def sampled(self, left: Tensor, right: Tensor) -> Tensor:
        """[capacity]; nothing of dense size."""
        base = self.base_layer
        values = base.values.detach().to(left.dtype)
        return ops.sampled(left, right, values, *self._where())

    def product(self, x: Tensor, weights: Tensor) -> Tensor:
        """On the layer's own kernel."""
        index, layout, dims = self._where()
        return ops.linear(x, weights, index, None, layout, dims)

    def _where(self) -> tuple[list[Tensor], str, Any]:
        base = self.base_layer
        return base.operands(), base.pattern.layout, base.pattern.dims(base.shape)


class MaskedLora(SparseLora):
    """Of a masked layer, which is dense in memory anyway: the whole product, times the mask."""

    def sampled(self, left: Tensor, right: Tensor) -> Tensor:
        """[out, in]."""
        mask: Tensor = self.base_layer.mask
        return (left @ right) * mask

    def product(self, x: Tensor, weights: Tensor) -> Tensor:
        """Weights are zero outside of the mask."""
        return F.linear(x, weights)


CLASSES: dict[type[nn.Module], type[nn.Module]] = {SparseLinear: PackedLora, MaskedLinear: MaskedLora}
