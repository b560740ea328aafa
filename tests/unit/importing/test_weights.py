"""Weights in the forms in which people hold them: masks beside them, parametrizations, packed bits, pickles."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import prune

import gossamer as gs
from gossamer.errors import FormatError, PatternError
from gossamer.importing import convert, read


def packed(rows: Tensor, name: str = "fc.weight") -> dict[str, Tensor]:
    """A weight as sparse-bitmask, written down bit by bit."""
    mask = rows != 0
    bits = torch.zeros(rows.shape[0], -(-rows.shape[1] // 8), dtype=torch.uint8)
    for row, col in mask.nonzero().tolist():
        bits[row, col // 8] |= 1 << (col % 8)
    starts = [int(mask[:row].sum()) for row in range(rows.shape[0])]
    return {
        f"{name}.compressed": rows[mask],
        f"{name}.bitmask": bits,
        f"{name}.shape": torch.tensor(rows.shape),
        f"{name}.row_offsets": torch.tensor(starts),
    }


def configured(folder: Path, **sparsity: Any) -> None:
    (folder / "config.json").write_text(json.dumps({"quantization_config": {"sparsity_config": sparsity}}))


def tensors(path: Path) -> dict[str, Tensor]:
    found = read(path).content.tensors
    assert isinstance(found, dict)
    return found


def test_the_golden_bitmask(tmp_path: Path) -> None:
    """Row (0, 1, 0, 2, 0, 0, 3, 0, 4): bytes 74 and 1, little end first; bits behind the last column are padding."""
    row = torch.tensor([[0.0, 1, 0, 2, 0, 0, 3, 0, 4]])
    held = packed(row)
    assert held["fc.weight.bitmask"].tolist() == [[74, 1]]
    held["fc.weight.bitmask"][0, 1] |= 0x80
    save_file(held, tmp_path / "m.safetensors")
    configured(tmp_path, format="sparse-bitmask")
    assert torch.equal(tensors(tmp_path / "m.safetensors")["fc.weight"], row)


def test_8_bit_floats_keep_their_bits(tmp_path: Path) -> None:
    row = torch.tensor([[0.0, 1, 0, -2]])
    held = packed(row)
    held["fc.weight.compressed"] = held["fc.weight.compressed"].to(torch.float8_e4m3fn)
    save_file(held, tmp_path / "m.safetensors")
    found = tensors(tmp_path / "m.safetensors")["fc.weight"]
    assert torch.equal(found.view(torch.int8), row.to(torch.float8_e4m3fn).view(torch.int8))
    assert convert(tmp_path / "m.safetensors", tmp_path / "out.safetensors").rows[0].connections == 2


def test_two_of_four_with_stored_zeros(tmp_path: Path) -> None:
    """The layer's name loses ".weight"; a group with one weight left stores a zero."""
    dense = torch.tensor([[0.0, 5, 0, 6, 7, 0, 0, 0]])
    held = {
        "fc.compressed": torch.tensor([[5.0, 6, 7, 0]]),
        "fc.bitmask": torch.tensor([[0b00110000 | 0b1010]], dtype=torch.uint8),
        "fc.shape": torch.tensor([[1], [8]]),
        "fc.bias": torch.ones(1),
    }
    save_file(held, tmp_path / "m.safetensors")
    configured(tmp_path, format="sparse-24-bitmask", global_sparsity=0.5)
    found = tensors(tmp_path / "m.safetensors")
    assert torch.equal(found["fc.weight"], dense)
    assert found.keys() == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ("shape", torch.tensor([1 << 40, 9])),
        ("shape", torch.tensor([1])),
        ("shape", torch.tensor([-1, 9])),
        ("bitmask", torch.full((1, 2), 255, dtype=torch.uint8)),
        ("bitmask", torch.zeros(1, 3, dtype=torch.uint8)),
        ("bitmask", torch.zeros(1, 2)),
        ("compressed", torch.ones(5)),
        ("row_offsets", torch.tensor([1])),
        ("shape", None),
        ("compressed", None),
    ],
)
def test_parts_that_do_not_fit_are_refused(part: str, wrong: Tensor | None, tmp_path: Path) -> None:
    held = packed(torch.tensor([[0.0, 1, 0, 2, 0, 0, 3, 0, 4]]))
    held.pop(f"fc.weight.{part}")
    if wrong is not None:
        held[f"fc.weight.{part}"] = wrong
    save_file(held, tmp_path / "m.safetensors")
    configured(tmp_path, format="sparse-bitmask")
    with pytest.raises(FormatError, match=r"fc\.weight"):
        read(tmp_path / "m.safetensors")


def test_a_dense_file_with_an_old_note_is_read(tmp_path: Path) -> None:
    """The note says that the weights are sparse, the format that they are stored dense."""
    save_file({"fc.weight": torch.eye(4)}, tmp_path / "m.safetensors")
    configured(tmp_path, format="dense", global_sparsity=0.75, sparsity_structure="unstructured")
    made = convert(tmp_path / "m.safetensors", tmp_path / "out.safetensors")
    assert made.rows[0].zeros == 0.75
    assert made.notes == ()
    configured(tmp_path, format="dense", global_sparsity=0.5)
    made = convert(tmp_path / "m.safetensors", tmp_path / "out.safetensors")
    assert "states 50.00%" in made.notes[0]


def test_permuted_integers_are_refused_with_the_reason(tmp_path: Path) -> None:
    held = {
        "fc.weight_packed": torch.ones(2, 2, dtype=torch.int32),
        "fc.meta": torch.ones(2, dtype=torch.int16),
    }
    save_file(held, tmp_path / "m.safetensors")
    with pytest.raises(FormatError, match=r"marlin-24.*decompress"):
        read(tmp_path / "m.safetensors")


