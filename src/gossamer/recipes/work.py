"""What a recipe begins with: data, and a network with its weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.errors import ConfigError, GossamerError
from gossamer.importing import Weights, read
from gossamer.recipes.stages import Work
from gossamer.registry import did_you_mean
from gossamer.runs.build import build_model, sample_shape
from gossamer.runs.samples import source_of

if TYPE_CHECKING:
    from torch import nn

    from gossamer.recipes.recipe import Recipe

SHOWN = 3  # names in an error


def begin_work(recipe: Recipe) -> Work:
    """Load the data, build the dense network, and give it its weights.

    Args:
        recipe: Recipe.
    Returns:
        Work.
    Raises:
        ConfigError: the weights do not fit the network. DataError, FormatError, FileNotFoundError.
    Cost: that of the data, and of a dense network twice.
    """
    config = recipe.config()
    samples = source_of(config)
    model = build_model(config, samples.shape, samples.classes)
    if recipe.weights is not None:
        load_weights(model, Path(recipe.weights))
    model.eval()
    return Work(recipe, model, samples, sample_shape(config, samples.shape), copy.deepcopy(model))


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a state_dict from a file, all of it or nothing.

    Args:
        model: nn.Module.
        path: Path - safetensors, or of torch.save; names may begin with ``module.``.
    Raises:
        ConfigError: other names or shapes; FormatError: no file of weights. FileNotFoundError.
    """
    where = f"weights {path.name}"
    try:
        content = read(path).content
    except GossamerError as error:
        raise error.within(where) from None
    if not isinstance(content, Weights):
        raise ConfigError(where, expected="a file of weights", got="a whole network")
    given = {name.removeprefix("module."): tensor for name, tensor in content.tensors.items()}
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in given and not name.endswith("num_batches_tracked")]
    unknown = [name for name in given if name not in wanted]
    other = [
        f"{name} {tuple(given[name].shape)} in place of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    problems = [("no", missing), ("unknown", unknown), ("of another shape:", other)]
    if wrong := [f"{what} {', '.join(names[:SHOWN])}" for what, names in problems if names]:
        raise ConfigError(
            where,
            expected=f"the weights of a {type(model).__name__}",
            got="; ".join(wrong),
            hint=did_you_mean(unknown[0], missing)
            if unknown and missing
            else "name the model that was trained",
        )
    model.load_state_dict(given, strict=False)
