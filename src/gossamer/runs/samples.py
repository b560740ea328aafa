"""What a training reads: samples held in memory, or images in a folder, behind the same few questions."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol

from gossamer import data
from gossamer.data.folder import holds_splits
from gossamer.errors import ConfigError
from gossamer.runs.config import BEST, FOLDER
from gossamer.runs.images import load_images

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from gossamer.runs.config import RunConfig

EVALUATION_BATCH = 1000
BORDER = 4  # pixels around an image of which a crop is taken


class Source(Protocol):
    """Where a training's batches come from.

    Attributes:
        name: str.
        shape: tuple of int - of one sample as stored, channels last.
        classes: int.
        sha256: str - of its content; a run goes on with the same only.
        count: int - training samples.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 (above)
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def classes(self) -> int: ...  # noqa: D102
    @property
    def sha256(self) -> str: ...  # noqa: D102
    @property
    def count(self) -> int: ...  # noqa: D102

    def training(
        self, config: RunConfig, epoch: int, start: int, part: int, parts: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one worker in one epoch from the one numbered ``start``; a function of the arguments alone."""

    def testing(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All test samples, in stored order."""


@dataclass(frozen=True, eq=False)
class Samples:
    """A data set held in memory.

    Args:
        name: str.
        shape: tuple of int - of one sample as stored.
        classes: int.
        sha256: str - of its content.
        x_train, y_train, x_test, y_test: tensors; samples are standardized, flat for perceptrons.
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    sha256: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    @property
    def count(self) -> int:
        """Training samples."""
        return len(self.x_train)

    def training(
        self, config: RunConfig, epoch: int, start: int, part: int, parts: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As Source says."""
        own = data.part_of(self.count, part, parts)
        x, y = self.x_train[own], self.y_train[own]
        order = data.epoch_generator(config.seed, epoch, part)
        before = epoch * ceil(len(x) / config.batch) + start
        pairs = data.batches(x, y, config.batch, order, start=start)
        for step, (images, labels) in enumerate(pairs, start=before):
            if config.augment == "standard":
                draw = data.step_generator(config.seed, step, part)
                yield data.crop_and_flip(images, BORDER, draw), labels
            else:
                yield images, labels

    def testing(self) -> Iterator[tuple[Tensor, Tensor]]:
        """As Source says."""
        return data.batches(self.x_test, self.y_test, EVALUATION_BATCH, shuffle=False)


def describe_source(source: Source) -> dict[str, Any]:
    """What a run folder keeps of a data set, ready for JSON."""
    return {
        "name": source.name,
        "shape": list(source.shape),
        "classes": source.classes,
        "sha256": source.sha256,
    }


def load_samples(name: str, root: str | None = None, *, flatten: bool = True) -> Samples:
    """Load a data set by name, or the best one at hand for "best".

    Args:
        name: str - of a data set.
        root: str or None - a folder to look for it first.
        flatten: bool - rows of numbers, as a perceptron reads them; False: images [channels, height, width].

    Raises:
        ConfigError, DataError, FormatError: as ``gossamer.data.load``.

    Example:
        >>> load_samples("digits").x_train.shape, load_samples("digits", flatten=False).x_test.shape
        (torch.Size([1442, 64]), torch.Size([355, 1, 8, 8]))
    """
    found = data.best_available(root) if name == BEST else data.load(name, root)
    tensors = found.tensors(flatten=flatten, standardize=True)
    return Samples(found.name, found.shape, len(found.classes), found.provenance.sha256, *tensors)


def source_of(config: RunConfig) -> Source:
    """The data that a configuration asks for, as its model reads them.

    Raises:
        ConfigError: a folder of images where a name belongs, or as the place of "best", which would look elsewhere.
        Others as ``load_samples`` and ``load_images``.
    """
    if config.data == FOLDER:
        return load_images(config.data_root, config.image_size, config.readers)
    meant = config.data_root if config.data == BEST else config.data
    if meant is not None and config.data not in data.recipes and holds_splits(meant):
        raise ConfigError(
            "data of a training",
            expected=f"'{FOLDER}', for there are images in {meant}",
            got=repr(config.data),
            hint=f"--data {FOLDER} --data-root {meant}",
        )
    return load_samples(config.data, config.data_root, flatten=config.model is None)
