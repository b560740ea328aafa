"""Networks at their published sizes as files of ONNX: what ONNX Runtime computes of them, and how large they are.

Every layer but depth-wise and tiny ones keeps a tenth of its connections, drawn at random, and a tenth of the
outputs of such a layer has lost all. Batch norms have statistics of images. Each network is frozen,
saved, exported by ``gossamer export``, checked by the package onnx, and run for batches of one and three beside the
frozen network and the model in torch, in float32, against the model in float64. The benchmark fails where the error
is more than four times torch's own and 1e-6. Needs the extras [onnx] and [bench]; a killed run goes on where it was.
"""

from __future__ import annotations

import copy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from client_threads import NETWORKS as SMALL
from harness import Row, arguments, gather, pin, record
from networks import NETWORKS, example
from torch import nn
from whole_networks import listed, sparse

import gossamer as gs
from gossamer.nn import SparseModule

TIMES, LEAST = 4, 1e-6  # errors, as shares of the largest number of a result
LAYERS = (SparseModule, nn.Conv2d, nn.Linear)
BATCHES = (1, 3)
WEIGHTS = ("dense", "sparse")
NAMES = (*SMALL, *NETWORKS)


def made(name: str, density: float) -> tuple[nn.Module, torch.Tensor]:
    """A sparse network with dead neurons or channels, and images for it, each brighter than the one before."""
    if name in SMALL:
        model, shape = SMALL[name][0]()
        x = torch.randn(max(BATCHES), *shape)
    else:
        model, x = sparse(name, "unstructured", density, ""), example(name, max(BATCHES))
    x += torch.arange(len(x)).reshape(-1, *[1] * (x.ndim - 1))
    with torch.no_grad():
        ablate(model)
        settle(model, x)
    return model.requires_grad_(requires_grad=False), x


def settle(model: nn.Module, x: torch.Tensor) -> None:
    """Biases, factors of batch norms, and their statistics of these images: results then depend on the image."""
    drawn = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            module.bias.normal_(0.0, 0.3, generator=drawn)
            module.weight.uniform_(0.7, 1.3, generator=drawn)
        elif isinstance(module, SparseModule) and module.bias is not None:
            module.bias.normal_(0.0, 0.1, generator=drawn)
    model.train()
    model(x)
    model.eval()
    for module in model.modules():
        if isinstance(
            module, nn.BatchNorm2d
        ):  # a channel that hardly moves would be blown up with its errors
            module.running_var.clamp_(min=float(module.running_var.mean()) / 4)


def ablate(model: nn.Module) -> None:
    """Of every sparse layer but the last the first tenth of the outputs loses all connections."""
    layers = [module for module in model.modules() if isinstance(module, SparseModule)]
    for layer in layers[:-1]:
        old = layer.topology
        stays = old.positions // old.shape[1] >= old.shape[0] // 10
        values = layer.values[: old.connections][stays]
        layer.assign(type(old)(old.pattern, old.shape, old.positions[stays]), values)


def rows_of(path: Path) -> tuple[int, int]:
    """Outputs of all products in a file of ONNX, and how many of them have no weight but zero."""
    import onnx

    graph = onnx.load(path).graph
    held = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    weights = [held[node.input[1]] for node in graph.node if node.op_type in ("Conv", "Gemm")]
    empty = sum(int((~weight.reshape(len(weight), -1).any(axis=1)).sum()) for weight in weights)
    return sum(map(len, weights)), empty


def exported(saved: Path, weights: str) -> Path:
    """The file that the command line writes, which the package onnx finds in order."""
    path = saved.with_name(f"{weights}.onnx")
    command = [sys.executable, "-m", "gossamer", "export", str(saved), "--to", "onnx", "--weights", weights]
    subprocess.run([*command, "--out", str(path)], stdout=subprocess.DEVNULL, check=True)  # noqa: S603 (ourselves)
    return path


