"""LoRA on sparse layers: what is tuned is what is merged, and no zero comes back."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.distillation import SquareHead, squarehead_loss
from gossamer.errors import ConfigError, FormatError, NonFiniteError, StateError

peft = pytest.importorskip("peft", reason="peft, an optional package, is not installed")

if TYPE_CHECKING:
    from pathlib import Path

    from gossamer.nn.sparse import SparseModule

HOMES = pytest.mark.parametrize("home", ["packed", "masked"])
PATTERNS = pytest.mark.parametrize("pattern", ["unstructured", "fanin", "fanin:4", "nm:1:4", "block:4"])


def network(
    home: str = "packed", pattern: str = "unstructured", dtype: torch.dtype = torch.float64
) -> nn.Sequential:
    """Two sparse layers, the same topology and values for the same arguments."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 8)).to(dtype)
    density = None if pattern.startswith("nm") else 0.25
    drawn = torch.Generator().manual_seed(1)
    gs.sparsify(model, density, pattern, "uniform", home=home, generator=drawn)
    return model


def tuned(model: nn.Module, **settings: Any) -> Any:
    """With adapters that do something, the same for the same sizes."""
    torch.manual_seed(2)
    wrapped = gs.add_lora(model, peft.LoraConfig(**{"r": 3, "target_modules": "all-linear"} | settings))
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    return wrapped


def layers(model: nn.Module) -> list[SparseModule]:
    return [module for module in model.modules() if isinstance(module, (gs.SparseLinear, gs.MaskedLinear))]


def zeros(model: nn.Module) -> list[int]:
    """Zeros in the dense weight of every sparse layer."""
    return [int((layer.to_dense() == 0).sum()) for layer in layers(model)]


X = torch.linspace(-1, 1, 80, dtype=torch.float64).reshape(5, 16)


def test_two_by_two_by_hand() -> None:
    """W has (0, 1) alone; B A is [[5, 7], [10, 14]] and alpha / r is 2: 3 + 2 * 7 at (0, 1), and nothing elsewhere."""
    dense = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        dense.weight.copy_(torch.tensor([[0.0, 3.0], [0.0, 0.0]]))
    model = nn.Sequential(dense)
    gs.sparsify(model, 0.25, gs.Unstructured(), "uniform", init="keep")
    wrapped = gs.add_lora(model, peft.LoraConfig(r=1, lora_alpha=2, target_modules=["0"]))
    adapter = wrapped.base_model.model[0]
    with torch.no_grad():
        adapter.lora_A["default"].weight.copy_(torch.tensor([[5.0, 7.0]]))
        adapter.lora_B["default"].weight.copy_(torch.tensor([[1.0], [2.0]]))
    assert wrapped(torch.eye(2)).tolist() == [[0.0, 0.0], [17.0, 0.0]]
    assert wrapped.merge_and_unload()[0].to_dense().tolist() == [[0.0, 17.0], [0.0, 0.0]]


@PATTERNS
def test_packed_and_masked_agree_in_output_and_gradients(pattern: str) -> None:
    found = []
    for home in ("packed", "masked"):
        model = tuned(network(home, pattern))
        y = model(X)
        y.square().sum().backward()
        found.append([y.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1]) == 5
    for packed, masked in zip(*found, strict=True):
        torch.testing.assert_close(packed, masked)


@HOMES
def test_merging_keeps_topology_zeros_and_output(home: str) -> None:
    model = network(home)
    before, places = zeros(model), [layer.topology.positions for layer in layers(model)]
    wrapped = tuned(model)
    y = wrapped(X)
    plain = network(home)(X)
    assert not torch.allclose(y, plain)
    merged = wrapped.merge_and_unload()
    assert torch.equal(merged(X), y)
    assert zeros(merged) == before
    after = [layer.topology.positions for layer in layers(merged)]
    assert all(map(torch.equal, places, after))
    assert not any("lora" in name for name in merged.state_dict())


@HOMES
def test_unmerging_and_disabling_give_the_network_back(home: str) -> None:
    plain = network(home)(X)
    wrapped = tuned(network(home))
    y = wrapped(X)
    with wrapped.disable_adapter():
        assert torch.equal(wrapped(X), plain)
    wrapped.merge_adapter()
    assert torch.equal(wrapped(X), y)
    wrapped.unmerge_adapter()
    torch.testing.assert_close(wrapped(X), y)
    with wrapped.disable_adapter():
        torch.testing.assert_close(wrapped(X), plain)


def test_unmerging_from_other_connections_is_refused() -> None:
    wrapped = tuned(network())
    wrapped.merge_adapter()
    layers(wrapped)[0].reset_parameters()
    with pytest.raises(StateError, match="the connections that the adapters were merged into"):
        wrapped.unmerge_adapter()


