"""Sparse diffusion convolution: accuracy on Cora and CiteSeer, what thresholds keep and cost, and cost against size.

*Accuracy*: the network of Atwood and Towsley (2016), ``linear(tanh(conv))`` with two hops, by the settings of their
code: softmax with the multiclass hinge loss, AdaGrad 0.05, batches of 10 nodes, at most 100 epochs, an end where the
loss of validation is not below the mean of its last five; weights start normal with deviation 0.01. Random thirds
(train, validate, test) and the fixed split of the data sets stand apart. Their older code adds a feature that is always
1, and the code of the sparse paper also trains on the nodes of validation; neither is done here. *Thresholds*: the same
on random thirds, before or after the powers. *Entries*: how many numbers are above a threshold in the powers of the
transition matrix. *Scale*: random graphs of mean degree 8, two hops, 16 features; every size and form in a process of
its own, which gets ``--limit`` GiB; seconds are the processor's, medians of ``--repeats`` calls on one thread. The
dense form holds the powers as the published code does.

A killed run goes on where it was; ``--fresh`` begins anew, ``--seeds`` and ``--largest`` make it short, and
``--only-known`` records what there is.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from statistics import mean, median, stdev

import torch
from diffusion_sizes import DEGREE, FEATURES, FORMS, HOPS, in_a_process
from harness import RUNS, Row, arguments, gather, known, record
from torch import Tensor, nn

from gossamer import data
from gossamer.nn import DiffusionConv
from gossamer.nn.rows import Rows
from gossamer.nn.transition import above, adjacency, row_stochastic, thresholded_powers

EPOCHS, BATCH, RATE, STD, PATIENCE = 100, 10, 0.05, 0.01, 5
BEFORE, AFTER = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0), (0.01, 0.05, 0.1, 0.25, 0.5)
FIRST = 2
COUNTED = (0.01, 0.05, 0.1, 0.25, 0.5)
PUBLISHED = {"cora": {"thirds": 86.77, "fixed": 79.7}, "citeseer": {"fixed": "69.4 to 71.1"}}
SIZES = (1_000, 3_000, 10_000, 20_000, 100_000, 300_000, 1_000_000)
DENSE = 100_000  # the largest size that is tried as dense powers


def hinge(logits: Tensor, y: Tensor) -> Tensor:
    """The multiclass hinge loss of probabilities: the best wrong class is to be 1 below the right one."""
    shares = logits.softmax(1)
    right = shares.gather(1, y[:, None]).squeeze(1)
    wrong = shares.scatter(1, y[:, None], -1.0).amax(1)
    return (1 - right + wrong).clamp(min=0).mean()


@lru_cache(maxsize=1)
def walked(name: str, before: float, after: float) -> tuple[data.GraphDataset, Tensor, Tensor]:
    """A data set, its features after every hop, and its classes: the same for all seeds."""
    found = data.load_graph(name)
    x, edges, y = found.tensors()
    conv = DiffusionConv(found.features, HOPS, threshold_before=before, threshold_after=after)
    return found, conv.diffuse(x, edges), y


def parts(found: data.GraphDataset, y: Tensor, split: str, generator: torch.Generator) -> list[Tensor]:
    """Nodes to train, validate and test with."""
    if split == "fixed":
        return [torch.tensor(nodes) for nodes in (found.train, found.val, found.test)]
    labelled = (y >= 0).nonzero().squeeze(1)
    order = labelled[torch.randperm(labelled.numel(), generator=generator)]
    return [order[n * len(order) // 3 : (n + 1) * len(order) // 3] for n in range(3)]


class Network(nn.Module):
    """``linear(tanh(conv))`` on features that were diffused before."""

    def __init__(self, spread: Tensor, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.spread, rows = spread, spread.flatten(1).to_sparse_csr()
        self.rows = Rows(rows.values(), rows.crow_indices(), rows.col_indices().int(), rows.shape[1])
        self.conv = DiffusionConv(spread.shape[2], HOPS, generator=generator)
        self.out = nn.Parameter(torch.empty(rows.shape[1], classes).normal_(std=STD, generator=generator))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, nodes: Tensor) -> Tensor:
        """Logits, by the layer."""
        return torch.tanh(self.conv.weigh(self.spread[nodes])) @ self.out + self.bias

    def quick(self, nodes: Tensor) -> Tensor:
        """The same for many nodes, without the nine in ten numbers that are 0, and stay 0."""
        rows = self.rows.pick(nodes)
        weights = self.conv.weight.flatten().index_select(0, rows.col)
        return replace(rows, values=torch.tanh(rows.values * weights)).times(self.out) + self.bias


def accuracy(case: Row) -> Row:
    """Train once; the share of test nodes that are right, and what it took."""
    torch.set_num_threads(1)
    found, spread, y = walked(case["set"], case["before"], case["after"])
    generator = torch.Generator().manual_seed(case["seed"])
    train, validate, test = parts(found, y, case["split"], generator)
    model = Network(spread, len(found.classes), generator)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=RATE, fused=True)
    began, losses = time.perf_counter(), []
    for _ in range(EPOCHS):
        for nodes in train[torch.randperm(train.numel(), generator=generator)].split(BATCH):
            optimizer.zero_grad()
            hinge(model(nodes), y[nodes]).backward()
            optimizer.step()
        with torch.no_grad():
            loss = hinge(model.quick(validate), y[validate]).item()
        if len(losses) >= PATIENCE and loss >= mean(losses[-PATIENCE:]):
            break
        losses.append(loss)
    with torch.no_grad():
        logits = model(test)
        torch.testing.assert_close(model.quick(test), logits, rtol=1e-4, atol=1e-5)
    right = (logits.argmax(1) == y[test]).float().mean().item()
    seconds = time.perf_counter() - began
    return {"accuracy": round(100 * right, 3), "epochs": len(losses), "seconds": round(seconds, 2)}


def summary(rows: list[Row]) -> list[Row]:
    """Means over seeds."""
    grouped: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        grouped.setdefault(tuple(row[key] for key in ("set", "split", "before", "after")), []).append(row)
    return [
        {
            **dict(zip(("set", "split", "before", "after"), key, strict=True)),
            "seeds": len(each),
            "mean": round(mean(row["accuracy"] for row in each), 2),
            "deviation": round(stdev(row["accuracy"] for row in each), 2) if len(each) > 1 else None,
            "accuracies": [row["accuracy"] for row in each],
            "epochs": median(row["epochs"] for row in each),
        }
        for key, each in grouped.items()
    ]


def entries(name: str) -> Row:
    """Numbers in the powers 1 to 3: all, and above thresholds that go before, or after."""
    found = data.load_graph(name)
    matrix = row_stochastic(adjacency(torch.tensor(found.edge_index), found.nodes))
    rows = [
        {
            "threshold": threshold,
            "before": [power.nnz for power in thresholded_powers(above(matrix, threshold), 3, 0.0)],
            "longest_row": int(
                (above(matrix, threshold).indptr[1:] - above(matrix, threshold).indptr[:-1]).max()
            ),
            "after": [power.nnz for power in thresholded_powers(matrix, 3, threshold)],
        }
        for threshold in COUNTED
    ]
    whole = [power.nnz for power in thresholded_powers(matrix, 3, 0.0)]
    return {"set": name, "nodes": found.nodes, "features": found.features, "powers": whole, "rows": rows}


def trainings(seeds: int) -> list[Row]:
    """Both data sets under both splits without a threshold; random thirds with each."""
    plain = [(split, 0.0, 0.0) for split in ("thirds", "fixed")]
    thresholds = [
        *(("thirds", before, 0.0) for before in BEFORE),
        *(("thirds", 0.0, after) for after in AFTER),
    ]
    return [
        {"set": name, "split": split, "before": before, "after": after, "seed": seed}
        for settings in (plain, thresholds)
        for some in (range(min(FIRST, seeds)), range(FIRST, seeds))  # a few seeds say something already
        for split, before, after in settings
        for name in data.graph_names()
        for seed in some
    ]


def sizes(largest: int) -> list[Row]:
    """Every form at every size; the dense one as far as it is tried."""
    cases = [{"form": form, "nodes": size} for size in SIZES for form in (*FORMS, "dense")]
    return [
        case for case in cases if case["nodes"] <= min(largest, DENSE if case["form"] == "dense" else largest)
    ]


def main() -> None:
    """Everything that is not known yet; the record has all that is."""
    options = arguments(
        __doc__, seeds=10, largest=max(SIZES), repeats=5, limit=10.0, fresh=False, only_known=False
    )
    if not options.only_known:
        gather(
            "diffusion_scale",
            sizes(options.largest),
            lambda case: in_a_process(case, options.repeats, options.limit),
            fresh=options.fresh,
        )
        gather("diffusion", trainings(options.seeds), accuracy, fresh=options.fresh)
    rows, scale = (list(known(name).values()) for name in ("diffusion", "diffusion_scale"))
    record(
        "diffusion",
        {
            "hops": HOPS,
            "published": PUBLISHED,
            "accuracy": summary(sorted(rows, key=lambda row: row["seed"])),
            "entries": [entries(name) for name in data.graph_names()],
            "scale": {"degree": DEGREE, "features": FEATURES, "limit_gib": options.limit, "rows": scale},
        },
    )
    print(f"every run is kept in {RUNS}; {len(known('diffusion'))} trainings")


if __name__ == "__main__":
    main()
