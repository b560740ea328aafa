"""From stored bytes to training tensors and minibatches."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from gossamer import data
from gossamer.errors import ConfigError, DtypeError, ShapeError

COLOUR = np.arange(2 * 2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 2, 3)


def dataset(x: np.ndarray, x_test: np.ndarray) -> data.Dataset:
    provenance = data.Provenance("root", "here", "", False, "CC0")
    y = np.zeros(len(x), np.uint8)
    return data.Dataset("toy", x, y, x_test, y[: len(x_test)], ("a",), provenance)


def test_channels_come_first_and_each_has_its_own_mean() -> None:
    toy = dataset(COLOUR, COLOUR[:1])
    mean, std = toy.moments()
    np.testing.assert_allclose(mean, COLOUR.reshape(-1, 3).mean(0), rtol=1e-15)
    np.testing.assert_allclose(std, COLOUR.reshape(-1, 3).std(0), rtol=1e-15)
    images = toy.tensors(flatten=False, standardize=False)[0]
    assert images.tolist() == COLOUR.transpose(0, 3, 1, 2).tolist()
    x_train, _, x_test, _ = toy.tensors(flatten=False, dtype=torch.float64)
    expected = (COLOUR - COLOUR.reshape(-1, 3).mean(0)) / COLOUR.reshape(-1, 3).std(0)
    np.testing.assert_allclose(x_train.numpy(), expected.transpose(0, 3, 1, 2), rtol=1e-14)
    np.testing.assert_array_equal(x_test, x_train[:1])
    assert torch.equal(toy.tensors(dtype=torch.float64)[0], x_train.flatten(1))


def test_the_test_split_does_not_touch_the_scale() -> None:
    toy = dataset(np.array([[[0, 2]]], np.uint8), np.array([[[255, 255]]], np.uint8))
    x_train, _, x_test, _ = toy.tensors()
    assert x_train.tolist() == [[-1.0, 1.0]]
    assert x_test.tolist() == [[254.0, 254.0]]


def test_a_constant_channel_becomes_zero() -> None:
    x = np.full((3, 2, 2), 7, np.uint8)
    assert not dataset(x, x).tensors()[0].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_type_and_only_those(dtype: torch.dtype) -> None:
    toy = data.load("digits")
    x_train, y_train, x_test, y_test = toy.tensors(dtype=dtype)
    assert x_train.dtype == x_test.dtype == dtype
    assert y_train.dtype == y_test.dtype == torch.int64
    exact = toy.tensors(dtype=torch.float64)[0]
    assert torch.allclose(x_train.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)
    with pytest.raises(DtypeError, match="floating-point"):
        toy.tensors(dtype=torch.int64)


def test_stored_arrays_cannot_be_changed_through_anything_handed_out() -> None:
    toy = data.load("digits")
    with pytest.raises(ValueError, match="read-only"):
        toy.x_train[0] = 0
    before = toy.x_train.copy()
    for tensor in toy.tensors(standardize=False):
        tensor.zero_()
    np.testing.assert_array_equal(toy.x_train, before)


def test_digits_are_split_evenly() -> None:
    toy = data.load("digits")
    counts = np.bincount(toy.y_train) + np.bincount(toy.y_test)
    np.testing.assert_array_equal(np.bincount(toy.y_test), counts // 5)
    assert toy.provenance.kind == "embedded"
    assert toy.provenance.verified


@pytest.mark.parametrize("n", [0, 1, 6, 7])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_sample_comes_once_with_its_label(n: int, shuffle: bool) -> None:
    x = torch.arange(n)
    pairs = list(data.batches(x, x + 100, 3, data.epoch_generator(0, 0), shuffle=shuffle))
    assert [len(part) for part, _ in pairs] == [3] * (n // 3) + ([n % 3] if n % 3 else [])
    assert all(torch.equal(part + 100, labels) for part, labels in pairs)
    assert sorted(number for part, _ in pairs for number in part.tolist()) == list(range(n))
    full = list(data.batches(x, x, 3, data.epoch_generator(0, 0), shuffle=shuffle, drop_last=True))
    assert [part.tolist() for part, _ in full] == [part.tolist() for part, _ in pairs[: n // 3]]


def test_the_rest_of_an_epoch_can_be_made_again() -> None:
    x = torch.arange(20)

    def order(seed: int, epoch: int, **options: Any) -> list[list[int]]:
        return [
            part.tolist() for part, _ in data.batches(x, x, 6, data.epoch_generator(seed, epoch), **options)
        ]

    assert order(1, 2, start=2) == order(1, 2)[2:]
    assert order(1, 2, start=9) == []
    assert len({str(order(seed, epoch)) for seed in range(5) for epoch in range(5)}) == 25


def test_the_global_generator_is_the_default() -> None:
    x = torch.arange(20)
    torch.manual_seed(3)
    first = next(data.batches(x, x, 20))[0].tolist()
    torch.manual_seed(3)
    assert first == next(data.batches(x, x, 20))[0].tolist()


def test_wrong_arguments_are_refused_at_the_call() -> None:
    x = torch.arange(4)
    with pytest.raises(ShapeError, match="4 and 3"):
        data.batches(x, x[:3], 2)
    with pytest.raises(ConfigError, match="batch_size"):
        data.batches(x, x, 0)
    with pytest.raises(ConfigError, match="start"):
        data.batches(x, x, 1, start=-1)
    with pytest.raises(ConfigError, match="seed"):
        data.epoch_generator(-1, 0)


def test_importing_and_listing_needs_no_torch() -> None:
    code = (
        "import sys, gossamer; before = set(sys.modules); import gossamer.data; gossamer.data.names();"
        "sys.exit(bool({'torch', 'sklearn', 'rich'} & (set(sys.modules) - before)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
