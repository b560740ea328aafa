"""What classifier and regressor share: hyper-parameters, the course of a training, and what comes out."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from torch import Tensor

from gossamer import data
from gossamer.errors import ConfigError
from gossamer.estimators.fitted import Fitted
from gossamer.estimators.fitting import Loss, Patience, Training
from gossamer.estimators.progress import progress
from gossamer.estimators.settings import check_settings, widths
from gossamer.estimators.table import outputs, shuffled
from gossamer.estimators.validation import held_out_part, require_finite
from gossamer.estimators.whole import BUILT, PLANNED, STATE, check_unchanged, remembered
from gossamer.nn.perceptron import ACTIVATIONS, he_normal, perceptron
from gossamer.patterns import Pattern
from gossamer.registry import answers_unknown
from gossamer.rules import Rule, build, rules
from gossamer.topology import erdos_renyi
from gossamer.training import named_optimizer


class SparseMLP(Fitted, ABC):
    """Base of the estimators; their parameters and attributes are described there."""

    _stand: dict[str, Any] | None  # of the training, between calls; None before the first epoch is done
    _least_held_out = 1  # rows that can be scored

    @answers_unknown
    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (256, 128),
        *,
        density: float | Mapping[str, float] | None = None,
        epsilon: float | None = 20.0,
        pattern: str | Pattern = "unstructured",
        rule: str | Rule = "rigl",
        drop_fraction: float = 0.3,
        update_every: int | None = None,
        activation: str = "relu",
        negative_slope: float = 0.01,
        dropout: float = 0.0,
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
        momentum: float | None = None,
        alpha: float = 0.0,
        batch_size: int = 32,
        max_iter: int = 200,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        device: str = "cpu",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.density = density
        self.epsilon = epsilon
        self.pattern = pattern
        self.rule = rule
        self.drop_fraction = drop_fraction
        self.update_every = update_every
        self.activation = activation
        self.negative_slope = negative_slope
        self.dropout = dropout
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.alpha = alpha
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.device = device

    # --- what classifier and regressor say of themselves ------------------------------------------------------------
    @abstractmethod
    def _loss(self, target: Tensor) -> Loss:
        """The loss to train with on this target."""

    @abstractmethod
    def _held_out_score(self, said: NDArray[Any], target: Tensor) -> float:
        """How good outputs of the network are, more is better."""

    def _strata(self, target: Tensor) -> Tensor | None:
        """What the held-out rows have the same shares of as the others."""
        return None

    # --- the course of a training -----------------------------------------------------------------------------------
    def _goes_on(self) -> bool:
        """Check the hyper-parameters; whether ``fit`` starts from the network that is there."""
        goes_on = self.warm_start and hasattr(self, "network_")
        self._check("fit with warm_start", BUILT if goes_on else ())
        return goes_on

    def _goes_on_in_parts(self) -> bool:
        """Check the hyper-parameters; whether ``partial_fit`` was called before, or ``fit``."""
        goes_on = hasattr(self, "network_")
        self._check("partial_fit", (*BUILT, *PLANNED, *STATE) if goes_on else ())
        if self.early_stopping:
            raise ConfigError(
                "partial_fit",
                expected="early_stopping=False",
                got="True",
                hint="use fit, or call score on held-out rows yourself",
            )
        return goes_on

    def _check(self, operation: str, unchanged: Sequence[str]) -> None:
        """Refuse settings out of range, and changes of settings that the network that is there depends on."""
        parameters = self.get_params(deep=False)
        check_settings(type(self).__name__, parameters)
        if unchanged:
            check_unchanged(operation, unchanged, self._settings, parameters)

    def _fit(self, table: Any, target: Tensor, n_outputs: int, *, goes_on: bool) -> Self:
        """Train for ``max_iter`` epochs, or until it stops getting better."""
        rows, held_out = self._split(target)
        if not goes_on:
            self._begin(table.shape[1], n_outputs)
        patience, best = Patience(self.n_iter_no_change, self.tol), None
        self._plan = self._planned(len(rows))
        with (
            self._training(target) as training,
            progress(self.max_iter, shown=bool(self.verbose)) as tell,
        ):
            for _ in range(self.max_iter):
                loss = self._epoch(training, table, rows, target)
                if held_out is None:
                    patience.better(-loss)
                else:
                    self._validate(table, held_out, target)
                    if patience.better(self.validation_scores_[-1]):
                        best = copy.deepcopy((self.network_.state_dict(), training.state()))
                tell(self._note())
                if patience.over:
                    break
            if best is not None:
                self.network_.load_state_dict(best[0])
                training.restore(best[1])
                self.best_validation_score_ = patience.best
            self._stand = training.state()
        self._check_network()
        return self

    def _partial_fit(self, table: Any, target: Tensor, n_outputs: int, *, goes_on: bool) -> Self:
        """One epoch from wherever the training stands."""
        rows = torch.arange(len(target))
        if not goes_on:
            self._begin(table.shape[1], n_outputs)
            self._plan = self._planned(len(rows))
        with self._training(target) as training:
            if self._stand is not None:
                training.restore(self._stand)
            self._epoch(training, table, rows, target)
            self._stand = training.state()
        self._check_network()
        return self

    def _begin(self, n_inputs: int, n_outputs: int) -> None:
        """A new network."""
        self._seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        sizes = [n_inputs, *(widths(self.hidden_layer_sizes) or ()), n_outputs]
        density = self.density
        if density is None and self.epsilon is not None:
            shapes = {f"fc{n}": (out, inp) for n, (inp, out) in enumerate(pairwise(sizes), start=1)}
            density = erdos_renyi(shapes, self.epsilon)
        self.network_ = perceptron(
            sizes,
            lambda number: ACTIVATIONS[self.activation](number, self.negative_slope),
            self.dropout,
            self._seed,
            {"density": density, "pattern": self.pattern},
            he_normal,
            self.device,
        )
        self._stand = None
        self.n_outputs_, self.n_iter_ = n_outputs, 0
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] = []

    def _planned(self, n_rows: int) -> tuple[Rule, int]:
        """The rule, and how many steps the whole training has: ``max_iter`` times those of one pass over the rows."""
        per_epoch = ceil(n_rows / self.batch_size)
        rule = self.rule
        if isinstance(rule, str):
            share = (
                {} if rules[rule].drop == 0 else {"drop": float(self.drop_fraction)}
            )  # 0: it drops by other means
            rule = build({"name": rule, "every": int(self.update_every or per_epoch), **share})
        return rule, per_epoch * int(self.max_iter)

    def _training(self, target: Tensor) -> Training:
        """A training of the network as planned, at its start."""
        self._settings = remembered(self.get_params(deep=False))
        optimizer = named_optimizer(
            self.optimizer,
            self.network_.parameters(),
            lr=float(self.learning_rate),
            momentum=None if self.momentum is None else float(self.momentum),
            weight_decay=float(self.alpha),
        )
        rule, total_steps = self._plan
        return Training(self.network_, optimizer, rule, total_steps, self._seed, self._loss(target))

    def _epoch(self, training: Training, table: Any, rows: Tensor, target: Tensor) -> float:
        """Once through the rows; returns the loss."""
        order = data.epoch_generator(self._seed, self.n_iter_)
        batches = shuffled(table, rows, target, int(self.batch_size), order)
        loss = training.epoch(batches, order.initial_seed())
        self.n_iter_ += 1
        self.loss_curve_.append(loss)
        return loss

    def _split(self, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows to train on, and rows held out if there is early stopping."""
        rows = torch.arange(len(target))
        if not self.early_stopping:
            return rows, None
        return held_out_part(
            rows,
            self.validation_fraction,
            check_random_state(self.random_state),
            self._strata(target),
            self._least_held_out,
        )

    def _validate(self, table: Any, held_out: Tensor, target: Tensor) -> None:
        said = outputs(self.network_, table, held_out).astype(np.float64)
        require_finite(said, f"validation after epoch {self.n_iter_}")
        self.validation_scores_.append(self._held_out_score(said, target[held_out]))

    def _check_network(self) -> None:
        """The last step of a training is followed by no loss that would show what it did."""
        for parameter in self.network_.parameters():
            require_finite(parameter.detach().cpu().numpy(), f"training step of epoch {self.n_iter_}")

    def _note(self) -> str:
        """What stands beside the progress bar."""
        score = f", held out {self.validation_scores_[-1]:.4f}" if self.validation_scores_ else ""
        return f"loss {self.loss_curve_[-1]:.4g}{score}"
