"""Freezes trained networks and measures them beside dense torch: speed, size, accuracy."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

import gossamer as gs
from gossamer import measure
from gossamer.cli.methods import DENSE_METHOD
from gossamer.freezing.rivals import INT8, int8_rival
from gossamer.runs import record
from gossamer.runs.folder import restored
from gossamer.runs.journal import write_json
from gossamer.storage import write

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from gossamer.runs.samples import Samples

DENSE_KIND = "dense network"  # of a file that holds an ordinary state dict
BATCHES = (1, 256)
SECONDS = 1.5  # of measuring, for each batch size
Times = dict[int, dict[str, float]]  # batch -> network -> median seconds


def freeze_all(folders: Mapping[str, Path], samples: Samples, threads: int) -> dict[str, nn.Module]:
    """Freeze the last checkpoint of every run into its folder; the dense one stays ordinary torch.

    Args:
        folders: method -> run folder; ``dense`` among them.
        samples: Samples - measured on the first of its test set.
        threads: int - to be fast with.

    Returns:
        method -> network.

    Cost: about two seconds a network.
    """
    networks: dict[str, nn.Module] = {}
    with measure.threads(threads):
        for name, folder in folders.items():
            model = restored(folder).model
            path = folder / record.NETWORK
            if name == DENSE_METHOD:
                networks[name] = model.requires_grad_(requires_grad=False)
                write(path, networks[name].state_dict(), {"kind": DENSE_KIND, "version": 1})
            else:
                networks[name] = frozen = gs.freeze(model, samples.x_test[: BATCHES[-1]], batch_sizes=BATCHES)
                gs.save(frozen, path)
    return networks


def compare(
    networks: Mapping[str, nn.Module], folders: Mapping[str, Path], samples: Samples, threads: int
) -> list[dict[str, Any]]:
    """Measure networks in turns and gather what their runs achieved; each run folder gets its ``speed.json``.

    Args:
        networks: from ``freeze_all``.
        folders: method -> run folder.
        samples: Samples.
        threads: int.

    Returns:
        list of dict: method, accuracy, best, connections, bytes, seconds and against_dense by batch size.
        The last row is the dense network with int8 weights, the rival to beat at batch 1.

    Cost: three seconds of measuring and one evaluation.
    """
    int8 = int8_rival(gs.freeze(networks[DENSE_METHOD], samples.x_test[:1], keep="dense"))
    runners: dict[str, Callable[[Tensor], Tensor]] = {**networks, INT8: int8.run}
    times = _measure(runners, samples.x_test, threads)
    rows = [_row(name, folder, times) for name, folder in folders.items()]
    for row in rows:
        speed = {
            "bytes": row["bytes"],
            "seconds": row["seconds"],
            "dense_seconds": {str(batch): found[DENSE_METHOD] for batch, found in times.items()},
            "threads": threads,
            "machine": measure.machine()["cpu"],
        }
        write_json(folders[row["method"]] / record.SPEED, speed)
    with torch.no_grad():
        right = (int8.run(samples.x_test).argmax(1) == samples.y_test).double().mean().item()
    quantized = {"accuracy": right, "best": None, "connections": rows[0]["connections"], "bytes": int8.bytes}
    return [*rows, {"method": INT8, **quantized, **_speed(INT8, times)}]


@torch.no_grad()
def _measure(runners: Mapping[str, Callable[[Tensor], Tensor]], x: Tensor, threads: int) -> Times:
    times: Times = {}
    with measure.threads(threads):
        for batch in BATCHES:
            sample = x[:batch].contiguous()
            calls = {name: partial(run, sample) for name, run in runners.items()}
            timed = measure.alternate(calls, seconds=SECONDS)
            times[batch] = {name: timing.median for name, timing in timed.items()}
    return times


def _row(name: str, folder: Path, times: Times) -> dict[str, Any]:
    run = record.read_run(folder)
    summary = run.summary
    if summary is None:
        raise FileNotFoundError(f"no {record.SUMMARY} in {folder}: the run is not finished")
    return {
        "method": name,
        "accuracy": summary.accuracy,
        "best": {"epoch": summary.best.epoch, "accuracy": summary.best.accuracy},
        "connections": sum(layer.connections for layer in summary.layers),
        "bytes": (folder / record.NETWORK).stat().st_size,
        **_speed(name, times),
    }


def _speed(name: str, times: Times) -> dict[str, dict[str, float]]:
    return {
        "seconds": {str(batch): found[name] for batch, found in times.items()},
        "against_dense": {str(batch): found[DENSE_METHOD] / found[name] for batch, found in times.items()},
    }
