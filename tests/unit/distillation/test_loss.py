"""Distillation: the loss object, what it sees, and what it leaves as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer.distillation import (
    AttentionTransfer,
    Distillation,
    Hints,
    Logits,
    SquareHead,
    attention_loss,
    logits_loss,
    squarehead_loss,
)
from gossamer.errors import ConfigError, NonFiniteError, ShapeError, StateError


class Small(nn.Module):
    """A convolutional network with names."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width)
        self.act = nn.ReLU()
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.act(self.norm(self.conv(x))).mean((2, 3)))
        return y


def pair(width: int = 6) -> tuple[Small, Small]:
    torch.manual_seed(0)
    return Small(width), Small()


X = torch.linspace(-1, 1, 5 * 36).reshape(5, 1, 6, 6)
Y = torch.tensor([0, 1, 2, 0, 1])


def outputs(model: nn.Module, layer: str, x: Tensor = X) -> Tensor:
    """Of a layer, by hand."""
    found: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_hook(lambda _m, _i, y: found.append(y))
    model(x)
    hook.remove()
    return found[0]


def test_the_sum_is_the_task_and_the_terms() -> None:
    teacher, student = pair()
    teacher.eval()
    with Distillation(
        teacher,
        student,
        Logits(temperature=2.0, alpha=0.7),
        AttentionTransfer(layers={"act": "norm"}, weight=5.0),
        SquareHead(layers=["head"], weight=2.0),
    ) as loss:
        y = student(X)
        value = loss(y, Y, X)
    with torch.no_grad():
        soft = 0.7 * logits_loss(y, teacher(X), 2.0)
        looked = 5 * attention_loss(outputs(student, "act"), outputs(teacher, "norm"))
        hidden = 2 * squarehead_loss(y, teacher(X))
        expected = 0.3 * F.cross_entropy(y, Y) + soft + looked + hidden
    torch.testing.assert_close(value.detach(), expected)
    torch.testing.assert_close(loss.parts["AttentionTransfer"], looked)
    assert set(loss.parts) == {"task", "Logits", "AttentionTransfer", "SquareHead"}


def test_the_teacher_is_left_as_it_was() -> None:
    """Modes one by one, running statistics, gradients, hooks; after an error too."""
    teacher, student = pair()
    teacher.norm.eval()
    before = copy.deepcopy(teacher.state_dict())
    loss = Distillation(teacher, student, Logits(), AttentionTransfer(layers=["act"]))
    loss(student(X), Y, X).backward()
    with pytest.raises(RuntimeError):
        loss(student(X), Y, torch.ones(2, 2))
    assert (teacher.training, teacher.norm.training, teacher.head.training) == (True, False, True)
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in teacher.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in teacher.modules())
    loss.close()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in student.modules())
    assert not list(loss.parameters())


def test_a_teacher_in_training_mode_is_asked_in_evaluation_mode() -> None:
    teacher, student = pair()
    loss = Distillation(teacher, student, Logits(alpha=1.0))
    y = student(X)
    teacher.train()
    value = loss(y, Y, X)
    torch.testing.assert_close(value, logits_loss(y, teacher.eval()(X), 4.0))


@pytest.mark.parametrize("what", ["itself", "module", "parameter"])
def test_networks_that_share_are_refused(what: str) -> None:
    teacher, student = pair(4)
    if what == "itself":
        student = teacher
    elif what == "module":
        student.act = teacher.act
    else:
        student.head.bias = teacher.head.bias
    with pytest.raises(
        ConfigError, match={"itself": "whole", "module": "act", "parameter": r"head\.bias"}[what]
    ):
        Distillation(teacher, student, Logits())


def test_a_teacher_that_puts_out_nan_is_refused_by_name() -> None:
    teacher, student = pair()
    loss = Distillation(teacher, student, AttentionTransfer(layers={"conv": "norm"}))
    with torch.no_grad():
        teacher.norm.weight[0] = torch.nan
    with pytest.raises(NonFiniteError, match="teacher, "):
        loss(student(X), Y, X)
    teacher.head = nn.Linear(6, 3)
    with torch.no_grad():
        teacher.norm.weight[0] = 1.0
        teacher.head.bias[0] = torch.inf
    with pytest.raises(NonFiniteError, match="teacher, its output"):
        Distillation(teacher, student, Logits())(student(X), Y, X)


def test_shapes_that_do_not_fit_are_refused_at_once_where_there_is_an_example() -> None:
    teacher, student = pair()
    student.head = nn.Linear(4, 7)
    with pytest.raises(ShapeError, match=r"\[5, 3\], got \[5, 7\]"):
        Distillation(teacher, student, Logits(), example=X)
    with pytest.raises(ShapeError, match="distill conv from conv"):
        Distillation(teacher, student, SquareHead(layers=["conv"]), example=X)
    with pytest.raises(ShapeError, match=r"like .* but for the channels"):
        Distillation(teacher, student, Hints(layers={"conv": "head"}), example=X)
    with pytest.raises(ConfigError, match="did you mean 'conv'"):
        Distillation(teacher, student, SquareHead(layers=["convv"]))
    assert not any(m._forward_hooks for m in (*teacher.modules(), *student.modules()))


