"""The loss of a student that has a teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.distillation.cache import TeacherCache
from gossamer.distillation.capture import STUDENT, TEACHER, Capture, observed, tensor_of
from gossamer.distillation.terms import OUTPUT, Seen, Term
from gossamer.errors import ConfigError, NonFiniteError, ShapeError

Task = Callable[[Any, Any], Tensor]


class Distillation(nn.Module):
    """``task_weight * task + the terms``, for a training loop of your own.

    The teacher runs in evaluation mode and without gradient, and gets its modes back after each call. It is no part of
    this module: ``parameters()`` are those of learned hints alone. Layers of the student are seen by hooks, which
    ``close()`` removes, or the end of a ``with`` block.

    Args:
        teacher: nn.Module - trained; it shares no module and no parameter with the student.
        student: nn.Module.
        terms: Term - ``Logits``, ``AttentionTransfer``, ``SquareHead``, ``Hints``.
        task: (output, targets) -> scalar Tensor.
        task_weight: float or None - None: 1 minus the alpha of ``Logits``, and 1 without.
        example: inputs or None - one batch. Both networks read it once, without gradient, and shapes that do not
            fit are refused at once; ``Hints`` need it to know their sizes.
        cache: TeacherCache or None - keeps what the teacher puts out.
    Raises:
        ConfigError: shared modules, an unknown layer, no terms, or hints without example. ShapeError: of the example.
    Cost: a pass of the teacher for each call that the cache does not answer.
    Example:
        >>> import gossamer as gs
        >>> teacher, student = nn.Linear(8, 3), nn.Linear(8, 3)
        >>> loss = Distillation(teacher, student, gs.distillation.Logits(temperature=2.0))
        >>> x, y = torch.randn(4, 8), torch.tensor([0, 1, 2, 0])
        >>> loss(student(x), y, x).backward()
        >>> teacher.weight.grad is None, sorted(loss.parts)
        (True, ['Logits', 'task'])
    """

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        *terms: Term,
        task: Task = F.cross_entropy,
        task_weight: float | None = None,
        example: Any = None,
        cache: TeacherCache | None = None,
    ) -> None:
        super().__init__()
        if not terms or not all(isinstance(term, Term) for term in terms):
            raise ConfigError("Distillation", expected="terms, e.g. Logits()", got=repr(terms))
        _refuse_shared(teacher, student)
        pairs = [pair for term in terms for pair in term.pairs]
        self._names = tuple(dict.fromkeys(theirs for _, theirs in pairs if theirs != OUTPUT))
        mine = [ours for ours, _ in pairs if ours != OUTPUT]
        Capture(teacher, self._names, TEACHER).close()  # refuses names that are none
        self.terms, self.task, self.cache = terms, task, cache
        self.task_weight = min(term.task_weight for term in terms) if task_weight is None else task_weight
        self._teacher = (teacher,)  # in a tuple it is no part of this module
        self.parts: dict[str, Tensor] = {}
        self.learned = self._regressors(student, mine, example)
        if cache is not None:
            cache.open(teacher, (OUTPUT, *self._names))
        self._capture = Capture(student, mine, STUDENT)

    @property
    def teacher(self) -> nn.Module:
        """The teacher."""
        return self._teacher[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove every hook from the student, and write what the cache still holds."""
        self._capture.close()
        if self.cache is not None:
            self.cache.flush()

    def forward(self, output: Any, targets: Any, inputs: Any, mask: Tensor | None = None) -> Tensor:
        """The loss of a batch, after the student's pass.

        Args:
            output: what the student put out: a tensor, or an object with ``logits``.
            targets: as the task takes them.
            inputs: what the student read, for the teacher: a tensor, a tuple of arguments, or a dictionary of them.
            mask: Tensor or None - 0 where a token is padding; None takes ``attention_mask`` out of a dictionary.
        Returns:
            Tensor [].
        Raises:
            NonFiniteError: the teacher put out NaN or infinity. ShapeError: outputs or features that do not fit.
            StateError: not one pass of the student since the last call.
        """
        if mask is None and isinstance(inputs, Mapping):
            mask = inputs.get("attention_mask")
        ours = {OUTPUT: tensor_of(output, "the student"), **self._capture.take()}
        seen = Seen(ours, self.taught(inputs), targets, mask)
        total: Any = 0.0
        parts: dict[str, Tensor] = {}
        if self.task_weight:
            value = self.task(seen.student[OUTPUT], targets)
            if value.ndim:
                raise ShapeError(
                    "Distillation(task=)", expected="a single number", got=str(list(value.shape))
                )
            parts["task"] = value.detach()
            total = self.task_weight * value
        for number, term in enumerate(self.terms):
            value = term.value(seen, self._of(number))
            name = type(term).__name__
            parts[name if name not in parts else f"{name} {number}"] = value.detach()
            total = total + value
        self.parts = parts
        return total  # type: ignore[no-any-return]

    @torch.no_grad()
    def taught(self, inputs: Any) -> dict[str, Tensor]:
        """What the teacher makes of inputs, by layer, its output under an empty name; from the cache where it is."""
        return self.cache.outputs(inputs, self._run) if self.cache is not None else self._run(inputs)

    def _run(self, inputs: Any) -> dict[str, Tensor]:
        output, features = observed(self.teacher, self._names, inputs, TEACHER)
        made = {OUTPUT: output, **features}
        for name, tensor in made.items():
            if not bool(torch.isfinite(tensor).all()):
                raise NonFiniteError(
                    f"teacher, {name or 'its output'}",
                    expected="finite numbers",
                    got="NaN or infinity",
                    hint="check that its weights were loaded, and its inputs",
                )
        return made

    def _regressors(self, student: nn.Module, names: list[str], example: Any) -> nn.ModuleList:
        """What the terms learn; the shapes of an example are checked on the way."""
        learned = nn.ModuleList(nn.ModuleDict() for _ in self.terms)
        if example is None:
            if any(type(term).learn is not Term.learn for term in self.terms):
                raise ConfigError(
                    "Distillation", expected="example=, a batch that shows the sizes of hints", got="None"
                )
            return learned
        output, features = observed(student, names, example, STUDENT)
        mask = example.get("attention_mask") if isinstance(example, Mapping) else None
        seen = Seen({OUTPUT: output, **features}, self._run(example), None, mask)
        for made, term in zip(learned, self.terms, strict=True):
            made.update({_key(name): module for name, module in term.learn(seen).items()})  # type: ignore[operator]
        self.learned = learned
        with torch.no_grad():
            for number, term in enumerate(self.terms):
                term.value(seen, self._of(number))
        return learned

    def _of(self, number: int) -> dict[str, nn.Module]:
        """What a term learned, by name of the student's layer."""
        made: Any = self.learned[number]
        return {name.replace(DOT, "."): module for name, module in made.items()}


DOT = "/"  # in names of modules there can be no dot


def _key(name: str) -> str:
    return name.replace(".", DOT)


def _refuse_shared(teacher: nn.Module, student: nn.Module) -> None:
    """Refuse networks that have something in common: training one would change the other; raises ConfigError."""
    modules = {id(module) for module in teacher.modules()}
    tensors = {id(tensor) for tensor in (*teacher.parameters(), *teacher.buffers())}
    found = [name or "the whole network" for name, part in student.named_modules() if id(part) in modules]
    found += [
        name for name, part in (*student.named_parameters(), *student.named_buffers()) if id(part) in tensors
    ]
    if found:
        raise ConfigError(
            "distill",
            expected="a student that shares nothing with its teacher",
            got=f"both have {found[0]}",
            hint="teacher = copy.deepcopy(model) before the student is changed",
        )
