"""Which layers of a model ``sparsify`` can replace, and why it leaves the others as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize, prune

from gossamer.errors import ConfigError, PatternError
from gossamer.nn.kinds import Dense, Kind, dense_classes, dense_kind, kind_of, kinds
from gossamer.nn.sparse import SparseModule

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Wrappers that took notes about the parameters inside, by the names of torch's classes.
WRAPPERS = ("DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "OptimizedModule")
STATE_HOOKS = (
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def check_model(model: Any, operation: str = "sparsify") -> None:
    """Refuse models of which no part can be replaced safely.

    Raises:
        ConfigError: no module, a layer by itself, a wrapped or compiled model, adapters, or layers without a size yet.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(
            operation, expected="a torch.nn.Module", got="None" if model is None else type(model).__name__
        )
    if isinstance(model, SparseModule):
        raise ConfigError(
            operation, expected="a model with dense layers", got=f"a {_kind(model)}, sparse already"
        )
    if isinstance(model, nn.RNNBase):
        raise ConfigError(
            operation,
            expected="a model that holds the layer, since layers are replaced where they are held",
            got=f"the {_kind(model)} itself",
            hint=f"wrap it, nn.ModuleList([layer]), or build a gossamer.nn.{_kind(model)}",
        )
    if isinstance(model, dense_classes()):
        build = f", or build a {found.home('packed').__name__}" if (found := kind_of(model)) else ""
        raise ConfigError(
            operation,
            expected="a model that holds the layer, since layers are replaced where they are held",
            got=f"the {_kind(model)} itself",
            hint=f"wrap it, nn.Sequential(layer){build}",
        )
    for name, module in model.named_modules():
        _check_part(f"{name or 'the model'} ({_kind(module)})", module, operation)


def _check_part(where: str, module: nn.Module, operation: str) -> None:
    """Refuse what took notes of its layers, or has none yet; raises ConfigError."""
    bases = [base.__name__ for base in type(module).__mro__ if base.__module__.startswith("torch.")]
    if set(bases) & set(WRAPPERS) or module._compiled_call_impl is not None:  # noqa: SLF001 (no public question)
        raise ConfigError(
            operation,
            expected="a model that is not wrapped or compiled yet",
            got=where,
            hint=f"call {operation} on the model inside, and wrap or compile it afterwards",
        )
    if any(base.__module__.startswith("peft.tuners") for base in type(module).__mro__):
        raise ConfigError(
            operation,
            expected="a model without adapters, whose own matrices would lose connections too",
            got=where,
            hint="merge them first, or make the model sparse and add adapters with gossamer.add_lora",
        )
    if any(is_lazy(parameter) for parameter in module.parameters(recurse=False)):
        raise ConfigError(
            operation,
            expected="layers that know their sizes",
            got=f"{where}, not initialized",
            hint="run one batch through the model first",
        )


def dense_layers(model: nn.Module) -> dict[str, Dense]:
    """The layers of exactly the dense classes of the table, by name."""
    return {n: cast("Dense", m) for n, m in model.named_modules() if dense_kind(m) is not None}


def why_left(module: nn.Module, init: str, device: torch.device | None) -> str:
    """Why a module stays as it is, in a few words; an empty string for a layer that can be replaced.

    Args:
        module: nn.Module.
        init: str - as given to ``sparsify``: a pruned layer can be replaced where its values are kept.
        device: torch.device or None - where sparse layers are made.
    """
    if isinstance(module, SparseModule):
        return "sparse already"
    if (kind := dense_kind(module)) is None:
        return _of_another_kind(module)
    module = cast("Dense", module)
    if problem := _weight_problem(module, init) or kind.left(module):
        return problem
    if module.weight.is_meta and (problem := _meta_problem(kind, init, device)):
        return f"on the meta device: {problem}"
    for name, parameter in module.named_parameters(recurse=False):
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:  # noqa: SLF001 (no public question)
            return f"hooks on the gradient of its {name}"
    if any(getattr(module, hooks) for hooks in STATE_HOOKS):
        return "hooks on its state, which know a dense weight"
    if "forward" in vars(module):
        return "its forward was replaced"
    if taken := sorted(set(additions(module)) & _names_of_ours(kind.name)):
        return f"attributes of its own that a sparse layer uses: {', '.join(taken)}"
    return ""


def _of_another_kind(module: nn.Module) -> str:
    """The reason for modules that are no plain layer."""
    if parametrize.is_parametrized(module):
        return f"parametrized: its {', '.join(module.parametrizations)} is computed before each use"  # type: ignore[arg-type]
    if isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear):
        return "attention reads its weight without calling it"
    if isinstance(module, dense_classes()):
        return "a subclass may use its weight in another way"
    return "no layer that has a sparse form"


def _meta_problem(kind: Kind, init: str, device: torch.device | None) -> str:
    """What is missing where a layer has a shape and no numbers."""
    if kind.packed is None:
        return "layers without a packed home are made where the dense ones are"
    if init == "keep":
        return "no values to keep"
    return "" if device else "device= says where sparse layers are made"