def test_logits_of_more_dimensions_say_where_classes_are() -> None:
    torch.manual_seed(0)
    teacher, student = nn.Linear(4, 3), nn.Linear(4, 3)
    x, y = torch.randn(2, 5, 4), torch.tensor([[0, 1, 2, -100, -100], [0, -100, 1, 1, 1]])

    def task(z: Tensor, t: Tensor) -> Tensor:
        return F.cross_entropy(z.flatten(0, 1), t.flatten())

    with pytest.raises(ShapeError, match="dim= where the classes are"):
        Distillation(teacher, student, Logits(), task=task)(student(x), y, x)
    value = Distillation(teacher, student, Logits(dim=-1, alpha=1.0), task=task)(student(x), y, x)
    keep = y != -100
    torch.testing.assert_close(value, logits_loss(student(x)[keep], teacher(x)[keep], 4.0))


def test_padding_is_read_off_named_inputs() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(3, 2)

        def forward(self, x: Tensor, attention_mask: Tensor) -> Any:
            return self.body(x), attention_mask

    torch.manual_seed(0)
    teacher, student = Named(), Named()
    x, mask = torch.randn(2, 4, 3), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]])
    loss = Distillation(teacher, student, SquareHead(layers=["body"]), task_weight=0.0)
    value = loss(student(x, mask)[0], None, {"x": x, "attention_mask": mask})
    real = mask.bool()
    torch.testing.assert_close(value, squarehead_loss(student.body(x)[real], teacher.body(x)[real]))


def test_hints_learn_a_map_that_the_optimizer_can_hold() -> None:
    teacher, student = pair()
    loss = Distillation(
        teacher, student, Hints(layers={"act": "act"}, weight=1.0), example=X, task_weight=0.0
    )
    shapes = [tuple(p.shape) for p in loss.parameters()]
    assert shapes == [(6, 4, 1, 1), (6,)]
    optimizer = torch.optim.Adam([*student.parameters(), *loss.parameters()], lr=0.05)
    values = []
    for _ in range(40):
        optimizer.zero_grad()
        value = loss(student(X), Y, X)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.5 * values[0]
    with pytest.raises(ConfigError, match="example="):
        Distillation(teacher, student, Hints(layers=["act"]))


def test_features_are_of_the_one_pass_that_the_loss_is_about() -> None:
    teacher, student = pair()
    loss = Distillation(teacher, student, AttentionTransfer(layers=["act"]))
    with pytest.raises(StateError, match="one pass of the student"):
        loss(torch.zeros(5, 3), Y, X)
    y = student(X)
    student(X.flip(0))
    with pytest.raises(StateError, match="got 2"):
        loss(y, Y, X)
    y = student(X)
    with torch.no_grad():
        student(X.flip(0))  # an evaluation between
    with_one = loss(y, Y, X)
    torch.testing.assert_close(
        with_one, Distillation(teacher, student, AttentionTransfer(layers=["act"]))(student(X), Y, X)
    )


def test_outputs_that_the_next_layer_writes_over_are_refused() -> None:
    teacher, student = pair()
    student.act = nn.ReLU(inplace=True)
    loss = Distillation(teacher, student, AttentionTransfer(layers=["norm"]))
    with pytest.raises(StateError, match="output of norm, of the student, as it was"):
        loss(student(X), Y, X)


def test_a_sparse_student_trains_on_with_its_topology_rule() -> None:
    teacher, student = pair()
    gs.sparsify(student, 0.5, gs.Unstructured(), "uniform")
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    engine = gs.attach(student, optimizer, gs.RigL(every=2), total_steps=8)
    rows = gs.distill(student, teacher, [(X, Y), (X.flip(0), Y.flip(0))], optimizer, epochs=4)
    assert engine.step == 8
    assert {row.step for row in engine.history}
    assert rows[-1].loss < rows[0].loss
    assert student.training


def test_the_loop_gives_the_bits_of_one_written_by_hand() -> None:
    teacher, student = pair()
    other = copy.deepcopy(student)
    data = [(X, Y), (X.flip(0), Y.flip(0))]
    rows = gs.distill(student, teacher, data, torch.optim.SGD(student.parameters(), lr=0.1), epochs=2)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        for x, y in data:
            optimizer.zero_grad()
            z = other(x)
            value = 0.1 * F.cross_entropy(z, y) + 0.9 * logits_loss(z, teacher.eval()(x).detach(), 4.0)
            value.backward()
            optimizer.step()
            losses.append(value.item())
    assert [row.loss for row in rows] == pytest.approx([sum(losses[:2]) / 2, sum(losses[2:]) / 2], rel=1e-5)
    for mine, theirs in zip(student.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_data_that_no_training_can_use_is_refused() -> None:
    teacher, student = pair()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    cases: list[tuple[Any, int, str]] = [
        ([], 1, "none in a whole epoch"),
        (iter([(X, Y)]), 2, "iterator"),
        ([X], 1, "batches"),
    ]
    for data, epochs, says in cases:
        with pytest.raises(ConfigError, match=says):
            gs.distill(student, teacher, data, optimizer, epochs=epochs)
    with pytest.raises(ConfigError, match="Hints"):
        gs.distill(student, teacher, [(X, Y)], optimizer, Hints(layers=["act"]))
    assert not any(m._forward_hooks for m in student.modules())


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 0.0}, {"temperature": float("nan")}, {"alpha": 1.5}, {"alpha": True}],
    ids=str,
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Logits(**settings)
