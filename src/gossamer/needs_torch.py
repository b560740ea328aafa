"""Imported first by packages of ours that need torch: without it they say what to install."""

from gossamer.errors import MissingPackage

try:
    import torch  # noqa: F401 (for whether it is there)
except ModuleNotFoundError as error:
    raise MissingPackage.behind(error) from None
