"""The registry of data sets: one file in `gossamer.data.sets` each, found by being there."""

from __future__ import annotations

import re
from collections.abc import Callable

from gossamer.data.recipe import Recipe
from gossamer.errors import ConfigError
from gossamer.registry import Registry

SPELLING = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
recipes: Registry[Recipe] = Registry("data set", package="gossamer.data.sets", group="gossamer.data")


def register(make: Callable[[], Recipe]) -> Callable[[], Recipe]:
    """Add a data set: decorate a function that returns its Recipe.

    Args:
        make: function without arguments - returns the Recipe; called once, now.

    Returns:
        The function, unchanged.

    Raises:
        ConfigError: the name is taken, or not of small letters, digits and hyphens, as the names of all data sets are.

    Example:
        >>> from gossamer.data import Spec, names
        >>> @register
        ... def rings() -> Recipe:
        ...     spec = Spec(n_train=100, n_test=20, shape=(16, 16), n_classes=2)
        ...     return Recipe(name="rings", spec=spec, classes=("inner", "outer"), licence="CC0")
        >>> "rings" in names()
        True
        >>> unregister("rings")
    """
    recipe = make()
    if not SPELLING.fullmatch(recipe.name):
        raise ConfigError(
            "register",
            expected="a name of small letters and digits, with hyphens between words",
            got=repr(recipe.name),
            hint=f"call it {'-'.join(re.findall('[a-z0-9]+', recipe.name.lower()))!r}",
        )
    recipes.add(recipe.name, recipe)
    return make


def unregister(name: str) -> None:
    """Remove a data set again (for tests and notebooks).

    Args:
        name: str - a registered name.

    Raises:
        ConfigError: there is no such name.

    Example:
        >>> unregister("no such set")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        gossamer.errors.ConfigError: data set by name: expected one of ..., got 'no such set'
    """
    recipes.remove(name)


def names() -> tuple[str, ...]:
    """List the registered data sets, those of installed plug-ins among them.

    Returns:
        tuple of str, sorted.

    Example:
        >>> "digits" in names()
        True
    """
    return tuple(recipes)


def recipe_of(name: str) -> Recipe:
    """Return the Recipe of a registered data set.

    Args:
        name: str - one of `names()`.

    Returns:
        Recipe.

    Raises:
        ConfigError: there is no such name; the message lists those there are.

    Example:
        >>> recipe_of("mnist").spec.shape
        (28, 28)
    """
    return recipes[name]
