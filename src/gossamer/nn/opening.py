"""Torch's recurrent layers matrix by matrix, so that each can be replaced as a linear layer is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from torch import nn
from torch.nn.utils import parametrize

from gossamer.nn.candidates import FLOATS, STATE_HOOKS, additions
from gossamer.nn.recurrent import Recurrent
from gossamer.nn.rnn import GRU, LSTM, RNN
from gossamer.nn.sparse import SparseModule
from gossamer.nn.swap import put_in_place

OURS: dict[type[nn.Module], type[Recurrent]] = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}
Pairs = dict[str, tuple[nn.RNNBase, Recurrent]]


def why_closed(module: nn.Module) -> str:
    """Why a recurrent layer of torch stays as it is, in a few words; an empty string where it can be opened."""
    if not isinstance(module, nn.RNNBase):
        return "no recurrent layer"
    if parametrize.is_parametrized(module):
        return "parametrized: its weights are computed before each use"
    if type(module) not in OURS:
        return "a subclass may use its weights in another way"
    if module.proj_size:
        return "projections have no sparse form"
    held, names = module._parameters, module._flat_weights_names  # noqa: SLF001 (what is computed is no parameter)
    if any(name not in held for name in names):
        return "its weights are computed before each use"
    parameters = [cast("nn.Parameter", held[name]) for name in names]
    if any(type(each) is not nn.Parameter or each.dtype not in FLOATS for each in parameters):
        return "sparse layers hold real floating-point numbers, in parameters of torch"
    if any(each._backward_hooks or each._post_accumulate_grad_hooks for each in parameters):  # noqa: SLF001
        return "hooks on the gradient of its weights"
    if any(getattr(module, hooks) for hooks in STATE_HOOKS):
        return "hooks on its state, which know dense weights"
    if "forward" in vars(module):
        return "its forward was replaced"
    taken = sorted(set(additions(module)) & set(dir(OURS[type(module)])))
    return f"attributes of its own that a sparse layer uses: {', '.join(taken)}" if taken else ""


@contextmanager
def opened(model: nn.Module) -> Iterator[Pairs]:
    """Have torch's recurrent layers in a model replaced by ours, which hold the same parameters in dense matrices.

    Those without a sparse matrix at the end of the block are torch's again; after an error all are.

    Args:
        model: nn.Module - changed in place.
    Yields:
        name -> (torch's layer, ours).
    Cost: O(modules).
    """
    found = {name: cast("nn.RNNBase", old) for name, old in model.named_modules() if not why_closed(old)}
    pairs: Pairs = {name: (old, OURS[type(old)].of(old)) for name, old in found.items()}
    put_in_place(model, {id(old): new for old, new in pairs.values()})
    try:
        yield pairs
    except BaseException:
        put_in_place(model, {id(new): old for old, new in pairs.values()})
        raise
    put_in_place(model, {id(new): old for old, new in pairs.values() if not is_sparse(new)})
    for _, new in pairs.values():
        vars(new).pop("stands_for", None)


def is_sparse(layer: Recurrent) -> bool:
    """Whether one of its matrices is."""
    return any(isinstance(part, SparseModule) for part in layer.children())


def to_replace(pairs: Pairs, sparse: Mapping[str, object]) -> Pairs:
    """The recurrent layers of which matrices of these names are parts."""
    owners = {name.rpartition(".")[0] for name in sparse}
    return {name: pair for name, pair in pairs.items() if name in owners}
