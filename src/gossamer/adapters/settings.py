"""Which settings of ``peft.LoraConfig`` mean something under a topology."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from gossamer.errors import ConfigError

STARTS = (True, False, "gaussian", "orthogonal")  # those that look at no weight
LEFT_OUT = ("fan_in_fan_out", "lora_bias", "target_parameters", "layer_replication", "megatron_config")
HINT = "plain LoRA, with rank, alpha, rslora and dropout, works on sparse layers"


def check_settings(config: Any) -> None:
    """Refuse what has no meaning, or another one, for a layer whose zeros stay.

    Args:
        config: peft.LoraConfig.
    Raises:
        ConfigError: names every setting.
    Example:
        >>> from types import SimpleNamespace
        >>> from dataclasses import make_dataclass
        >>> config = make_dataclass("Config", [("lora_bias", bool)])(True)
        >>> check_settings(config)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        gossamer.errors.ConfigError: LoRA on sparse layers: expected settings that keep zeros, got lora_bias=True; ...
    """
    variants = [field.name for field in fields(config) if field.metadata.get("is_lora_variant")]
    wrong = [name for name in (*variants, *LEFT_OUT) if getattr(config, name, None)]
    if getattr(config, "init_lora_weights", True) not in STARTS:
        wrong.append("init_lora_weights")
    if wrong:
        raise ConfigError(
            "LoRA on sparse layers",
            expected="settings that keep zeros",
            got=", ".join(f"{name}={getattr(config, name)!r}" for name in wrong),
            hint=HINT,
        )
