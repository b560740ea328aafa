"""Cost against size: ten-layer networks from 10^4 to 10^8 connections and beyond, and the lung-scaling networks.

Every network trains real steps with SET in a process of its own: seconds of building, of a step and of an update, the
process's peak resident memory, and the bytes of what is held between steps. Ten layers of n neurons have n / 76 inputs,
2 outputs and epsilon 1, so two connections a neuron; n = 5,000,000 is the network of 50 million neurons and 65,536
inputs. The lung networks are 3312-h-h-h-5 with epsilon 20, batches of 2, and epochs of 203 samples, on synthetic data
of that shape; published for SciPy on a laptop: 0.3, 3, 49 and 112 minutes an epoch. ``--threads 2`` adds the same with
two threads, which need a machine without other work. No process gets more than ``--limit`` GiB. A killed run goes on
where it was; ``--only lung`` (or ``ten``) measures a part.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from statistics import median

import torch
from harness import RUNS, Row, known, record, remembered
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer.measure import machine, memory
from gossamer.topology import erdos_renyi

LAYERS, NEURONS = 10, (500, 1_500, 5_000, 15_000, 50_000, 150_000, 500_000, 1_500_000, 5_000_000)
LUNG, LUNG_SAMPLES, PUBLISHED_MINUTES = (3_000, 30_000, 300_000, 600_000), 203, (0.3, 3, 49, 112)
ZETA, WARM_UP, AFTER = 0.3, 1, 4


def ten_layers(neurons: int) -> Row:
    """The settings of one network of ten layers."""
    inputs = max(8, round(neurons * 65_536 / 5_000_000))
    return {
        "kind": "ten",
        "widths": [inputs, *[neurons] * LAYERS, 2],
        "epsilon": 1,
        "alpha": 0.6,
        "init": "sparse",
        "lr": 0.1
        / neurons,  # two outputs sum half of the last layer each: a step of theirs grows with its width
        "decay": 0.0,
    }


def lung(neurons: int) -> Row:
    """The settings of one lung-scaling network, with ReLU as published."""
    widths = [3312, *[neurons] * 3, 5]
    published = {"alpha": 0.0, "init": "dense", "lr": 0.01, "decay": 2e-4}
    return {"kind": "lung", "widths": widths, "epsilon": 20, **published}


def network(case: Row) -> nn.Sequential:
    """Described on the device "meta", where a dense layer of any size costs nothing; made sparse on the CPU."""
    widths = case["widths"]
    activations = gs.all_relus(case["alpha"], len(widths) - 2)
    with torch.device("meta"):
        layers: list[nn.Module] = []
        for number, activation in enumerate(activations):
            layers += [nn.Linear(widths[number], widths[number + 1]), activation]
        model = nn.Sequential(*layers, nn.Linear(*widths[-2:]))
    shapes = {name: m.weight.shape for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    density = {name: min(share, 0.999) for name, share in erdos_renyi(shapes, case["epsilon"]).items()}
    generator = torch.Generator().manual_seed(0)
    how = {"init": case["init"], "law": "he_uniform", "device": "cpu"}
    gs.sparsify(model, density, gs.Unstructured(), generator=generator, **how)
    return model


def held(model: nn.Module, optimizer: torch.optim.Optimizer) -> Row:
    """Bytes between two steps: those that grow with connections, and those that grow with neurons."""
    by_connection = {"values": 0, "columns": 0, "gradients": 0, "momentum": 0}
    by_neuron = {"row pointers": 0, "biases, gradients and momentum": 0}
    for layer in (m for m in model if isinstance(m, gs.SparseLinear)):
        by_connection["values"] += size(layer.values)
        by_connection["columns"] += size(layer.index["col"])
        by_connection["gradients"] += size(layer.values.grad)
        by_connection["momentum"] += size(optimizer.state[layer.values].get("momentum_buffer"))
        by_neuron["row pointers"] += size(layer.index["row_ptr"])
        own = (layer.bias, layer.bias.grad, optimizer.state[layer.bias].get("momentum_buffer"))
        by_neuron["biases, gradients and momentum"] += sum(map(size, own))
    return {"by_connection": by_connection, "by_neuron": by_neuron}


def size(tensor: Tensor | None) -> int:
    """Bytes of a tensor that may not be there."""
    return 0 if tensor is None else tensor.numel() * tensor.element_size()


def peak() -> int:
    """The process's high-water mark in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def clock() -> tuple[float, float]:
    """Seconds of the wall's clock, and of this process's threads on processors: others lengthen it less."""
    return time.perf_counter(), time.process_time()


def since(began: tuple[float, float]) -> tuple[float, float]:
    """What has passed on both clocks."""
    now = clock()
    return now[0] - began[0], now[1] - began[1]


