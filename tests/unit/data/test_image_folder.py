"""Images in folders: what is listed, how each kind of file becomes pixels, and what is refused by name."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gossamer import data
from gossamer.data.decode import LARGEST, decoded, random_box, training_pixels, validation_pixels
from gossamer.errors import ConfigError, DataError, MissingPackage

Image = pytest.importorskip("PIL.Image")


def save(path: Path, pixels: Any, mode: str | None = None) -> Path:
    """One image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(path)
    return path


def photo(number: int, height: int = 20, width: int = 28) -> np.ndarray[Any, Any]:
    """Some colours."""
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, five training images and two others; one file that is no image."""
    for number, name in enumerate(["train/b/1.png", "train/b/0.JPEG", "train/a/x.png", "train/a/y.png"]):
        save(tmp_path / name, photo(number))
    save(tmp_path / "train/a/z.bmp", photo(9))
    save(tmp_path / "val/a/1.png", photo(5))
    save(tmp_path / "val/b/2.png", photo(6))
    (tmp_path / "train/a/notes.txt").write_text("no image")
    (tmp_path / "train/.cache").mkdir()
    return tmp_path


def test_classes_and_files_are_sorted(folder: Path) -> None:
    train, val = data.image_folders(folder)
    assert train.classes == val.classes == ("a", "b")
    assert train.files == ("a/x.png", "a/y.png", "a/z.bmp", "b/0.JPEG", "b/1.png")
    assert train.labels == (0, 0, 0, 1, 1)


def test_the_checksum_sees_names_and_sizes(folder: Path) -> None:
    before = data.image_folder(folder / "train").sha256
    assert before == data.image_folder(folder / "train").sha256
    with (folder / "train/a/z.bmp").open("ab") as file:
        file.write(b"0")
    assert before != data.image_folder(folder / "train").sha256


def test_order_and_crops_depend_on_seed_and_epoch_alone(folder: Path) -> None:
    """Threads change nothing; a start in the middle gives the rest; another epoch gives other crops."""
    train = data.image_folder(folder / "train")

    def epoch(number: int, start: int = 0, readers: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(data.training_images(train, 16, 2, seed=3, epoch=number, start=start, readers=readers))

    whole, threads, rest, other = epoch(0), epoch(0, readers=3), epoch(0, start=1), epoch(1)
    assert [x.shape for x, _ in whole] == [(2, 3, 16, 16), (2, 3, 16, 16), (1, 3, 16, 16)]
    assert all(
        torch.equal(a, b)
        for one, two in zip(whole, threads, strict=True)
        for a, b in zip(one, two, strict=True)
    )
    assert all(torch.equal(a[0], b[0]) for a, b in zip(whole[1:], rest, strict=True))
    assert sorted(torch.cat([y for _, y in whole]).tolist()) == [0, 0, 0, 1, 1]
    assert not torch.equal(torch.cat([x for x, _ in whole]), torch.cat([x for x, _ in other]))


def test_workers_share_every_class(folder: Path) -> None:
    """Parts are taken in turns: files are sorted by class, so that halves would hold one class each."""
    train = data.image_folder(folder / "train")
    parts = [
        [y for _, y in data.training_images(train, 8, 9, seed=0, epoch=0, part=part, parts=2)]
        for part in (0, 1)
    ]
    assert [sorted(labels[0].tolist()) for labels in parts] == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": 0},
        {"batch": -1},
        {"start": -1},
        {"part": 2, "parts": 2},
        {"parts": 6},
        {"size": 0},
        {"size": 1 << 20},
        {"size": 8.5},
        {"readers": -1},
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused(folder: Path, wrong: dict[str, int]) -> None:
    """No batches, the last one, or the images of another worker would look like an epoch."""
    train, given = data.image_folder(folder / "train"), {"size": 8, "batch": 2, "seed": 0, "epoch": 0}
    with pytest.raises(ConfigError):
        data.training_images(train, **(given | wrong))
    if wrong.keys() & {"batch", "size", "readers"}:
        with pytest.raises(ConfigError, match=r"batch_size >= 1|from 1 to 8192 pixels, and readers >= 0"):
            data.validation_images(train, **({"size": 8, "batch": 2} | wrong))


def test_validation_takes_the_middle() -> None:
    """Against a picture whose middle is known: 7/8 of the shorter side."""
    assert _middle(np.full((16, 32, 3), 7, np.uint8), inside=200) == (200, 200)


def _middle(pixels: np.ndarray[Any, Any], inside: int) -> tuple[int, int]:
    from tempfile import TemporaryDirectory

    pixels[1:15, 9:23] = inside
    with TemporaryDirectory() as folder:
        found = validation_pixels(save(Path(folder) / "a.png", pixels), 14)
    return int(found.min()), int(found.max())


def test_images_are_standardized(folder: Path) -> None:
    save(folder / "val/a/1.png", np.full((16, 16, 3), 255, np.uint8))
    (x, y), *_ = data.validation_images(data.image_folder(folder / "val"), 8, 1)
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(x[0], expected.view(3, 1, 1).expand(3, 8, 8))
    assert y.tolist() == [0]


def test_random_boxes_lie_inside_and_have_the_stated_shapes() -> None:
    draw = np.random.default_rng(0)
    for width, height in ((100, 80), (3, 500), (1, 1)):
        for _ in range(50):
            left, top, right, bottom = random_box(width, height, draw)
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            if width == 100:
                assert 0.07 < (right - left) * (bottom - top) / 8000 <= 1
                assert 0.7 < (right - left) / (bottom - top) < 1.4


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "RGBA", "CMYK", "RGB"])
def test_every_kind_of_colour_becomes_three_channels(mode: str, tmp_path: Path) -> None:
    name = "a.tiff" if mode == "CMYK" else "a.png"
    path = save(tmp_path / name, np.full((8, 8, 3), 255, np.uint8), mode)
    found = validation_pixels(path, 8)
    assert (found.shape, found.dtype, int(found.min())) == ((8, 8, 3), np.uint8, 255)


def test_sixteen_bits_keep_their_upper_eight(tmp_path: Path) -> None:
    """Not clipped at 255, which would make most of such an image white."""
    path = save(tmp_path / "deep.png", np.full((8, 8), 0x4080, np.uint16))
    assert np.unique(validation_pixels(path, 8)).tolist() == [0x40]


def test_a_palette_with_transparency_keeps_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.full((8, 8, 3), [200, 10, 30], np.uint8)).convert(
        "P", palette=Image.Palette.ADAPTIVE, colors=2
    )
    image.save(tmp_path / "p.png", transparency=bytes([255, 0]))
    found = training_pixels(tmp_path / "p.png", 8, np.random.default_rng(0))
    assert np.unique(found.reshape(-1, 3), axis=0).tolist() == [[200, 10, 30]]


def _png_header(width: int, height: int) -> bytes:
    """A PNG of almost nothing that claims a size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [8193, 12_000, 60_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_huge_image_is_refused_before_it_is_decoded(side: int, tmp_path: Path) -> None:
    """Under Pillow's own bound for warnings, between its bounds, and above both."""
    (tmp_path / "bomb.png").write_bytes(_png_header(side, side))
    with pytest.raises(DataError, match=rf"bomb.png: expected at most {LARGEST} pixels"):
        decoded(tmp_path / "bomb.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "tif", "webp"])
def test_a_truncated_image_is_named(suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"cut.{suffix}", photo(1, 64, 64))
    whole = path.read_bytes()
    for length in (len(whole) * 2 // 3, 20, 0):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=rf"image .*cut.{suffix}: expected"):
            decoded(path)


def test_other_kinds_of_pixels_and_files_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "float.tif", np.ones((8, 8), np.float32))
    with pytest.raises(DataError, match=r"float.tif: expected pixels of 1, 8 or 16 bits, got the mode 'F'"):
        decoded(tmp_path / "float.tif")
    (tmp_path / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(DataError, match=r"script.png: expected an image"):
        decoded(tmp_path / "script.png")


@pytest.mark.parametrize("readers", [0, 2])
def test_a_damaged_file_is_named_in_the_middle_of_an_epoch(folder: Path, readers: int) -> None:
    (folder / "train/a/y.png").write_bytes(b"")
    train = data.image_folder(folder / "train")
    with pytest.raises(DataError, match=r"a/y.png"):
        list(data.training_images(train, 8, 2, seed=0, epoch=0, readers=readers))


def test_links_that_leave_the_folder_are_refused(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of files and of classes; one that stays is followed, and the root itself may be one."""
    outside = save(tmp_path_factory.mktemp("elsewhere") / "a.png", photo(3))
    (folder / "train/b/2.png").symlink_to(folder / "train/a/x.png")
    assert "b/2.png" in data.image_folder(folder / "train").files
    (folder / "train/b/3.png").symlink_to(outside)
    with pytest.raises(DataError, match=r"3.png: expected links that stay in .*train, got one to .*a.png"):
        data.image_folder(folder / "train")
    (folder / "train/b/3.png").unlink()
    (folder / "train/c").symlink_to(outside.parent)
    with pytest.raises(DataError, match=r"train/c: expected links that stay"):
        data.image_folder(folder / "train")
    (folder / "train/c").unlink()
    (outside.parent / "whole").symlink_to(folder)
    assert data.image_folders(outside.parent / "whole")[0].classes == ("a", "b")


def test_folders_that_make_no_data_set_are_refused(folder: Path) -> None:
    """A class alone, an empty one, other classes in val, a folder in a class, a broken link, nothing at all."""
    train = folder / "train"
    (train / "c").mkdir()
    with pytest.raises(DataError, match=r"train/c: expected at least one image, got none; images end in"):
        data.image_folders(folder)
    save(train / "c/1.png", photo(0))
    with pytest.raises(DataError, match="the same classes in train and val, got 'c' in one of them only"):
        data.image_folders(folder)
    (train / "c/deeper").mkdir()
    with pytest.raises(DataError, match="a folder in a class, 'deeper'"):
        data.image_folders(folder)
    (train / "b/broken.png").symlink_to(train / "b/not-there.png")
    with pytest.raises(
        DataError, match=r"broken.png: expected a file or a folder behind the link, got No such"
    ):
        data.image_folders(folder)
    (train / "b/broken.png").unlink()
    (train / "d").symlink_to("d")
    with pytest.raises(
        DataError, match=r"train/d: expected a file or a folder behind the link, got Too many"
    ):
        data.image_folders(folder)
    (train / "d").unlink()
    save(train / "0.png", photo(0))
    with pytest.raises(
        DataError, match=r"0.png: expected images in a sub-folder for each class, got one beside"
    ):
        data.image_folders(folder)
    (folder / "one/a").mkdir(parents=True)
    with pytest.raises(DataError, match="a sub-folder for each of at least two classes, got one, 'a'"):
        data.image_folder(folder / "one")
    with pytest.raises(DataError, match="a folder without train and val"):
        data.image_folders(folder / "one")


def test_names_that_are_no_utf8_are_read_and_can_be_printed(folder: Path) -> None:
    name = os.fsencode(folder / "train/a") + b"/\xff.png"
    (folder / "train/a/x.png").rename(os.fsdecode(name))
    train = data.image_folder(folder / "train")
    assert sum(len(y) for _, y in data.training_images(train, 8, 2, seed=0, epoch=0)) == 5
    Path(os.fsdecode(name)).write_bytes(b"")
    with pytest.raises(DataError, match=r"udcff.png: expected an image") as error:
        list(data.training_images(train, 8, 2, seed=0, epoch=0))
    assert b"udcff.png" in str(error.value).encode()


def test_without_pillow_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gossamer.data import decode

    decode.pillow.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    with pytest.raises(MissingPackage, match=r"Pillow.*pip install 'gossamer\[images\]'"):
        next(data.validation_images(data.image_folder(folder / "val"), 8, 1))
    decode.pillow.cache_clear()