def test_gradients_by_finite_differences() -> None:
    adapter = tuned(network()).base_model.model[0]
    a, b = (part["default"].weight for part in (adapter.lora_A, adapter.lora_B))

    def output(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> Any:
        given = {"lora_A.default.weight": a, "lora_B.default.weight": b}
        return torch.func.functional_call(adapter, given, (x,))

    operands = (X[:2].clone().requires_grad_(), a, b)
    assert torch.autograd.gradcheck(output, operands)
    assert torch.autograd.gradgradcheck(output, operands)


def test_dropout_is_on_the_adapters_side_alone() -> None:
    """With everything dropped the network is the base one; in evaluation the whole adapter is there."""
    plain = network()(X)
    wrapped = tuned(network(), lora_dropout=0.999999)
    torch.testing.assert_close(wrapped(X), plain)
    assert torch.equal(wrapped.eval()(X), tuned(network())(X))
    wrapped = tuned(network(), lora_dropout=0.5).train()
    torch.manual_seed(3)
    expected = wrapped.base_model.model[0].base_layer(X)
    delta = wrapped.base_model.model[0].delta("default").detach()
    dense = layers(wrapped)[0].unpacked(delta)
    torch.manual_seed(3)
    y = wrapped.base_model.model[0](X)
    torch.manual_seed(3)
    torch.testing.assert_close(y, expected + nn.functional.dropout(X, 0.5) @ dense.T)


def test_adapters_are_summed_and_chosen() -> None:
    wrapped = tuned(network())
    one = wrapped(X)
    gs.add_lora(wrapped, peft.LoraConfig(r=2, target_modules=["0"]), "second")
    second = wrapped.base_model.model[0].lora_B["second"].weight
    nn.init.normal_(second)
    assert torch.equal(wrapped(X), one)
    wrapped.base_model.set_adapter(["default", "second"])
    both = wrapped(X)
    assert not torch.allclose(both, one)
    assert torch.equal(wrapped.merge_and_unload()(X), both)


def test_small_steps_on_a_layer_in_bfloat16_are_not_lost() -> None:
    """The sum is in the adapter's float32; merging rounds it once."""
    wrapped = tuned(network(dtype=torch.bfloat16))
    x = X.bfloat16()
    adapter = wrapped.base_model.model[0]
    assert adapter.lora_A["default"].weight.dtype == torch.float32
    base = adapter.base_layer
    exact = (base.values.float() + adapter.delta("default")).detach()
    expected = x.float() @ base.unpacked(exact).T + base.bias.float()
    y = adapter(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, expected.bfloat16())
    adapter.merge()
    assert torch.equal(base.values, exact.bfloat16())


def test_what_hangs_on_the_base_layer_is_called_once_with_the_adapted_output() -> None:
    model, seen = network(), []
    model[0].register_forward_hook(lambda _m, _x, y: seen.append(y))
    wrapped = tuned(model)
    wrapped(X)
    assert len(seen) == 1
    assert torch.equal(seen[0], wrapped.base_model.model[0](X))


def test_biases_train_where_peft_is_told_so() -> None:
    wrapped = tuned(network(), bias="all")
    wrapped(X).sum().backward()
    trained = [name for name, p in wrapped.named_parameters() if p.grad is not None]
    assert sum(name.endswith("bias") for name in trained) == 2
    assert not any(name.endswith("values") for name in trained)


@HOMES
def test_saved_adapters_come_back(home: str, tmp_path: Path) -> None:
    wrapped = tuned(network(home))
    y = wrapped(X)
    wrapped.save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names
    assert torch.equal(gs.load_lora(network(home), tmp_path)(X), y)
    again = gs.load_lora(network(home), tmp_path, trainable=True)
    assert sum(p.requires_grad for p in again.parameters()) == 4


def test_adapters_of_another_network_are_refused_before_anything_changes(tmp_path: Path) -> None:
    tuned(network()).save_pretrained(tmp_path)
    other = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 8)).double()
    gs.sparsify(other, 0.25, gs.Unstructured(), "uniform")
    with pytest.raises(FormatError, match=r"lora_A \[rank, 16\] and lora_B \[32, rank\]"):
        gs.load_lora(other, tmp_path)
    assert [type(layer) for layer in other] == [gs.SparseLinear, nn.Tanh, gs.SparseLinear]


@pytest.mark.parametrize("damage", ["cut", "config", "pickle"])
def test_damaged_adapters_are_refused(damage: str, tmp_path: Path) -> None:
    tuned(network()).save_pretrained(tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:100])
    elif damage == "config":
        (tmp_path / "adapter_config.json").write_text("[" * 100_000)
    else:
        weights.rename(tmp_path / "adapter_model.bin")
    with pytest.raises((FormatError, FileNotFoundError), match="adapter"):
        gs.load_lora(network(), tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"init_lora_weights": "pissa"},
        {"lora_bias": True},
        {"target_parameters": ["0.values"]},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_what_knows_no_topology_is_refused_by_name(settings: dict[str, Any]) -> None:
    model = network()
    with pytest.raises(ConfigError, match=next(iter(settings))):
        gs.add_lora(model, peft.LoraConfig(r=2, target_modules="all-linear", **settings))
    assert isinstance(model[0], gs.SparseLinear)


