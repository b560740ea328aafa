"""calibrate: what flows into layers, counted exactly, by a model that is as it was afterwards."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from gossamer.compress import calibrate
from gossamer.errors import (
    ConfigError,
    DataError,
    GossamerError,
    MemoryShortage,
    NonFiniteError,
    ShapeError,
    StateError,
)
from gossamer.nn.kinds import kind_of
from strategies import everything

CONVOLUTIONS = {
    "plain": nn.Conv2d(3, 4, 3),
    "strided": nn.Conv2d(3, 4, (2, 3), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
    "grouped": nn.Conv2d(4, 6, 3, padding=1, groups=2),
    "same": nn.Conv2d(3, 4, 4, padding="same", padding_mode="circular"),
    "reflect": nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
    "pixels": nn.Conv2d(3, 4, 1),
    "lines": nn.Conv1d(3, 4, 3, padding=1, stride=2),
    "grouped_lines": nn.Conv1d(4, 4, 2, groups=2),
}


def network() -> nn.Sequential:
    """A convolution, a norm with statistics, dropout and a linear layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(12, 2)
    )


def test_what_flows_is_counted_by_hand() -> None:
    x = torch.tensor([[1.0, 0.0, -2.0], [3.0, 0.0, 0.0]])
    flow = calibrate(nn.Sequential(nn.Linear(3, 2)), x, products=True)["0"]
    assert flow.samples == 2
    assert flow.range == (-2.0, 3.0)
    assert flow.low.tolist() == [[1.0, 0.0, -2.0]]
    assert flow.high.tolist() == [[3.0, 0.0, 0.0]]
    assert flow.zeros.tolist() == [[0, 2, 1]]
    assert flow.share_of_zeros == 0.5
    assert flow.squares.tolist() == [[10.0, 0.0, 4.0]]
    assert flow.norms.tolist() == [[10.0**0.5, 0.0, 2.0]]
    assert flow.products is not None
    assert flow.products.tolist() == [[[10.0, 0.0, -2.0], [0.0, 0.0, 0.0], [-2.0, 0.0, 4.0]]]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_rows_times_the_matrix_are_the_convolution(name: str) -> None:
    conv = copy.deepcopy(CONVOLUTIONS[name])
    kind = kind_of(conv)
    assert kind is not None
    x = torch.randn(2, conv.in_channels, *(7, 6)[: len(conv.kernel_size)])
    rows = torch.cat(list(kind.rows(conv, x)))
    matrix = kind.masked.to_matrix(conv.weight).unflatten(0, (conv.groups, -1))
    y = torch.einsum("sgc,goc->sgo", rows, matrix).flatten(1) + conv.bias
    expected = conv(x).movedim(1, -1)
    torch.testing.assert_close(y, expected.reshape(y.shape))
    assert torch.equal(torch.cat(list(kind.rows(conv, x[0]))), rows[: len(rows) // 2])  # without a batch
    packed = kind.home("packed").of(conv, density=0.5, pattern="unstructured")
    assert torch.equal(torch.cat(list(kind.rows(packed, x))), rows)


def test_batches_are_summed_and_parts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = network(), torch.randint(-3, 4, (6, 2, 4, 4)).float()
    whole = calibrate(model, x, ["0"], products=True)["0"]
    monkeypatch.setattr("gossamer.nn.inputs.PART", 40)
    parts = calibrate(model, [(x[:1], None), (x[1:4], None), (x[4:], None)], ["0"], products=True)["0"]
    for name, value in vars(whole).items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(getattr(parts, name))), name


def test_sums_are_as_exact_as_float64() -> None:
    x = torch.full((1, 1), 1e4)
    flow = calibrate(nn.Sequential(nn.Linear(1, 1)), [x, *[torch.ones(1, 1)] * 10])["0"]
    assert flow.squares.item() == 1e8 + 10  # float32 would lose every one of the ten


def test_the_model_is_as_it_was() -> None:
    model, x = network().train(), torch.randn(4, 2, 4, 4)
    model[5].eval()
    model(x).sum().backward()
    before, modes = everything(model), [m.training for m in model.modules()]
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    calibrate(model, x)
    with pytest.raises(ShapeError, match="calibrate 5: "):
        calibrate(model, torch.randn(4, 2, 5, 5))
    with pytest.raises(ShapeError, match="calibrate 0: "):
        calibrate(model, torch.randn(4, 3, 4, 4))
    assert all(torch.equal(a, b) for a, b in zip(before.values(), everything(model).values(), strict=True))
    assert modes == [m.training for m in model.modules()]
    assert all(torch.equal(a, p.grad) for a, p in zip(gradients, model.parameters(), strict=True))
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


def test_a_number_that_is_none_is_refused_with_the_layers_name() -> None:
    class Divides(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / 0

    model = nn.Sequential(nn.Linear(2, 2), Divides(), nn.Linear(2, 1))
    with pytest.raises(NonFiniteError, match="calibrate 2"):
        calibrate(model, torch.ones(1, 2))
    assert not any(m._forward_pre_hooks for m in model.modules())
    with pytest.raises(NonFiniteError, match="batch 0"):
        calibrate(model, torch.full((1, 2), torch.nan))


def test_what_cannot_be_looked_at_is_refused() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    with pytest.raises(StateError, match="calibrate unused"):
        calibrate(Half(), torch.ones(1, 2))
    assert list(calibrate(Half(), torch.ones(1, 2), ["used"])) == ["used"]
    for layers in (["nothing"], [], ["used", "nothing"]):
        with pytest.raises(ConfigError):
            calibrate(Half(), torch.ones(1, 2), layers)
    with pytest.raises(DataError):
        calibrate(Half(), [])
    with pytest.raises(MemoryShortage):
        calibrate(nn.Sequential(nn.Linear(1 << 22, 1)), torch.ones(1, 1 << 22), products=True)


def test_mappings_become_keyword_arguments() -> None:
    class Keyed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, *, ids: Tensor, twice: bool) -> Tensor:
            return self.layer(input=ids.float() * (2 if twice else 1))

    batch = {"ids": torch.ones(3, 2, dtype=torch.int64), "twice": True}
    assert calibrate(Keyed(), [batch, batch])["layer"].squares.tolist() == [[24.0, 24.0]]
    assert calibrate(Keyed(), batch)["layer"].squares.tolist() == [[12.0, 12.0]]


def test_recurrent_layers_of_torch_are_read_matrix_by_matrix() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"lstm": nn.LSTM(3, 4, batch_first=True)})
    model.forward = lambda x: model["lstm"](x)[0]  # type: ignore[method-assign]
    x = torch.randn(2, 5, 3)
    found = calibrate(model, x, products=True)
    states = model["lstm"](x)[0].detach()[:, :-1].reshape(-1, 4).double()  # each step reads the state before
    moments = found["lstm.hh_l0"].products
    assert type(model["lstm"]) is nn.LSTM
    assert moments is not None
    torch.testing.assert_close(moments[0], states.T @ states, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["lstm.ih_l0"].squares[0], x.double().square().sum((0, 1)))
    assert (found["lstm.hh_l0"].samples, found["lstm.ih_l0"].samples) == (10, 10)


def test_errors_are_of_the_library() -> None:
    with pytest.raises(GossamerError, match=r"calibrate\(data=\)"):
        calibrate(network(), 3)
