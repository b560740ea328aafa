"""Which layers a user leaves dense: by name, by type, by the module itself, by a function, by place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from gossamer.errors import ConfigError
from gossamer.registry import did_you_mean

Entry = str | type[nn.Module] | nn.Module
Skip = Entry | Iterable[Entry] | Callable[[str, nn.Module], bool]


def skipped(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    skip: Skip,
    dense_first: bool,
    dense_last: bool,
    operation: str = "sparsify",
) -> dict[str, str]:
    """The layers that stay dense because the user says so, each with the argument that says it.

    Args:
        model: nn.Module.
        layers: name -> layer that could be replaced.
        skip: as ``sparsify`` takes it; what names or is a module with layers inside, stands for all of them.
        dense_first: bool - leave the first of ``layers`` dense.
        dense_last: bool - leave the last of them dense.
        operation: str - named in errors.
    Returns:
        name -> words for the report.
    Raises:
        ConfigError: an entry that is nowhere in the model.
    """
    names = list(layers)
    found = dict.fromkeys(names[-1:], "dense_last=True") if dense_last else {}
    found |= dict.fromkeys(names[:1], "dense_first=True") if dense_first else {}
    if isinstance(skip, (str, type, nn.Module)) or not callable(skip):
        left = _within(model, _entries(skip, operation), operation)
        return found | {name: "skip=" for name, layer in layers.items() if id(layer) in left}
    return found | {name: "skip=" for name, layer in layers.items() if skip(name, layer)}


def _original(module: nn.Module) -> nn.Module:
    """What the user knows a module as: a recurrent layer of torch is opened while its matrices are looked at."""
    original: nn.Module = vars(module).get("stands_for", module)
    return original


def _entries(skip: Any, operation: str) -> list[Any]:
    """A list of entries; raises ConfigError for what is none."""
    if isinstance(skip, (str, type, nn.Module)):
        return [skip]
    if isinstance(skip, Iterable):
        return list(skip)
    raise ConfigError(
        f"{operation}(skip=)",
        expected="names, types or modules to leave dense, or a function (name, module) -> bool",
        got=repr(skip),
    )


def _within(model: nn.Module, entries: list[Any], operation: str) -> set[int]:
    """Ids of all modules that the entries mean, with those inside of them."""
    named = dict(model.named_modules(remove_duplicate=False))  # a shared module has several names
    del named[""]  # the model as a whole is nothing to leave out
    left = set[int]()
    for entry in entries:
        if isinstance(entry, str):
            meant = [named[entry]] if entry in named else []
        elif isinstance(entry, type):
            meant = [module for module in named.values() if isinstance(_original(module), entry)]
        else:
            meant = [module for module in named.values() if entry in (module, _original(module))]
        if not meant:
            raise ConfigError(
                f"{operation}(skip=)",
                expected=f"names or types among the modules {', '.join(named)}",
                got=entry.__name__ if isinstance(entry, type) else repr(entry),
                hint=did_you_mean(entry, named) if isinstance(entry, str) else "",
            )
        left |= {id(inner) for module in meant for inner in module.modules()}
    return left
