"""What the arguments of ``sparsify`` and ``prune`` mean, and sentences for those that mean nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from gossamer.errors import ConfigError, DensityError, DtypeError, GossamerError
from gossamer.patterns import FanIn, Pattern, parse


def pattern_of(given: Any, where: str = "sparsify(pattern=)") -> Pattern:
    """The pattern meant by an instance, by the short name that the command line takes, or by None.

    Raises:
        ConfigError: anything else, a class without its arguments too.
    """
    if given is None:
        return FanIn()
    if isinstance(given, Pattern):
        return given
    if isinstance(given, str):
        try:
            return parse(given)
        except GossamerError as error:
            raise error.within(where) from None
    named = isinstance(given, type) and issubclass(given, Pattern)
    raise ConfigError(
        where,
        expected='a pattern such as FanIn(), or its short name such as "fanin", "unstructured" or "nm:2:4"',
        got=f"the class {given.__name__}" if named else repr(given),
        hint=f"make one: {given.__name__}({'2, 4' if given.__name__ == 'NM' else ''})" if named else "",
    )


def density_of(given: Any, where: str = "sparsify(density=)") -> float:
    """A density as a float: numbers of Python, NumPy and torch are taken.

    Raises:
        DensityError: not a number, or not in (0, 1].
    """
    hint = ""
    if isinstance(given, (str, bytes, bool)) or not hasattr(given, "__float__"):
        value = float("nan")
    else:
        try:
            value = float(given)
        except (TypeError, ValueError, RuntimeError, OverflowError):  # several numbers, or one beyond floats
            value = float("nan")
    if isinstance(given, str):
        hint = "a number, without quotes"
    elif 1 < value <= 100:
        hint = f"a share and not a percentage: {value:g} % of the connections is density={value / 100:g}"
    if not 0 < value <= 1:
        raise DensityError(where, expected="a density in (0, 1]", got=repr(given), hint=hint)
    return value


def check_real(dtype: Any, where: str) -> None:
    """Refuse numbers that cannot be trained, or that no kernel knows; raises DtypeError."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise DtypeError(where, expected="a floating-point dtype such as torch.float32", got=repr(dtype))


def densities_of(given: Any, operation: str = "sparsify") -> float | dict[str, float] | None:
    """One density, one a layer, or None, all checked by ``density_of``."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {
            str(name): density_of(value, f"{operation}(density=) for {name}") for name, value in given.items()
        }
    return density_of(given, f"{operation}(density=)")


def device_of(given: Any) -> torch.device | None:
    """The device for sparse layers; None where the dense ones are.

    Raises:
        ConfigError: no device, one that this torch or machine does not have, or "meta", where nothing exists.
    """
    if given is None:
        return None
    try:
        device = torch.device(given)
        if device.type != "meta":
            torch.empty(1, device=device)
            return device
        why = "sparse layers must exist"
    except (
        RuntimeError,
        AssertionError,
        TypeError,
        ValueError,
    ) as error:  # torch's words for what is not there
        why = str(error).partition("\n")[0].partition(". ")[0]
    raise ConfigError("sparsify(device=)", expected="a device of this machine", got=repr(given), hint=why)


def check_draws(generator: Any, dense_first: Any, dense_last: Any, operation: str = "sparsify") -> None:
    """Refuse a seed in the place of a generator, and counts in the place of yes and no; raises ConfigError."""
    right = isinstance(generator, torch.Generator) and generator.device.type == "cpu"
    if generator is not None and not right:
        seed = generator if isinstance(generator, int) else 0
        raise ConfigError(
            f"{operation}(generator=)",
            expected="a torch.Generator on the CPU, or None",
            got=repr(generator),
            hint=f"torch.Generator().manual_seed({seed})",
        )
    for name, value in (("dense_first", dense_first), ("dense_last", dense_last)):
        if not isinstance(value, bool):
            raise ConfigError(
                f"{operation}({name}=)",
                expected="True or False",
                got=repr(value),
                hint="name the layers in skip=",
            )