def test_masks_of_torch_become_zeros_under_the_old_names(tmp_path: Path) -> None:
    """Also of recurrent layers; what comes out loads into a model and is taken for what it is."""
    model = nn.ModuleDict({"rnn": nn.GRU(8, 16), "fc": nn.Linear(16, 4)})
    prune.l1_unstructured(model["rnn"], "weight_hh_l0", 0.9)
    prune.l1_unstructured(model["fc"], "weight", 0.5)
    with torch.no_grad():
        model["fc"].weight_orig += 1.0
    torch.save({"epoch": 3, "state_dict": model.state_dict()}, tmp_path / "m.pt")
    made = convert(tmp_path / "m.pt", tmp_path / "out.safetensors")
    assert made.result == "weights"
    assert made.notes == ("2 masks multiplied into their weights",)
    fresh = nn.ModuleDict({"rnn": nn.GRU(8, 16), "fc": nn.Linear(16, 4)})
    fresh.load_state_dict(load_file(tmp_path / "out.safetensors"))
    gs.from_zeros(fresh)
    for name in ("fc.weight", "rnn.weight_hh_l0"):
        layer, _, parameter = name.rpartition(".")
        mask = getattr(model[layer], f"{parameter}_mask")
        ours = fresh["fc"] if layer == "fc" else fresh["rnn"].hh_l0
        assert torch.equal(ours.topology.mask(), mask.bool())
        assert torch.equal(ours.to_dense(), getattr(model[layer], f"{parameter}_orig").detach() * mask)


def test_a_parametrization_needs_its_mask(tmp_path: Path) -> None:
    held = {"fc.parametrizations.weight.original": torch.ones(2, 2)}
    torch.save(held, tmp_path / "m.pt")
    with pytest.raises(FormatError, match="squash_mask"):
        read(tmp_path / "m.pt")
    torch.save(held | {"fc.parametrizations.weight.0.mask": torch.eye(2)}, tmp_path / "m.pt")
    assert torch.equal(tensors(tmp_path / "m.pt")["fc.weight"], torch.eye(2))


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("exploded"),)


def test_pickled_modules_are_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    torch.save({"weight": torch.ones(2), "more": Bomb()}, tmp_path / "bomb.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb()))
    for name in ("whole", "bomb", "plain"):
        with pytest.raises(FormatError, match="state_dict"):
            read(tmp_path / f"{name}.pt")
    assert not (tmp_path / "exploded").exists()


def test_archives_and_views_out_of_proportion_are_refused(tmp_path: Path) -> None:
    """A compressed archive, and a tensor that shows one number a billion times."""
    torch.save({"w": torch.zeros(1).expand(1 << 15, 1 << 15)}, tmp_path / "view.pt")
    with pytest.raises(FormatError, match="proportion"):
        read(tmp_path / "view.pt")
    torch.save({"w": torch.zeros(1 << 20)}, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as old,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for each in old.infolist():
            new.writestr(each.filename, old.read(each))
    with pytest.raises(FormatError, match="not compressed"):
        read(tmp_path / "b.pt")


def test_a_named_pattern_is_checked(tmp_path: Path) -> None:
    save_file({"fc.weight": torch.tensor([[1.0, 2, 0, 0], [0, 0, 0, 0]])}, tmp_path / "m.safetensors")
    convert(tmp_path / "m.safetensors", tmp_path / "out.safetensors", "nm:2:4")
    with pytest.raises(PatternError, match=r"fc\.weight"):
        convert(tmp_path / "m.safetensors", tmp_path / "out.safetensors", "nm:1:4")


@pytest.mark.parametrize(
    ("head", "reason"),
    [(b"GGUF\3\0\0\0", "GGUF"), (b"\x89HDF\r\n\x1a\n", "HDF5"), (b"#!/bin/sh", "something else")],
)
def test_other_files_are_refused_with_what_they_are(head: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(head + bytes(64))
    with pytest.raises(FormatError, match=reason):
        read(tmp_path / "a.bin")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_of_weights_is_read_or_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / f"m.{data.draw(st.sampled_from(['safetensors', 'pt']))}"
    held = packed(torch.tensor([[0.0, 1, 0, 2, 0, 0, 3, 0, 4]]))
    save_file(held, path) if path.suffix == ".safetensors" else torch.save({"w": torch.eye(3)}, path)
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(whole[: data.draw(st.integers(17, len(whole)))]))
    try:
        found = tensors(path)
    except gs.GossamerError:
        return
    assert sum(each.numel() for each in found.values()) <= 8 * len(whole)


def test_masks_of_other_numbers_and_sizes_that_no_weight_has_are_refused(tmp_path: Path) -> None:
    """A mask is zeros and ones; thousands of dimensions, or one of 2^62 numbers beside one of none, are no weight."""
    for wrong in (2.0, -1.0, float("nan")):
        save_file(
            {"a.weight_orig": torch.ones(2, 2), "a.weight_mask": torch.full((2, 2), wrong)},
            tmp_path / "m.safetensors",
        )
        with pytest.raises(FormatError, match="zeros and ones"):
            read(tmp_path / "m.safetensors")
    for shape, numbers in (([1] * 5000, 4), ([0, 1 << 62, 4], 0)):
        head = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, numbers]}}).encode()
        (tmp_path / "s.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(numbers))
        with pytest.raises(FormatError, match="dimensions"):
            read(tmp_path / "s.safetensors")
