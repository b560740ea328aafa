"""The teacher's outputs on disk: of these weights, data and augmentation, and checked."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

import gossamer as gs
from gossamer import storage
from gossamer.distillation import AttentionTransfer, Distillation, Logits, TeacherCache, fingerprint_of
from gossamer.errors import ConfigError, FormatError, StateError

if TYPE_CHECKING:
    from pathlib import Path

X, Y = torch.linspace(-1, 1, 48).reshape(6, 8), torch.tensor([0, 1, 2, 0, 1, 2])


class Counted(nn.Module):
    """Counts the passes it makes."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.body, self.head, self.passes = nn.Linear(8, width), nn.Linear(width, 3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        y: Tensor = self.head(self.body(x).relu())
        return y


def pair() -> tuple[Counted, nn.Module]:
    torch.manual_seed(0)
    return Counted(), nn.Linear(8, 3)


def opened(folder: Path, teacher: nn.Module, student: nn.Module, **settings: Any) -> Distillation:
    cache = TeacherCache(folder, **{"data": "here", "augmentation": "none"} | settings)
    return Distillation(teacher, student, Logits(), cache=cache)


def losses(loss: Distillation, student: nn.Module, orders: list[list[int]]) -> list[float]:
    return [loss(student(X[order]), Y[order], X[order]).item() for order in orders]


ORDERS = [[0, 1, 2], [3, 4, 5], [5, 0, 3], [1, 1, 4]]


def test_a_sample_is_asked_for_once_in_whatever_batches_and_processes(tmp_path: Path) -> None:
    teacher, student = pair()
    plain = losses(Distillation(teacher, student, Logits()), student, ORDERS)
    teacher.passes = 0
    with opened(tmp_path, teacher, student) as loss:
        assert losses(loss, student, ORDERS) == pytest.approx(plain)
    assert teacher.passes == 2
    assert loss.cache is not None
    assert (loss.cache.hits, loss.cache.misses) == (6, 6)
    again = opened(tmp_path, teacher, student)
    assert losses(again, student, ORDERS) == pytest.approx(plain)
    assert teacher.passes == 3, "what was read is compared once with what the teacher says"
    assert not [path for path in tmp_path.rglob("*") if path.suffix not in ("", ".safetensors")]


def test_a_full_cache_gives_the_bits_of_an_empty_one(tmp_path: Path) -> None:
    """Also where a batch is known in part."""
    teacher, student = pair()
    with opened(tmp_path, teacher, student) as loss:
        cold = losses(loss, student, [[0, 1, 2], [2, 3, 0, 5, 4]])
    assert losses(opened(tmp_path, teacher, student), student, [[0, 1, 2], [2, 3, 0, 5, 4]]) == cold


def test_features_are_kept_with_the_output(tmp_path: Path) -> None:
    torch.manual_seed(0)
    convs = [nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(48, 3)) for _ in range(2)]
    x, terms = torch.randn(6, 1, 6, 6), (Logits(), AttentionTransfer(layers=["0"]))
    plain = Distillation(*convs, *terms)(convs[1](x), Y, x)
    for _ in range(2):
        cache = TeacherCache(tmp_path, data="a", augmentation="none")
        with Distillation(*convs, *terms, cache=cache) as loss:
            assert torch.equal(loss(convs[1](x), Y, x), plain)
    assert (cache.hits, cache.misses) == (6, 0)


@pytest.mark.parametrize("other", ["weights", "data", "augmentation", "layers"])
def test_outputs_of_anything_else_are_not_used(other: str, tmp_path: Path) -> None:
    teacher, student = pair()
    with opened(tmp_path, teacher, student) as loss:
        losses(loss, student, ORDERS)
    teacher.passes, settings = 0, {}
    if other == "weights":
        with torch.no_grad():
            teacher.head.bias[0] += 1e-6
    elif other == "layers":
        teacher.register_module("unused", nn.ReLU())
    else:
        settings[other] = "another one"
    losses(opened(tmp_path, teacher, student, **settings), student, ORDERS)
    assert teacher.passes == 2


