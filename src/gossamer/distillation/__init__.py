"""A trained network as the teacher of another one."""

import gossamer.needs_torch  # noqa: F401 (before what needs it)
from gossamer.distillation.cache import TeacherCache
from gossamer.distillation.distilling import Epoch, distill
from gossamer.distillation.features import AttentionTransfer, Hints, SquareHead
from gossamer.distillation.identity import fingerprint_of
from gossamer.distillation.loss import Distillation
from gossamer.distillation.losses import attention_loss, attention_map, logits_loss, squarehead_loss
from gossamer.distillation.terms import Logits, Term

__all__ = [
    "AttentionTransfer",
    "Distillation",
    "Epoch",
    "Hints",
    "Logits",
    "SquareHead",
    "TeacherCache",
    "Term",
    "attention_loss",
    "attention_map",
    "distill",
    "fingerprint_of",
    "logits_loss",
    "squarehead_loss",
]
