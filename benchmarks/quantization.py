"""Values and inputs in fewer bits: accuracy, bytes of the file and time of a sample, of two trained networks.

ResNet-20 on CIFAR-10 (the checkpoint is ``models/resnet20_cifar10.th`` of GOSSAMER_DATA), dense and pruned to half of
its weights, and 784-300-100-10 on MNIST, pruned to a tenth. Weights are rounded at once, inputs within ranges from
training images, found in three ways; the MLP is also trained for ``--tuned`` epochs with rounding in the loop. All
forms of a network are frozen and timed in turns, one thread. Kernels read int8 values and compute in float32,
whatever a file holds.
"""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from harness import Row, arguments, pin, record, shared_file
from torch import Tensor, nn
from training import Data, Recipe, mlp, mnist, train

import gossamer as gs
from gossamer import data, models
from gossamer.compress import recalibrate
from gossamer.measure import alternate, threads

MEAN, STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
VALUES = ("exact", "bfloat16", "int8", "int4", "ternary", "binary")
CALIBRATION = 256  # samples


def cifar() -> Data:
    """Images as the checkpoint was trained on them."""
    x_train, y_train, x_test, y_test = data.load("cifar10-small").tensors(flatten=False, standardize=False)
    mean, std = (torch.tensor(row).view(3, 1, 1) for row in (MEAN, STD))
    return (x_train / 255 - mean) / std, y_train, (x_test / 255 - mean) / std, y_test


def residual(density: float, samples: Data) -> nn.Module:
    """The checkpoint, pruned at once, its batch norms made anew with the augmentation of the training."""
    held = torch.load(shared_file("models/resnet20_cifar10.th"), map_location="cpu", weights_only=True)
    model = models.resnet20()
    model.load_state_dict({name.removeprefix("module."): value for name, value in held["state_dict"].items()})
    if density < 1:
        gs.prune(model.eval(), density, dense_first=True, dense_last=True)
        parts = samples[0][:2560].split(256)
        recalibrate(model, [data.crop_and_flip(x, 4, data.step_generator(1, n)) for n, x in enumerate(parts)])
    return model.eval()


def perceptron(samples: Data, epochs: int) -> nn.Module:
    """784-300-100-10, trained, pruned to a tenth of its weights, and tuned for as long."""
    torch.manual_seed(0)
    model = mlp(784, 300, 100, 10)
    tuned(model, samples, epochs, 0.1)
    gs.prune(model, 0.1)
    tuned(model, samples, epochs, 0.02)
    return model.eval()


def tuned(model: nn.Module, samples: Data, epochs: int, rate: float) -> None:
    """Some epochs of training."""
    train(model.train(), samples, Recipe(epochs=epochs, lr=rate, divide_at=()), None, 100, say=lambda _: None)
    model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Per cent of the samples answered rightly."""
    right = sum(int((model(a).argmax(1) == b).sum()) for a, b in zip(x.split(500), y.split(500), strict=True))
    return round(100 * right / len(y), 2)


def forms(model: nn.Module, samples: Data, epochs: int) -> dict[str, tuple[nn.Module, Any, Any]]:
    """Name -> the network to freeze, the types of its values, and the report of ``quantize``."""
    made: dict[str, tuple[nn.Module, Any, Any]] = {values: (model, values, None) for values in VALUES}
    calibration = samples[0][:CALIBRATION]
    names = [
        name for name, layer in model.named_modules() if hasattr(layer, "bias") and hasattr(layer, "weight")
    ]
    ends = [names[0], names[-1]]
    cases: list[tuple[str, str, dict[str, Any]]] = [
        (f"int8, inputs int8 by {how}", "int8", {"ranges": how}) for how in ("minmax", "percentile", "mse")
    ]
    cases.append(("int8, inputs int8, not first and last", "int8", {"skip": ends}))
    if epochs:
        cases += [
            (f"{values}, inputs int8, trained", values, {})
            for values in ("int8", "int4", "ternary", "binary")
        ]
    for name, values, settings in cases:
        twin = copy.deepcopy(model)
        report = gs.quantize(twin, calibration, values=values, **settings)
        if name.endswith("trained"):
            tuned(twin, samples, epochs, 0.01)
        made[name] = twin, report.values, report.as_dict()
    return made


def rows_of(network: str, model: nn.Module, samples: Data, epochs: int, seconds: float) -> list[Row]:
    """Every form of one network."""
    x, y = samples[2:]
    found: list[Row] = []
    frozen: dict[str, nn.Module] = {}
    with TemporaryDirectory() as folder:
        for name, (each, values, report) in forms(model, samples, epochs).items():
            frozen[name] = gs.freeze(each, x[:1], values=values)
            path = Path(folder) / "net.safetensors"
            gs.save(frozen[name], path)
            row = {"network": network, "form": name, "accuracy": accuracy(frozen[name], x, y)}
            row["weights"] = sum(layer["bytes"] for layer in frozen[name].plan["layers"])
            found.append(row | {"file": path.stat().st_size, "report": report})
            print(network, name, row["accuracy"], row["weights"], flush=True)
    times = alternate({name: partial(net, x[:1]) for name, net in frozen.items()}, seconds=seconds)
    return [row | {"us": round(times[row["form"]].median * 1e6, 1)} for row in found]


def main() -> None:
    """Both networks."""
    given = arguments(__doc__, epochs=3, tuned=1, seconds=10.0, images=10_000, cores="0")
    pin(given.cores)
    with threads(1):
        digits, pictures = mnist(), cifar()
        pictures = (*pictures[:2], pictures[2][: given.images], pictures[3][: given.images])
        rows = rows_of("784-300-100-10", perceptron(digits, given.epochs), digits, given.tuned, given.seconds)
        for density in (1.0, 0.5):
            network = "resnet20" + (f", {density:.0%} of its weights" if density < 1 else "")
            rows += rows_of(network, residual(density, pictures), pictures, 0, given.seconds)
    record("quantization", {"rows": rows})


if __name__ == "__main__":
    main()