def test_a_teacher_that_changes_while_the_cache_is_open_is_refused(tmp_path: Path) -> None:
    teacher, student = pair()
    loss = opened(tmp_path, teacher, student)
    losses(loss, student, ORDERS)
    with torch.no_grad():
        teacher.head.bias.mul_(1.0)  # the same numbers
    losses(loss, student, ORDERS)
    with torch.no_grad():
        teacher.head.bias.add_(1.0)
    with pytest.raises(StateError, match="has changed since"):
        losses(loss, student, ORDERS)


def test_a_file_moved_from_another_teacher_is_refused(tmp_path: Path) -> None:
    teacher, student = pair()
    with opened(tmp_path, teacher, student) as loss:
        losses(loss, student, ORDERS)
    assert loss.cache is not None
    (file,) = loss.cache.folder.iterdir()
    with torch.no_grad():
        teacher.head.bias.add_(1.0)
    other = opened(tmp_path, teacher, student).cache
    assert other is not None
    other.folder.mkdir()
    file.rename(other.folder / file.name)
    with pytest.raises(FormatError, match="outputs of this teacher"):
        opened(tmp_path, teacher, student)


def rewritten(file: Path, change: str) -> None:
    """A file of the cache, damaged in one way."""
    tensors, document = storage.read(file, "teacher outputs", (1,))
    if change == "cut":
        file.write_bytes(file.read_bytes()[:-20])
        return
    if change == "header":
        file.write_bytes((1 << 62).to_bytes(8, "little") + file.read_bytes()[8:])
        return
    if change == "fewer rows":
        tensors["of/"] = tensors["of/"][:-1]
    elif change == "no keys":
        del tensors["keys"]
    elif change == "wide keys":
        tensors["keys"] = tensors["keys"].to(torch.int64)
    elif change == "scalar":
        tensors["of/"] = torch.tensor(1.0)
    elif change == "integers":
        tensors["of/"] = tensors["of/"].to(torch.int64)
    elif change == "a bit":
        tensors["of/"].view(torch.int32)[0, 0] ^= 1
    else:
        tensors["of/"][0, 0] = torch.nan
    storage.write(file, tensors, document)


@pytest.mark.parametrize(
    "change", ["cut", "header", "fewer rows", "no keys", "wide keys", "scalar", "integers", "nan", "a bit"]
)
def test_damaged_files_are_refused(change: str, tmp_path: Path) -> None:
    teacher, student = pair()
    with opened(tmp_path, teacher, student) as loss:
        losses(loss, student, ORDERS)
    assert loss.cache is not None
    (file,) = loss.cache.folder.iterdir()
    rewritten(file, change)
    with pytest.raises(FormatError, match=r"read "):
        opened(tmp_path, teacher, student)


def test_sizes_are_looked_at_before_numbers(tmp_path: Path) -> None:
    teacher, student = pair()
    with opened(tmp_path, teacher, student) as loss:
        losses(loss, student, ORDERS)
    with pytest.raises(FormatError, match="at most 100 bytes"):
        opened(tmp_path, teacher, student, most=100)
    with pytest.raises(ConfigError, match="at most 10 bytes"):
        losses(opened(tmp_path / "new", teacher, student, most=10), student, ORDERS)


def test_augmentation_that_cannot_be_told_again_is_refused(tmp_path: Path) -> None:
    for none in (None, "", " "):
        with pytest.raises(ConfigError, match="cannot be cached"):
            TeacherCache(tmp_path, data="a", augmentation=none)
    with pytest.raises(ConfigError, match="data"):
        TeacherCache(tmp_path, data="", augmentation="none")


