"""A worker of WASAP-SGD: computes gradients for the server, later trains by itself."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import nn
from torch.optim import Optimizer

from gossamer.errors import ConfigError
from gossamer.parallel.group import Group
from gossamer.parallel.messages import Flat, decode, encode
from gossamer.parallel.protocol import NOTHING, Header, Kind, Note
from gossamer.parallel.server import agree, check_wasap
from gossamer.rules import Rule
from gossamer.training import Engine, join

SERVER = 0


class Worker:
    """Ranks 1 and up of WASAP-SGD; its ``step`` takes the place of ``optimizer.step`` in an ordinary loop.

    Args:
        group: Group - from ``connect``.
        model: nn.Module - the same on every rank; the server's weights and topology are put into it.
        rule: Rule or None - the server's.
    Raises:
        ConfigError: a model or rule that is not the server's, or not for WASAP. RankError: the server does not answer.
    Cost: a step sends one vector of gradients and receives one of values; after an update of the topology also what
        changed in it.
    Source: Curci, Mocanu, Pechenizkiy 2021, WASAP-SGD.
    """

    def __init__(self, group: Group, model: nn.Module, rule: Rule | None) -> None:
        check_wasap(model, rule)
        self.group, self.model, self.rule = group, model, rule
        self.flat = Flat(model)
        self._letter, self._answer = self.flat.letter(), self.flat.letter()
        agree(model, rule)
        self.engine: Engine | None = None
        self.steps = 0  # of the first phase
        self.alone = 0  # steps of the second
        self._optimizer: Optimizer | None = None
        self._version, self._known = 0, self.flat.topologies()
        self._said = time.monotonic()

    def start(self) -> int:
        """Take the server's model; how many steps this worker had done when a server that resumed wrote its checkpoint.

        Raises:
            RankError: the server does not answer.
        """
        self.steps = self._ask(Kind.HELLO)
        return self.steps

    def step(self, note: Note = NOTHING) -> None:
        """Use the gradients in the model: send them and take the server's weights; when alone, step by itself.

        Args:
            note: three floats - that ``Server.take`` returns, e.g. loss, right answers, samples.
        Raises:
            RankError: the server does not answer. NonFiniteError, StateError: of the engine.
        """
        if self._optimizer is not None:
            self._optimizer.step()
            self.alone += 1
            if time.monotonic() - self._said > self.group.time_limit / 4:
                self._say(Kind.ALIVE)
            return
        self.steps += 1
        self.flat.write_gradients(self._letter.vector)
        self._ask(Kind.GRADIENT, note)

    def leave(
        self,
        optimizer: Optimizer | None = None,
        *,
        total_steps: int = 1,
        seed: int = 0,
        fixed: Iterable[str] = (),
    ) -> None:
        """End the first phase: send no more gradients; with an optimizer, train on alone, with a topology of its own.

        The rule counts samples as before: where the server updated every n gradients, each of K workers does so every
        n / K of its own steps.

        Args:
            optimizer: Optimizer or None - of the model, fresh.
            total_steps: int - of the second phase.
            seed: int - of the rule's choices; another one on every worker.
            fixed: names of layers whose topology stays.
        Raises:
            ConfigError, PatternError: as ``attach``. RankError.
        """
        self._say(Kind.BYE if optimizer is None else Kind.DONE)
        self._optimizer = optimizer
        if optimizer is not None and self.rule is not None:
            workers = self.group.count - 1
            every, begin = max(1, self.rule.every // workers), self.rule.begin // workers
            self.engine = join(
                self.model,
                optimizer,
                replace(self.rule, every=every, begin=begin),
                total_steps=total_steps,
                seed=seed,
                fixed=fixed,
                in_step=False,
            )

    def deliver(self, note: Note = NOTHING) -> None:
        """End the second phase: send topology and weights to be averaged.

        Args:
            note: three floats - for ``Server.notes``.
        Raises:
            ConfigError: the first phase is not over. RankError.
        Cost: one message: what changed in the topology, and the values.
        """
        if self._optimizer is None:
            raise ConfigError(
                "deliver",
                expected="a worker that trains alone",
                got="one that still works with the server",
                hint="call leave() first",
            )
        difference = encode(self._known, self.flat.topologies())
        self.flat.write_values(self._letter.vector)
        self._say(Kind.MODEL, difference.numel(), note)
        self.group.send(difference, SERVER)

    def _say(self, kind: Kind, difference: int = 0, note: Note = NOTHING) -> None:
        self._address(kind, difference, note)
        self.group.send(self._letter.bytes[: self._letter.length], SERVER)

    def _ask(self, kind: Kind, note: Note = NOTHING) -> int:
        """Say something and take the server's answer into the model; how many of our steps the server counts."""
        self._address(kind, 0, note)
        self.group.ask(self._letter.bytes[: self._letter.length], self._answer.bytes, SERVER)
        header, topologies = self._answer.header, None
        if header.difference:
            difference = torch.empty(header.difference, dtype=torch.int64)
            self.group.receive(difference, SERVER)
            topologies = decode(self._known, difference)
            self._version, self._known = header.version, topologies
        self.flat.set_values(self._answer.vector, topologies)
        return header.steps

    def _address(self, kind: Kind, difference: int, note: Note) -> None:
        self._letter.header = Header(kind, self._version, self.alone or self.steps, difference, note)
        self._said = time.monotonic()