def share(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference as a share of the largest number."""
    return float((got - wanted).abs().max() / wanted.abs().max())


def errors(path: Path, frozen: Any, model: nn.Module, x: torch.Tensor) -> dict[str, float]:
    """Of each engine, the largest difference of all batches from the model in float64."""
    exact = copy.deepcopy(model).double()
    found: dict[str, list[float]] = {"onnx": [], "frozen": [], "torch": []}
    for batch in BATCHES:
        images = x[:batch].clone()
        wanted = exact(images.double())
        results = {
            "onnx": torch.from_numpy(run_onnx(path, images)),
            "frozen": frozen(images),
            "torch": model(images),
        }
        for engine, result in results.items():
            if result.shape != wanted.shape:
                raise SystemExit(f"onnx_networks: {engine} gives {result.shape}, expected {wanted.shape}")
            found[engine].append(share(result, wanted))
    return {engine: max(each) for engine, each in found.items()}


def allowed(found: dict[str, float]) -> float:
    """The largest error that ONNX Runtime may have: a multiple of torch's own."""
    return TIMES * found["torch"] + LEAST


def run_onnx(path: Path, x: torch.Tensor) -> Any:
    """What ONNX Runtime computes, in as many threads as torch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


def described(path: Path) -> Row:
    """What a file needs: version of the operators, and their names; checked by the package onnx."""
    import onnx

    held = onnx.load(path)
    onnx.checker.check_model(held, full_check=not held.graph.sparse_initializer)
    return {
        "opsets": {each.domain: each.version for each in held.opset_import},
        "domains": sorted({node.domain for node in held.graph.node}),
        "operators": sorted({node.op_type for node in held.graph.node}),
    }


def measured(case: Row) -> Row:
    """One network: frozen, saved, exported, and run."""
    model, x = made(case["network"], case["density"])
    layers = [each for each in model.modules() if isinstance(each, LAYERS)]
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        frozen = gs.freeze(model, x[:1].clone())
        saved = Path(folder) / "net.safetensors"
        gs.save(frozen, saved)
        files = {weights: exported(saved, weights) for weights in WEIGHTS}
        gs.export_onnx(frozen, Path(folder) / "again.onnx")
        if (Path(folder) / "again.onnx").read_bytes() != files["dense"].read_bytes():
            raise SystemExit("onnx_networks: the command and the function write different files")
        rows, empty = rows_of(files["dense"])
        return {
            "outputs": sum(outputs(layer) for layer in layers),
            "outputs_left": rows,
            "outputs_empty": [sum(map(without, layers)), empty],
            "differ": share(model(x[:1]), model(x[-1:])),
            "error": {weights: errors(path, frozen, model, x) for weights, path in files.items()},
            "bytes": {"frozen": saved.stat().st_size}
            | {key: path.stat().st_size for key, path in files.items()},
            **described(files["dense"]),
        }


def outputs(layer: Any) -> int:
    """Channels or neurons that a layer gives."""
    return int(layer.shape[0] if isinstance(layer, SparseModule) else layer.weight.shape[0])


def without(layer: Any) -> int:
    """Those of them that no connection leads to."""
    return int((layer.topology.fan_in() == 0).sum()) if isinstance(layer, SparseModule) else 0


def main() -> None:
    """Export what is not known yet, and write everything that is."""
    options = arguments(
        __doc__ or "", networks=",".join(NAMES), density=0.1, cores="0", name="onnx_networks", fresh=False
    )
    torch.set_num_threads(pin(options.cores))
    cases = [{"network": name, "density": options.density} for name in listed(options.networks, NAMES)]
    rows = gather(options.name, cases, measured, fresh=options.fresh)
    record(options.name, {"rows": rows})
    for row in rows:
        for found in row["error"].values():
            if found["onnx"] > allowed(found):
                raise SystemExit(f"onnx_networks: an error of {found['onnx']:.1e} in {row['network']}")


if __name__ == "__main__":
    main()