def test_other_kinds_and_followed_layers_are_refused_by_name() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(8, 4))
    gs.sparsify(model, 0.5, gs.Unstructured(), "uniform")
    with pytest.raises(ConfigError, match=r"add_lora 0.*SparseConv2d"):
        gs.add_lora(model, peft.LoraConfig(target_modules=["0"]))
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = gs.attach(model, optimizer, gs.SET(every=2), total_steps=4)
    with pytest.raises(StateError, match=r"engine\.detach"):
        tuned(model)
    engine.detach()
    tuned(model)


def test_ordinary_adapters_on_sparse_layers_are_refused_by_peft_and_the_other_way_by_sparsify() -> None:
    with pytest.raises(ValueError, match=r"SparseLinear.*not supported"):
        peft.get_peft_model(network(), peft.LoraConfig(target_modules=["0"]))
    dense = nn.Sequential(nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 8))
    wrapped = peft.get_peft_model(dense, peft.LoraConfig(target_modules=["0"]))
    with pytest.raises(ConfigError, match="a model without adapters"):
        gs.sparsify(wrapped, 0.2)


def test_dense_layers_among_sparse_ones_keep_their_adapters() -> None:
    """The dense layer that sparsify puts between packed ones, under peft's own adapter."""
    model = nn.Sequential(nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 8)).double()
    gs.sparsify(model, 0.25, gs.Unstructured(), "uniform", dense_last=True)
    gs.sparsify(wide := nn.Sequential(nn.Linear(8, 8)).double(), {"0": 0.5}, gs.Unstructured())
    wrapped = tuned(nn.Sequential(model, wide))
    assert sum("lora_A" in name for name, _ in wrapped.named_parameters()) == 3
    y = wrapped(X)
    torch.testing.assert_close(wrapped.merge_and_unload()(X), y)


def test_broken_adapters_are_not_merged() -> None:
    wrapped = tuned(network())
    with torch.no_grad():
        wrapped.base_model.model[0].lora_A["default"].weight.fill_(torch.nan)
    before = layers(wrapped)[0].values.clone()
    with pytest.raises(NonFiniteError, match="merge adapter 'default'"):
        wrapped.merge_adapter()
    assert torch.equal(layers(wrapped)[0].values, before)


def test_copies_pickles_and_frozen_networks_compute_the_same(tmp_path: Path) -> None:
    wrapped = tuned(network(dtype=torch.float32)).eval()
    x = X.float()
    y = wrapped(x).detach()
    assert torch.equal(copy.deepcopy(wrapped)(x), y)
    torch.save(wrapped, tmp_path / "whole.pt")
    assert torch.equal(torch.load(tmp_path / "whole.pt", weights_only=False)(x), y)
    torch.testing.assert_close(gs.freeze(wrapped, x)(x), y)
    merged = wrapped.merge_and_unload()
    torch.testing.assert_close(gs.freeze(merged, x)(x), y)


def test_memory_is_that_of_connections() -> None:
    """A pass forward and back makes nothing of the weight's dense size."""
    side = 3000
    model = nn.Sequential(gs.SparseLinear(side, side, density=0.002, pattern=gs.Unstructured()))
    wrapped = tuned(model)

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        seen = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            for tensor in torch.utils._pytree.tree_leaves(out):
                if isinstance(tensor, torch.Tensor):
                    self.seen = max(self.seen, tensor.numel())
            return out

    with Largest() as largest:
        wrapped(torch.ones(2, side)).sum().backward()
        wrapped.merge_adapter()
    assert 3 * side <= largest.seen <= side * side // 50  # bytes of positions among them


def test_a_teacher_sees_the_adapted_student() -> None:
    """Whether the student is what peft made, or the network inside."""
    teacher = nn.Sequential(nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 8)).double()
    wrapped = tuned(network())
    expected = squarehead_loss(wrapped.base_model.model[0](X), teacher[0](X))
    for student, name in ((wrapped, "base_model.model.0"), (wrapped.get_base_model(), "0")):
        with gs.Distillation(teacher, student, SquareHead(layers={name: "0"}), task_weight=0.0) as loss:
            torch.testing.assert_close(loss(wrapped(X), None, X), expected)


def test_names_in_the_saved_settings_hit_linear_layers_alone(tmp_path: Path) -> None:
    """A convolution whose name ends as a linear layer's does gets no adapter."""
    model = nn.Sequential(nn.Linear(4, 4), nn.ModuleDict({"0": nn.Conv2d(1, 1, 1)})).double()
    gs.sparsify(model, {"0": 0.5, "1.0": 1.0}, gs.Unstructured())
    wrapped = tuned(model)
    assert {name for name, _ in wrapped.named_parameters() if "lora" in name} == {
        f"base_model.model.0.lora_{part}.default.weight" for part in "AB"
    }
    wrapped.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"] == "0"
