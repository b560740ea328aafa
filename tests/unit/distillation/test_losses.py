"""The formulas of distillation, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from gossamer.distillation import attention_loss, attention_map, logits_loss, squarehead_loss
from gossamer.errors import ConfigError, ShapeError

BF16 = 2.0**-7


def test_logits_value_and_gradient() -> None:
    """z_s = (1, 2, 3), z_t = (3, 2, 1), T = 2: T^2 KL is 1.280627 and its gradient T (q_s - q_t)."""
    student = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64, requires_grad=True)
    loss = logits_loss(student, torch.tensor([[3.0, 2.0, 1.0]], dtype=torch.float64), 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(1.280627, abs=1e-6)
    assert loss.item() / 4 == pytest.approx(0.320157, abs=1e-6)
    assert student.grad is not None
    assert student.grad[0].tolist() == pytest.approx([-0.640313, 0, 0.640313], abs=1e-6)


def test_logits_are_a_mean_over_samples_and_count_kept_ones_alone() -> None:
    z = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    t = torch.tensor([[3.0, 2.0, 1.0], [0.0, 0.0, 0.0]])
    assert logits_loss(z, t, 2.0).item() == pytest.approx(1.280627 / 2, abs=1e-6)
    assert logits_loss(z, t, 2.0, keep=torch.tensor([True, False])).item() == pytest.approx(
        1.280627, abs=1e-6
    )
    assert logits_loss(z.T, t.T, 2.0, dim=0).item() == pytest.approx(1.280627 / 2, abs=1e-6)
    with pytest.raises(ShapeError, match="at least one target that counts"):
        logits_loss(z, t, 2.0, keep=torch.tensor([False, False]))
    with pytest.raises(ShapeError, match=r"the teacher's shape \[2, 3\]"):
        logits_loss(z[:, :2], t, 2.0)


def test_a_temperature_does_not_overflow_halves() -> None:
    z = torch.tensor([[60000.0, 0.0]], dtype=torch.float16)
    assert math.isfinite(logits_loss(z, z.flip(1), 4.0).item())


def test_attention_has_two_normalisations() -> None:
    """Channels (1, 0) and (1, 2) against (2, 1) and (0, 1): maps (1, 2) and (2, 1) over the root of 5."""
    ours, theirs = torch.tensor([[[1.0, 0.0], [1.0, 2.0]]]), torch.tensor([[[2.0, 1.0], [0.0, 1.0]]])
    assert attention_map(ours)[0].tolist() == pytest.approx([0.447214, 0.894427], abs=1e-6)
    assert attention_map(theirs)[0].tolist() == pytest.approx([0.894427, 0.447214], abs=1e-6)
    assert attention_loss(ours, theirs, "l2").item() == pytest.approx(0.632456, abs=1e-6)
    assert attention_loss(ours, theirs, "mean").item() == pytest.approx(0.2, abs=1e-6)
    assert attention_loss(ours, theirs).item() == pytest.approx(0.2, abs=1e-6)
    with pytest.raises(ConfigError, match="mean"):
        attention_loss(ours, theirs, "L1")


def test_larger_maps_are_averaged_down_whoever_has_them() -> None:
    small = torch.rand(2, 3, 4, 4)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat(1, 5, 1, 1)
    assert attention_loss(small, large).item() == pytest.approx(0, abs=1e-12)
    assert attention_loss(large, small).item() == pytest.approx(0, abs=1e-12)
    with pytest.raises(ShapeError, match="at least 3"):
        attention_loss(torch.ones(2, 3), torch.ones(2, 3))


@pytest.mark.parametrize("norm", ["mean", "l2"])
def test_equal_and_dead_maps_have_gradients_that_are_numbers(norm: str) -> None:
    for features in (torch.ones(1, 2, 3), torch.zeros(1, 2, 3)):
        ours = features.clone().requires_grad_()
        attention_loss(ours, features, norm).backward()
        assert ours.grad is not None
        assert ours.grad.abs().sum() == 0


def test_squarehead() -> None:
    """(1, 2) against (2, 2): 0.5 over 4, beside the epsilon of bfloat16."""
    ours, theirs = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 2.0])
    assert squarehead_loss(ours, theirs, epsilon=0).item() == 0.125
    assert squarehead_loss(ours, theirs).item() == pytest.approx(0.5 / (4 + BF16), rel=1e-6)


def test_padding_does_not_count() -> None:
    ours = torch.tensor([[[1.0, 2.0], [9.0, 9.0]]])
    theirs = torch.tensor([[[2.0, 2.0], [-5.0, 50.0]]])
    mask = torch.tensor([[1, 0]])
    assert squarehead_loss(ours, theirs, mask, epsilon=0).item() == 0.125
    for wrong in (torch.zeros(1, 2), torch.ones(2, 1)):
        with pytest.raises(ShapeError, match="a mask"):
            squarehead_loss(ours, theirs, wrong)
