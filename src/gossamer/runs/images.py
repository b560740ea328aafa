"""Images in folders as the data of a training."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from gossamer import data
from gossamer.errors import DataError
from gossamer.runs.config import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from gossamer.data import ImageFolder
    from gossamer.runs.config import RunConfig

EVALUATION_BATCH = 64


@dataclass(frozen=True, eq=False)
class Images:
    """A Source that decodes images as they are asked for.

    Args:
        train, validation: ImageFolder.
        size: int, pixels - of a side of an image.
        readers: int - threads that decode.
    """

    train: ImageFolder
    validation: ImageFolder
    size: int
    readers: int
    name = FOLDER

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored: channels last."""
        return (self.size, self.size, 3)

    @property
    def classes(self) -> int:
        """Sub-folders."""
        return len(self.train.classes)

    @property
    def sha256(self) -> str:
        """Of the names and sizes of all files."""
        return sha256(f"{self.train.sha256}{self.validation.sha256}".encode()).hexdigest()

    @property
    def count(self) -> int:
        """Training images."""
        return len(self.train.files)

    def training(
        self, config: RunConfig, epoch: int, start: int, part: int, parts: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As Source says."""
        return data.training_images(
            self.train,
            self.size,
            config.batch,
            seed=config.seed,
            epoch=epoch,
            start=start,
            part=part,
            parts=parts,
            augment=config.augment == "standard",
            readers=self.readers,
        )

    def testing(self) -> Iterator[tuple[Tensor, Tensor]]:
        """As Source says."""
        return data.validation_images(self.validation, self.size, EVALUATION_BATCH, self.readers)


def load_images(root: str | None, size: int, readers: int) -> Images:
    """The images below a folder; raises DataError as ``gossamer.data.image_folders``, and where none is named."""
    if root is None:
        raise DataError(
            "image folder",
            expected="data_root, which holds train and val",
            got="none",
            hint="--data-root FOLDER",
        )
    return Images(*data.image_folders(root), size, readers)
