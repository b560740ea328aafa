"""Files: never larger where bits are dropped, and as small as any form allows where that is asked for."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

import gossamer as gs
from gossamer.errors import ConfigError
from gossamer.layouts import layout
from gossamer.network.room import room
from gossamer.nn import count
from gossamer.storage import written_length

VALUES = ("int8", "bfloat16", "exact")


def perceptron(*widths: int, density: float | None = None, pattern: str | None = None) -> nn.Sequential:
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*layers[:-1])
    if density is not None or pattern is not None:
        gs.sparsify(model, density, pattern or gs.Unstructured(), "uniform")
    return model


def convolutional() -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10)
    )
    gs.sparsify(model, 0.2, home="masked")
    return model


NETWORKS = {
    "pruned": (lambda: perceptron(784, 300, 100, 10, density=0.1), (784,)),
    "dense": (lambda: perceptron(100, 60, 10), (100,)),
    "narrow": (lambda: perceptron(64, 3, 2, 3, 40), (64,)),
    "few inputs": (lambda: perceptron(2, 500, 3), (2,)),
    "few inputs, pruned": (lambda: perceptron(5, 400, 1, density=0.5), (5,)),
    "one output": (lambda: perceptron(300, 1), (300,)),
    "hardly pruned": (lambda: perceptron(120, 120, 50, density=0.45), (120,)),
    "half": (lambda: perceptron(120, 120, 50, density=0.55), (120,)),
    "tiles": (lambda: perceptron(64, 48, 16, pattern=gs.NM(1, 8)), (64,)),
    "blocks": (lambda: perceptron(64, 64, 32, density=0.25, pattern=gs.Block(4)), (64,)),
    "groups": (lambda: perceptron(64, 48, 16, density=0.1, pattern=gs.FanIn(4)), (64,)),
    "convolutions": (convolutional, (3, 12, 12)),
}


@pytest.mark.parametrize("prefer", ["speed", "size"])
@pytest.mark.parametrize("name", NETWORKS)
def test_fewer_bits_never_make_a_file_larger(tmp_path: Path, name: str, prefer: str) -> None:
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    model, x = make(), torch.randn(1, *shape)
    sizes, weights = {}, {}
    for values in VALUES:
        frozen = gs.freeze(model, x, values=values, prefer=prefer)
        path = tmp_path / values
        gs.save(frozen, path)
        sizes[values], weights[values] = path.stat().st_size, sum(row.bytes for row in count(frozen))
        again = gs.load(path)
        for batch in (1, 3, 70):
            y = torch.randn(batch, *shape)
            assert torch.equal(again(y), frozen(y))
    assert sizes["int8"] <= sizes["bfloat16"] <= sizes["exact"]
    assert weights["int8"] <= weights["bfloat16"] <= weights["exact"]


def test_a_dense_network_is_stored_in_a_quarter_and_a_half(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = perceptron(200, 100, 10), torch.randn(1, 200)
    numbers, neurons = 200 * 100 + 100 * 10, 110
    for values, expected in (
        ("exact", 4 * numbers),
        ("bfloat16", 2 * numbers),
        ("int8", numbers + 4 * neurons),
    ):
        frozen = gs.freeze(model, x, values=values)
        stored = [body.stored for _, body in frozen.graph.layers()]
        assert {form.layout for form in stored} == {"dense"}
        assert sum(form.bytes for form in stored) == expected


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("name", ["pruned", "half", "tiles", "blocks", "groups"])
def test_size_runs_the_smallest_form_of_every_layer(name: str, values: str) -> None:
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    frozen = gs.freeze(make(), torch.randn(1, *shape), values=values, prefer="size", batch_sizes=(1, 64))
    for node, body in frozen.graph.layers():
        connections = layout(body.stored.layout).decode(body.stored)
        fits = {
            kind: layout(kind).fit(connections) for kind in ("csr", "csr_bands", "fanin", "dense", "slice")
        }
        others = [
            layout(kind).encode(connections, fit).bytes for kind, fit in fits.items() if isinstance(fit, dict)
        ]
        assert body.stored.bytes <= min(others), node.name
        assert max(form.bytes for form in body.forms.values()) == body.stored.bytes
    rows = frozen.plan["layers"][0]["candidates"]
    assert any(row["why"].startswith("larger: ") for row in rows)


def test_an_unknown_preference_is_refused() -> None:
    with pytest.raises(ConfigError, match="one of speed, size"):
        gs.freeze(perceptron(4, 2), torch.randn(1, 4), prefer="tiny")


def test_a_dense_layer_of_few_connections_is_stored_dense_where_the_file_could_not_ask_for_it(
    tmp_path: Path,
) -> None:
    """A reader refuses a huge dense form out of a tiny file."""
    layer = gs.SparseLinear(1 << 14, 1 << 11, density=0.0001)
    frozen = gs.freeze(nn.Sequential(layer), torch.randn(1, 1 << 14), keep="dense")
    assert frozen.graph.layers()[0][1].stored.layout == "dense"


def stored_text(path: Path) -> str:
    with safe_open(path, framework="pt") as file:
        return str(file.metadata()["gossamer"])


@pytest.mark.parametrize("name", ["pruned", "dense", "narrow", "tiles", "blocks"])
def test_a_document_has_room_for_every_batch_class_that_measuring_may_add(tmp_path: Path, name: str) -> None:
    make, shape = NETWORKS[name]
    frozen = gs.freeze(make(), torch.randn(1, *shape), batch_sizes=(1, 8, 32, 128))
    for row in frozen.report.batches[1:]:
        row.asked = not row.seconds  # measuring adds none where there is nothing to choose
    gs.save(frozen, tmp_path / "net")
    text = stored_text(tmp_path / "net")
    assert room(json.loads(text)) >= written_length(text.rstrip())


def test_little_room_is_kept_free(tmp_path: Path) -> None:
    for widths in ((784, 300, 100, 10), (256, 256, 10)):
        frozen = gs.freeze(perceptron(*widths, density=0.1), torch.randn(1, widths[0]), values="int8")
        gs.save(frozen, tmp_path / "net")
        text = stored_text(tmp_path / "net")
        assert len(text) - len(text.rstrip()) < 3072
        assert '": ' not in text


def test_a_network_without_a_connection_is_no_larger_with_fewer_bits(tmp_path: Path) -> None:
    model, sizes = perceptron(8, 8, 4), []
    nn.init.zeros_(model[0].weight)
    for values in VALUES:
        gs.save(gs.freeze(model, torch.randn(1, 8), values=values), tmp_path / values)
        sizes.append((tmp_path / values).stat().st_size)
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("density", [None, 0.1])
def test_preferring_size_never_makes_a_larger_file(
    tmp_path: Path, density: float | None, values: str
) -> None:
    model, sizes = perceptron(64, 32, 10, density=density), {}
    for prefer in ("speed", "size"):
        gs.save(gs.freeze(model, torch.randn(1, 64), values=values, prefer=prefer), tmp_path / prefer)
        sizes[prefer] = (tmp_path / prefer).stat().st_size
    assert sizes["size"] <= sizes["speed"]