def _weight_problem(module: Dense, init: str) -> str:
    """What is wrong with weight and bias as they are held."""
    pruned, held = pruned_names(module), module._parameters  # noqa: SLF001 (what hooks compute is no parameter)
    if "bias" not in held or ("weight" not in held and pruned != ["weight"]):
        computed = ", ".join(type(hook).__name__ for hook in module._forward_pre_hooks.values())  # noqa: SLF001
        return f"its weight or bias is computed before each use ({computed or 'not a parameter'})"
    for tensor in (effective_weight(module), *([] if module.bias is None else [module.bias])):
        if tensor.dtype not in FLOATS or tensor.layout != torch.strided:
            return f"{tensor.dtype}, {tensor.layout}: sparse layers hold real floating-point numbers"
        if type(tensor) not in (nn.Parameter, Tensor):
            return f"its weight or bias is a {type(tensor).__name__}"
        if (tensor.dtype, tensor.device) != (module.weight.dtype, module.weight.device):
            return "weight and bias differ in dtype or device"
    if pruned and init != "keep":
        return "pruned by torch.nn.utils.prune: init='keep' takes the zeros over"
    return ""


def pruned_names(module: nn.Module) -> list[str]:
    """Names of the parameters that ``torch.nn.utils.prune`` masks before each pass."""
    return [hook._tensor_name for hook in prune_hooks(module).values()]  # noqa: SLF001 (no public question)


def prune_hooks(module: nn.Module) -> dict[int, prune.BasePruningMethod]:
    """Key -> hook, of those that mask a parameter before each pass."""
    hooks = module._forward_pre_hooks.items()  # noqa: SLF001 (torch's own way to find them)
    return {key: hook for key, hook in hooks if isinstance(hook, prune.BasePruningMethod)}


def effective_weight(module: Dense) -> Tensor:
    """The weight as the next pass will use it: pruning masks it only then."""
    if "weight" in pruned_names(module):
        return (module.weight_orig * module.weight_mask).detach()  # type: ignore[operator]
    return module.weight


def additions(module: nn.Module) -> Iterator[str]:
    """Names that a user hung on a layer: attributes, buffers, parameters, modules."""
    pruned = pruned_names(module)
    plain = _plain_recurrent(module) if isinstance(module, nn.RNNBase) else _plain(_kind_name(module))
    hidden = {"weight", *(f"{name}{end}" for name in pruned for end in ("_orig", "_mask"))}
    tensors = (module._parameters, module._buffers, module._modules)  # noqa: SLF001 (held apart from attributes)
    for name in (*vars(module), *(name for held in tensors for name in held)):
        if name not in plain and name not in hidden:
            yield name


@cache
def _plain(kind: str) -> frozenset[str]:
    """What every dense layer of a kind has."""
    with torch.device("meta"):
        layer = kinds[kind].example()
    return frozenset({*vars(layer), "weight", "bias"})


def _kind_name(module: nn.Module) -> str:
    return cast("Kind", dense_kind(module)).name


def _plain_recurrent(module: nn.RNNBase) -> frozenset[str]:
    """What every recurrent layer of this class and depth has."""
    make: Any = type(module)
    with torch.device("meta"):
        layer = make(1, 1)
    return frozenset({*vars(layer), "nonlinearity", *module._flat_weights_names})  # noqa: SLF001 (torch's own list)


@cache
def _names_of_ours(kind: str) -> frozenset[str]:
    """What the sparse layers of a kind have and plain ones do not."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        dense = kinds[kind].example()
        ours = [each.of(dense, None, density=1.0) for each in kinds[kind].sparse]
    return frozenset(name for layer in ours for name in dir(layer)) - frozenset(dir(nn.Module()))


def refuse_tied(model: nn.Module, chosen: Mapping[str, nn.Module], operation: str = "sparsify") -> None:
    """A weight used by two modules cannot be sparse in one of them; a module registered twice is still one.

    Raises:
        PatternError: one parameter, or two in the same memory, with both names.
    """
    owners: dict[tuple[str, int], tuple[str, str]] = {}
    for module_name, module in model.named_modules():
        for parameter_name, parameter in module.named_parameters(module_name, recurse=False):
            keys = [("object", id(parameter))]
            if (
                type(parameter) is nn.Parameter
                and not parameter.is_meta
                and parameter.layout == torch.strided
            ):
                keys += [("memory", parameter.data_ptr())] if parameter.numel() else []
            for key in keys:
                first, owner = owners.setdefault(key, (parameter_name, module_name))
                if first != parameter_name and (module_name in chosen or owner in chosen):
                    raise PatternError(
                        operation,
                        expected="layers with a weight of their own",
                        got=f"{parameter_name} tied to {first}",
                        hint="untie the weights, or leave the layers out with skip=",
                    )


def _kind(module: nn.Module) -> str:
    return type(module).__name__