def test_random_inputs_that_were_called_the_same_are_found_out(tmp_path: Path) -> None:
    class Noisy:
        def __iter__(self) -> Any:
            return iter([(X + torch.randn_like(X), Y)])

    teacher, student = pair()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    cache = TeacherCache(tmp_path, data="a", augmentation="none")
    with pytest.raises(ConfigError, match="the same inputs in every epoch"):
        gs.distill(student, teacher, Noisy(), optimizer, epochs=3, cache=cache)


def test_a_training_with_a_cache_asks_the_teacher_once_a_sample(tmp_path: Path) -> None:
    teacher, student = pair()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    cache = TeacherCache(tmp_path, data="a", augmentation="none")
    gs.distill(student, teacher, [(X[:3], Y[:3]), (X[3:], Y[3:])], optimizer, epochs=4, cache=cache)
    assert teacher.passes == 2


def test_inputs_that_are_not_one_a_sample_are_refused(tmp_path: Path) -> None:
    teacher, student = pair()
    loss = opened(tmp_path, teacher, student)
    for inputs in ({"x": X, "n": 3}, (X, X[:2]), (), torch.tensor(1.0)):
        with pytest.raises(ConfigError, match=r"tensors .* of one batch"):
            loss(student(X), Y, inputs)


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from test_cache import losses, opened, linear_pair
teacher, student = linear_pair()
with opened(sys.argv[2], teacher, student) as loss:
    losses(loss, student, [[0, 1, 2], [3, 4, 5]])
"""


def linear_pair() -> tuple[nn.Module, nn.Module]:
    """Of torch's own classes, which have one name in every process."""
    torch.manual_seed(0)
    return nn.Linear(8, 3), nn.Linear(8, 3)


def test_two_processes_may_fill_it_at_once(tmp_path: Path) -> None:
    here = str(__file__).rpartition("/")[0]
    command = [sys.executable, "-c", WRITER, here, str(tmp_path)]
    running = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    teacher, student = linear_pair()
    loss = opened(tmp_path, teacher, student)
    losses(loss, student, ORDERS)
    assert loss.cache is not None
    assert (loss.cache.hits, loss.cache.misses) == (12, 0)
    assert len([*loss.cache.folder.iterdir()]) == 1


def test_a_kill_while_writing_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student = pair()
    with opened(tmp_path, teacher, student) as loss:
        losses(loss, student, [[0, 1, 2]])
    loss = opened(tmp_path, teacher, student)
    losses(loss, student, ORDERS)
    monkeypatch.setattr(
        "safetensors.torch.save_file", lambda _t, path, metadata: (path.write_bytes(b"x"), 1 / 0)
    )
    with pytest.raises(ZeroDivisionError):
        loss.close()
    assert loss.cache is not None
    assert len([*loss.cache.folder.iterdir()]) == 1
    monkeypatch.undo()
    losses(opened(tmp_path, teacher, student), student, ORDERS)


def test_check_sums_tell_structure_and_every_number() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    seen = {fingerprint_of(model)}
    model[1] = nn.Tanh()
    seen.add(fingerprint_of(model))
    gs.sparsify(model, 0.5, gs.Unstructured(), generator=torch.Generator().manual_seed(0))
    seen.add(fingerprint_of(model))
    model[0].reset_parameters()
    seen.add(fingerprint_of(model))
    assert len(seen) == 4


def test_a_teacher_of_the_same_weights_that_says_something_else_is_found_out(tmp_path: Path) -> None:
    """A hook, or a number in its code, is not in the weights: the first batch that is known is asked for again."""
    teacher, student = linear_pair()
    with opened(tmp_path, teacher, student) as loss:
        loss(student(X), Y, X)
    with opened(tmp_path, teacher, student) as loss:
        loss(student(X), Y, X)
        assert loss.cache is not None
        assert (loss.cache.hits, loss.cache.misses) == (len(X), 0)
    teacher.register_forward_hook(lambda _module, _inputs, output: output * 5)
    with (
        opened(tmp_path, teacher, student) as loss,
        pytest.raises(StateError, match="a teacher with the same weights"),
    ):
        loss(student(X), Y, X)
