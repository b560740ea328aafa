"""A character model on Shakespeare, pruned while it trains: bits per character beside the bytes of its file.

Narang et al. 2017: blocks, or single weights, leave a recurrent net that starts dense, by a threshold in two slopes,
with and without group lasso. A GRU of 1024 units with blocks of 4, 16 and 32 at 80 and 90 %; an LSTM of 1792 units,
dense and with blocks of 16 at 90 %. Input and recurrent matrix are pruned; embedding and output layer are not.
Truncated back-propagation over 64 characters of 32 streams, Adam, cosine learning rate; the loss at the end counts.

The layers are packed from the start, so a run gets faster as it is pruned. A killed run goes on from its last
checkpoint, and the results are written after every run. Data: tinyshakespeare_char.npz in a folder of GOSSAMER_DATA.
``--characters`` shortens the trainings, ``--runs`` their list, most telling first.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from harness import RUNS, Row, arguments, record, remembered, shared_file
from recurrent_nets import density, file_bytes
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer.patterns import parse
from gossamer.rules import Rule
from gossamer.training import Extras

STREAMS, LENGTH, EMBEDDING = 32, 64, 128
RATE, CLIP, LAM = 2e-3, 1.0, 3e-3
HIDDEN = {"gru": 1024, "lstm": 1792}
SAVE_EVERY = 200  # steps


def cases(seeds: int) -> list[Row]:
    """What is trained, most telling first."""

    def case(kind: str, pattern: str, drop: float, method: str) -> Row:
        return {"kind": kind, "pattern": pattern, "drop": drop, "method": method}

    patterns = ("block:16", "block:4", "block:32")
    first = [case("gru", "dense", 0.0, "dense"), case("gru", "block:16", 0.9, "ramp")]
    first += [case("gru", "block:16", 0.9, "ramp + lasso"), case("gru", "unstructured", 0.9, "ramp")]
    for drop in (0.9, 0.8):
        first += [case("gru", p, drop, method) for p in patterns for method in ("ramp", "ramp + lasso")]
        first += [case("gru", "unstructured", drop, "ramp")]
    once = [case("lstm", "dense", 0.0, "dense"), case("lstm", "block:16", 0.9, "ramp")]
    listed = [{**each, "seed": 0} for each in [*first, *once]]
    listed += [{**each, "seed": seed} for seed in range(1, seeds) for each in first]
    return [each for place, each in enumerate(listed) if each not in listed[:place]]


class CharModel(nn.Module):
    """Embedding, one recurrent layer, and an output for every symbol."""

    def __init__(self, kind: str, symbols: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, EMBEDDING)
        self.recurrent = (nn.GRU if kind == "gru" else nn.LSTM)(EMBEDDING, HIDDEN[kind])
        self.read_out = nn.Linear(HIDDEN[kind], symbols)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """[steps, batch] symbols and a state -> scores of the next symbols, and the state behind them."""
        y, state = self.recurrent(self.embedding(x), state)
        return self.read_out(y), state


def rule_of(case: Row, every: int, begin: int) -> Rule:
    """The paper's two routes; the share is that of a layer's blocks that is gone at the end."""
    ramp = gs.RampPruning(every=every, begin=begin, drop=case["drop"])
    if case["method"] == "ramp":
        return ramp
    return gs.GroupLasso(every=every, begin=begin, until=ramp.until, lam=LAM, scaled=True, ramp=ramp)


class Training:
    """One run: where it stands, and how it goes on."""

    def __init__(self, case: Row, text: dict[str, Tensor], characters: int) -> None:
        torch.manual_seed(case["seed"])
        self.case, self.text = case, text
        self.model = CharModel(case["kind"], len(text["vocab"]))
        if case["method"] != "dense":
            gs.sparsify(
                self.model,
                1.0,
                parse(case["pattern"]),
                "uniform",
                skip=("read_out",),
                init="keep",
                full="sparse",
            )
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=RATE)
        self.total = characters // (STREAMS * LENGTH)
        self.engine = None
        if case["method"] != "dense":
            rule = rule_of(case, every=max(1, self.total // 120), begin=self.total // 20)
            self.engine = gs.attach(self.model, self.optimizer, rule, total_steps=self.total, outputs=())
        self.step, self.seconds = 0, 0.0
        self.state: Any = None  # of the streams; None is silence
        self.file = RUNS / f"char_recurrent {' '.join(map(str, case.values()))} {characters}.safetensors"

    def streams(self, part: str, count: int) -> Tensor:
        """[symbols, count], int64: the text, cut into pieces that are read side by side."""
        whole = self.text[part].long()
        length = len(whole) // count
        return whole[: length * count].view(count, length).t()

    def run(self) -> Row:
        """Train to the end from wherever the last checkpoint stands."""
        self.resume()
        symbols = self.streams("train", STREAMS)
        places = (len(symbols) - 1) // LENGTH
        while self.step < self.total:
            began = time.perf_counter()
            at = self.step % places
            if at == 0:
                self.state = None
            self.train(symbols[at * LENGTH : (at + 1) * LENGTH + 1])
            self.seconds += time.perf_counter() - began
            if self.step % SAVE_EVERY == 0:
                self.save()
                print(f"  {self.step} of {self.total}: {self.seconds:.0f} s", flush=True)
        self.optimizer.state.clear()
        row = {
            "bits": round(self.bits(), 4),
            "density": round(density(self.model), 4),
            "bytes": file_bytes(self.model),
            "seconds": round(self.seconds),
            "steps": self.total,
        }
        for part in RUNS.glob(f"{self.file.stem}.*"):
            part.unlink()
        return row

    def train(self, symbols: Tensor) -> None:
        """One step."""
        for group in self.optimizer.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * self.step / self.total))
        self.optimizer.zero_grad()
        scores, state = self.model(symbols[:-1], self.state)
        F.cross_entropy(scores.flatten(0, 1), symbols[1:].flatten()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.state = detached(state)
        self.step += 1

    @torch.no_grad()
    def bits(self) -> float:
        """Bits per character of the test text, read in ten streams."""
        self.model.eval()
        symbols = self.streams("test", 10)
        state, total, seen = None, 0.0, 0
        for at in range(0, len(symbols) - 1, 512):
            piece = symbols[at : at + 513]
            scores, state = self.model(piece[:-1], state)
            total += F.cross_entropy(scores.flatten(0, 1), piece[1:].flatten(), reduction="sum").item()
            seen += piece[1:].numel()
        self.model.train()
        return total / seen / math.log(2)

    def save(self) -> None:
        """A checkpoint; the state of the streams lies beside it. The memory of what is gone comes back before."""
        if self.engine:
            gs.compact(self.model, self.optimizer)
        extras = Extras(progress={"step": self.step, "seconds": self.seconds})
        torch.save(self.state, self.file.with_suffix(f".{self.step}.pt"))
        gs.save_checkpoint(self.file, self.model, self.optimizer, self.engine, extras)
        self.file.with_suffix(f".{self.step - SAVE_EVERY}.pt").unlink(missing_ok=True)

    def resume(self) -> None:
        """Stand where the last checkpoint was written."""
        RUNS.mkdir(exist_ok=True)
        if self.file.is_file():
            progress = gs.load_checkpoint(self.file, self.model, self.optimizer, self.engine)
            self.step, self.seconds = progress["step"], progress["seconds"]
            self.state = torch.load(self.file.with_suffix(f".{self.step}.pt"), weights_only=True)


def detached(state: Any) -> Any:
    """A state without its graph."""
    return state.detach() if isinstance(state, Tensor) else tuple(part.detach() for part in state)


def main() -> None:
    """Every case once; those that were measured before are read."""
    options = arguments(__doc__, characters=5_000_000, seeds=2, threads=1, runs=1000)
    torch.set_num_threads(options.threads)
    arrays = np.load(shared_file("tinyshakespeare_char.npz"), allow_pickle=False)
    text = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    symbol = torch.zeros(256, dtype=torch.uint8)
    symbol[text["vocab"].long()] = torch.arange(len(text["vocab"]), dtype=torch.uint8)
    text |= {part: symbol[text[part].long()] for part in ("train", "test")}
    rows = []
    for case in cases(options.seeds)[: options.runs]:
        key = f"{' '.join(map(str, case.values()))}, {options.characters} characters"
        print(key, flush=True)
        rows.append(
            {
                **case,
                **remembered(
                    "char_recurrent", key, lambda c=case: Training(c, text, options.characters).run()
                ),
            }
        )
        print(f"  {rows[-1]}", flush=True)
        record("char_recurrent", {"characters": options.characters, "hidden": HIDDEN, "rows": rows})


if __name__ == "__main__":
    main()
