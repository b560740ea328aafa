"""LoRA on sparse networks with ``peft``: adapters that cannot bring a zero back."""

from __future__ import annotations

import os
import re
from copy import copy
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from gossamer.adapters.settings import check_settings
from gossamer.errors import ConfigError, FormatError, MissingPackage, StateError
from gossamer.nn.sparse import SparseModule

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ALL = "all-linear"
PREFIX = "base_model.model."


def add_lora(model: nn.Module, config: Any, adapter_name: str = "default") -> Any:
    """Put LoRA adapters around layers of a sparse network, as ``peft.get_peft_model`` does for dense ones.

    The product of an adapter is added at stored connections alone, so that merging it changes values and makes no
    connection. Dense layers get peft's own adapters. What peft offers afterwards works as usual: ``save_pretrained``,
    ``set_adapter``, ``disable_adapter``, ``merge_adapter``, ``merge_and_unload``.

    Args:
        model: nn.Module - changed in place; or what this function returned, for one more adapter.
        config: peft.LoraConfig - ``target_modules="all-linear"`` is every linear layer here, sparse or dense.
        adapter_name: str.
    Returns:
        peft.PeftModel - in which the adapters alone are trainable.
    Raises:
        MissingPackage: no peft. ConfigError: a setting that keeps no zeros, or a target of a kind that has no adapter.
        StateError: an engine still updates the topology.
    Cost: rank * (in + out) parameters a layer.
    Source: Hu et al. 2021, LoRA; the product under the topology is ours.
    Example:
        >>> import torch, peft, gossamer as gs
        >>> model = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4))
        >>> report = gs.sparsify(model, density=0.2)
        >>> tuned = gs.add_lora(model, peft.LoraConfig(r=2, target_modules="all-linear"))
        >>> y = tuned(torch.ones(1, 32))
        >>> model = tuned.merge_and_unload()
        >>> model[0].connections + model[2].connections == report.connections
        True
    """
    peft = _peft()
    inner = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    config = copy(config)
    _prepare(inner, config, peft)
    if isinstance(model, peft.PeftModel):
        model.add_adapter(adapter_name, config)
        return model
    return peft.get_peft_model(model, config, adapter_name=adapter_name)


def load_lora(
    model: nn.Module,
    folder: str | os.PathLike[str],
    *,
    trainable: bool = False,
    adapter_name: str = "default",
) -> Any:
    """Adapters that ``save_pretrained`` wrote, around the layers of a sparse network.

    Args:
        model: nn.Module - the network that they were trained on; changed in place.
        folder: path - on this machine; nothing is downloaded, and nothing that is pickled is read.
        trainable: bool - go on with the training.
        adapter_name: str.
    Returns:
        peft.PeftModel.
    Raises:
        As ``add_lora``. FileNotFoundError: no adapter there. FormatError: a damaged one, or one of another network.
    Cost: that of the adapters.
    Example:
        >>> import torch, gossamer as gs
        >>> load_lora(nn.Sequential(nn.Linear(8, 8)), "nowhere")
        Traceback (most recent call last):
        ...
        FileNotFoundError: no adapter in nowhere: expected adapter_config.json and adapter_model.safetensors
    """
    peft = _peft()
    where = Path(folder)
    if not (where / CONFIG).is_file() or not (where / WEIGHTS).is_file():
        raise FileNotFoundError(f"no adapter in {where}: expected {CONFIG} and {WEIGHTS}")
    config = _read_config(where, peft)
    targets = _prepare(model, config, peft)
    _check_file(where / WEIGHTS, config, targets)
    return peft.PeftModel.from_pretrained(
        model, str(where), adapter_name=adapter_name, is_trainable=trainable, config=config
    )


def _peft() -> Any:
    try:
        import peft
    except ModuleNotFoundError as error:
        raise MissingPackage(
            "add_lora", expected=f"the package {error.name}", got="none", hint="pip install 'gossamer[lora]'"
        ) from None
    return peft


def _prepare(model: nn.Module, config: Any, peft: Any) -> dict[str, SparseModule]:
    """Check everything before anything is changed, and tell the settings of our layers; the sparse targets by name."""
    from gossamer.adapters.layer import CLASSES

    if not isinstance(config, peft.LoraConfig):
        raise ConfigError("add_lora", expected="a peft.LoraConfig", got=type(config).__name__)
    check_settings(config)
    if config.target_modules == ALL:
        config.target_modules = _all_linear(model, tuple(CLASSES))
    targets = {name: module for name, module in _sparse(model).items() if _is_target(config, name)}
    for name, module in targets.items():
        if not isinstance(module, tuple(CLASSES)):
            raise ConfigError(
                f"add_lora {name}",
                expected=f"a {' or '.join(kind.__name__ for kind in CLASSES)}",
                got=type(module).__name__,
                hint="leave it out of target_modules",
            )
        if module.tape.followed:
            raise StateError(
                f"add_lora {name}",
                expected="a topology that stays while adapters train",
                got="an engine that updates it",
                hint="call engine.detach() first",
            )
    config._register_custom_module(CLASSES)  # noqa: SLF001 (what peft documents for layers of others)
    return targets


def _sparse(model: nn.Module) -> dict[str, SparseModule]:
    """Sparse layers by the names that they had before they got adapters."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, SparseModule)}
    return {name.removesuffix(".base_layer"): module for name, module in found.items()}


def _is_target(config: Any, name: str) -> bool:
    from peft.tuners.tuners_utils import check_target_module_exists

    return bool(config.target_modules) and bool(check_target_module_exists(config, name))


def _all_linear(model: nn.Module, sparse: tuple[type[nn.Module], ...]) -> str:
    """A pattern of exactly the linear layers; of a language model without the one that makes its output."""
    asked: Any = model
    last = asked.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    names = [
        name.removesuffix(".base_layer")
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, *sparse)) and module is not last and ".lora_" not in f".{name}"
    ]
    if not names:
        raise ConfigError("add_lora", expected="a model with linear layers", got="none")
    return "|".join(map(re.escape, names))


def _read_config(where: Path, peft: Any) -> Any:
    try:
        return peft.PeftConfig.from_pretrained(str(where))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FormatError(
            f"read {where / CONFIG}", expected="settings of an adapter", got=str(error)
        ) from None


def _check_file(path: Path, config: Any, targets: dict[str, SparseModule]) -> None:
    """Refuse a file in which a sparse target has no matrices, or some of another size; sizes are read, no numbers."""
    try:
        with safe_open(path, framework="np") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise FormatError(f"read {path}", expected="a complete safetensors file", got=str(error)) from None
    for name, layer in targets.items():
        a, b = (found.get(f"{PREFIX}{name}.lora_{part}.weight", ()) for part in "AB")
        out, inp = layer.shape
        if len(a) != 2 or len(b) != 2 or a[1] != inp or b[0] != out or a[0] != b[1]:
            raise FormatError(
                f"read {path}",
                expected=f"matrices of {name}: lora_A [rank, {inp}] and lora_B [{out}, rank]",
                got=f"{list(a) or 'none'} and {list(b) or 'none'}",
                hint="an adapter belongs to the network that it was trained on",
            )
    if unknown := [name for name in found if not name.startswith(PREFIX)]:
        raise FormatError(f"read {path}", expected="adapters", got=f"{unknown[0]!r} among them")
    if targets and config.peft_type != "LORA":
        raise FormatError(f"read {path}", expected="LoRA", got=str(config.peft_type))
