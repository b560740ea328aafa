"""The parameter server of WASAP-SGD: owns the weights, the momentum and the topology."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer.errors import ConfigError
from gossamer.parallel.averaging import average, thinned
from gossamer.parallel.group import Group, Inbox
from gossamer.parallel.messages import Flat, Topologies, decode, encode
from gossamer.parallel.protocol import Header, Kind, Note
from gossamer.rules import Rule, describe
from gossamer.training import Engine, join
from gossamer.training.ranks import Ranks, facts_of


def agree(model: nn.Module, rule: Rule | None) -> None:
    """Refuse ranks that do not start alike; raises ConfigError on every rank."""
    Ranks().agree("WASAP", lambda: {**facts_of(model), "rule": describe(rule) if rule else None})


class Server:
    """Rank 0 of WASAP-SGD: applies the gradients of the workers one by one, as they come.

    The model, optimizer and engine are those of an ordinary training, and a checkpoint of them is one: load it between
    construction and the first ``take``, with ``steps`` from it.

    Args:
        group: Group - from ``connect``; all ranks but 0 are workers.
        model: nn.Module - the same on every rank.
        optimizer: Optimizer - of this model; its learning rate is not scaled by the workers.
        rule: Rule or None - growing at random; "once an epoch" is ``every = samples // batch`` updates.
        total_steps: int - updates of the whole training, over all workers.
        seed: int - of the rule's random choices.
        fixed: names of layers whose topology stays; WASAP-SGD leaves the output layer alone.
    Raises:
        ConfigError: a rule that needs gradients of one batch over a whole layer, or a model that is not the workers'.
        RankError: a rank does not answer.
    Cost: beside the model, a vector of the parameters' size and a thread that sleeps for each worker, and a copy of the
        topology for each that is behind.
    Source: Curci, Mocanu, Pechenizkiy 2021, "Truly Sparse Neural Networks at Scale", WASAP-SGD.
    """

    def __init__(
        self,
        group: Group,
        model: nn.Module,
        optimizer: Optimizer,
        rule: Rule | None,
        *,
        total_steps: int,
        seed: int = 0,
        fixed: Iterable[str] = (),
    ) -> None:
        check_wasap(model, rule)
        self.group, self.model, self.optimizer = group, model, optimizer
        self.flat = Flat(model)
        agree(model, rule)
        self.engine: Engine | None = None
        if rule is not None:
            self.engine = join(
                model, optimizer, rule, total_steps=total_steps, seed=seed, fixed=fixed, in_step=False
            )
        self.workers = range(1, group.count)
        self.steps = dict.fromkeys(self.workers, 0)  # gradients taken from every worker
        self.alone = dict.fromkeys(self.workers, 0)  # steps of the second phase, as far as workers have said
        self.finished: set[int] = set()  # workers that send no more gradients
        self.notes: dict[int, Note] = {}  # of the models delivered
        self._version = 0
        self._known: dict[int, Topologies] = {0: self.flat.topologies()}  # by version
        self._held = dict.fromkeys(self.workers, 0)  # the version each worker has
        self._letters = {worker: self.flat.letter() for worker in self.workers}
        self._answer = self.flat.letter()
        self._models: dict[int, tuple[Topologies, Tensor]] = {}
        self._inbox = Inbox(group.time_limit, self.workers)
        self._listening = False

    def take(self) -> Note | None:
        """Wait for the next gradient and apply it; its note, or None once no worker will send one.

        Raises:
            RankError: a worker is silent for longer than the time limit. NonFiniteError, StateError: of the engine.
        Cost: one optimizer step; messages of the size of the parameters.
        """
        while len(self.finished) < len(self.workers):
            worker, header = self._hear()
            if header.kind is Kind.GRADIENT:
                self._apply(worker)
                return header.note
        return None

    def collect(self) -> bool:
        """Wait for one message of the second phase; whether models of some workers are still missing.

        Raises:
            RankError: a worker is silent for longer than the time limit.
        """
        if len(self._models) < len(self.workers):
            self._hear()
        return len(self._models) < len(self.workers)

    def average(self) -> None:
        """Make the model the average of all workers', with as many connections as it had: the end of WASAP-SGD.

        Raises:
            ConfigError: models are still missing.
        Cost: O(workers * connections) time and memory.
        """
        if len(self._models) < len(self.workers):
            raise ConfigError(
                "average", expected=f"models of all {len(self.workers)} workers", got=f"{len(self._models)}"
            )
        models = [self._models[worker] for worker in self.workers]
        flat = torch.stack([values for _, values in models]).double().mean(0).to(self.flat.dtype)
        self.flat.set_values(flat)
        for number, (layer, place) in enumerate(zip(self.flat.layers, self.flat.places, strict=True)):
            theirs = [(topologies[number], values[place]) for topologies, values in models]
            layer.assign(*thinned(*average(theirs), layer.topology))

    def _hear(self) -> tuple[int, Header]:
        """The next message; whoever needs an answer gets it, gradients aside."""
        if not self._listening:
            self._listen()
        worker = self._inbox.next()
        letter = self._letters[worker]
        header = letter.header
        self.group.received += letter.length
        if header.kind is Kind.HELLO:
            self._reply(worker)
        elif header.kind is Kind.ALIVE:
            self.alone[worker] = header.steps
        elif header.kind in {Kind.DONE, Kind.BYE}:
            self.finished.add(worker)
        elif header.kind is Kind.MODEL:
            difference = torch.empty(header.difference, dtype=torch.int64)
            self.group.receive(difference, worker)
            self.notes[worker] = header.note
            self._models[worker] = decode(self._known[self._held[worker]], difference), letter.vector
        if header.kind in {Kind.ALIVE, Kind.DONE}:
            self._inbox.offer(letter.bytes, worker)
        return worker, header

    def _listen(self) -> None:
        """Let the workers speak; a checkpoint may have been loaded until now."""
        self._listening = True
        self._notice_update()
        for worker, letter in self._letters.items():
            self._inbox.offer(letter.bytes, worker)

    def _apply(self, worker: int) -> None:
        """Retain what is still valid of a gradient, step, and answer."""
        gradient, held = self._letters[worker].vector, self._held[worker]
        if held != self._version:
            self.flat.retain(gradient, self._known[held], self._known[self._version])
        self.flat.set_gradients(gradient)
        updates = len(self.engine.history) if self.engine else 0
        self.optimizer.step()
        self.steps[worker] += 1
        if self.engine and len(self.engine.history) > updates:
            self._notice_update()
        self._reply(worker)

    def _notice_update(self) -> None:
        """Give topologies that changed a new version."""
        now, last = self.flat.topologies(), self._known[self._version]
        if any(not torch.equal(a.positions, b.positions) for a, b in zip(now, last, strict=True)):
            self._version += 1
            self._known[self._version] = now

    def _reply(self, worker: int) -> None:
        """All values, and differences to the topologies that the worker has."""
        held = self._held[worker]
        difference = torch.empty(0, dtype=torch.int64)
        if held != self._version:
            difference = encode(self._known[held], self._known[self._version])
        self._answer.header = Header(Kind.VALUES, self._version, self.steps[worker], difference.numel())
        self.flat.write_values(self._answer.vector)
        self._inbox.offer(self._letters[worker].bytes, worker)
        self.group.send(self._answer.bytes, worker)
        if difference.numel():
            self.group.send(difference, worker)
        self._held[worker] = self._version
        self._known = {v: t for v, t in self._known.items() if v in {self._version, *self._held.values()}}


def check_wasap(model: nn.Module, rule: Rule | None) -> None:
    """Refuse what WASAP-SGD cannot train; raises ConfigError.

    Args:
        model: nn.Module.
        rule: Rule or None.
    Cost: O(parameters) for their names.
    """
    Flat(model)
    if rule is not None and rule.needs_gradient:
        raise ConfigError(
            "WASAP",
            expected="a rule that grows at random, e.g. SET",
            got=type(rule).__name__,
            hint="a server sees gradients of connections only: train this rule with data_parallel",
        )