def say(text: str) -> None:
    """Progress, beside the result."""
    print(f"  {text}", file=sys.stderr, flush=True)


def measured(case: Row, batch: int, steps: int, threads: int) -> Row:
    """Build, train ``steps`` steps of which the last ends in an update, then a few more."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    bare, began = peak(), clock()
    model = network(case)
    seconds_build, processor_build = since(began)
    connections = sum(m.connections for m in model if isinstance(m, gs.SparseLinear))
    say(f"{connections:,} connections in {seconds_build:.1f} s, peak {peak() / 1e9:.2f} GB")
    built = peak()
    optimizer = gs.SGDW(model.parameters(), lr=case["lr"], momentum=0.9, weight_decay=case["decay"])
    once, fresh = (steps + 1) / (1000 * steps), case["kind"] == "lung"
    rule = gs.SET(every=steps, until=once, drop=ZETA, fresh=fresh, strict=True, spare_output=True)
    engine = gs.attach(model, optimizer, rule, total_steps=1000 * steps)
    x, y = torch.randn(batch, case["widths"][0]), torch.arange(batch) % case["widths"][-1]
    predicted = memory(model, torch.empty_like(x, device="meta"), optimizer)
    predicted.require(already=predicted.values + predicted.index)
    seconds, processor, losses, before_update = [], [], [], 0
    for step in range(steps + AFTER):
        before_update = peak() if step < steps else before_update
        began = clock()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        took = since(began)
        seconds.append(took[0])
        processor.append(took[1])
        losses.append(loss.item())
        say(f"step {step + 1}: {seconds[-1]:.2f} s, loss {losses[-1]:.6f}, peak {peak() / 1e9:.2f} GB")
    ordinary, processor_step = (median(taken[WARM_UP : steps - 1]) for taken in (seconds, processor))
    return {
        "connections": connections,
        "neurons": sum(case["widths"][1:-1]),
        "batch": batch,
        "threads": threads,
        "seconds_build": round(seconds_build, 4),
        "seconds_step": round(ordinary, 5),
        "seconds_per_sample": round(ordinary / batch, 5),
        "connections_per_second": round(connections * batch / ordinary),
        "seconds_update": round(seconds[steps - 1] - ordinary, 4),
        "processor_seconds": {
            "build": round(processor_build, 4),
            "step": round(processor_step, 5),
            "update": round(processor[steps - 1] - processor_step, 4),
        },
        "rewired": sum(row.grown for row in engine.history),
        "losses": [round(loss, 6) for loss in losses],
        "held_bytes": held(model, optimizer),
        "bare_bytes": bare,
        "peak_build_bytes": built,
        "peak_step_bytes": before_update,
        "peak_bytes": peak(),
        "predicted_step_bytes": predicted.total,
    }


def in_a_process(case: Row, options: argparse.Namespace) -> Row:
    """The same, in a process of its own that may not take more than the limit."""
    print(f"{case['kind']} {'-'.join(map(str, case['widths'][:2]))}-...", flush=True)
    command = [sys.executable, __file__, "--one", json.dumps(case)]
    for name in ("batch", "steps", "threads", "limit"):
        command += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 (this script)
    if done.returncode:
        raise SystemExit(f"scale: expected a network that trains, got an exit with {done.returncode}")
    return {**case, **json.loads(done.stdout), "machine": machine()["cpu"]}


def parsed() -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="of each network, the last with an update")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=float, default=20.0, help="GiB a process may take")
    parser.add_argument("--only", choices=("ten", "lung"))
    parser.add_argument("--neurons", type=int, nargs="*", help="of a layer, beside the usual sizes")
    parser.add_argument("--one", help="one network as JSON, in this process")
    return parser.parse_args()


def main() -> None:
    """Every network that is not known yet; the record has all that are."""
    options = parsed()
    if options.one:
        limit = int(options.limit * (1 << 30))
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        print(json.dumps(measured(json.loads(options.one), options.batch, options.steps, options.threads)))
        return
    cases = [*map(ten_layers, [*NEURONS, *(options.neurons or [])]), *map(lung, LUNG)]
    for case in cases:
        if options.only in (None, case["kind"]):
            key = f"{case['kind']} {case['widths'][1]} {options.threads}"
            remembered("scale", key, lambda case=case: in_a_process(case, options))
    rows = sorted(known("scale").values(), key=lambda row: (row["kind"], row["neurons"], row["threads"]))
    published = dict(zip(map(str, LUNG), PUBLISHED_MINUTES, strict=True))
    result = {"zeta": ZETA, "limit_gib": options.limit, "lung_samples": LUNG_SAMPLES}
    record("scale", {**result, "lung_published_minutes": published, "rows": rows})
    print(f"every run is kept in {RUNS / 'scale.jsonl'}")


if __name__ == "__main__":
    main()
