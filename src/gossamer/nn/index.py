"""The index of a packed layer: where nothing averages, casts or broadcasts it, and never used for values of another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from gossamer import ops
from gossamer.errors import TopologyError
from gossamer.nn import living
from gossamer.nn.fingerprint import NAME, SHAPE, code_of, number_in, number_of, readable
from gossamer.nn.leaving import WRITTEN, Left
from gossamer.nn.seen import Seen
from gossamer.nn.sparse import HINT, SparseModule
from gossamer.topology import Topology

UNSET = -1  # the number of an index that has only memory
UNKNOWN = ("values that were never set", "call reset_parameters() or load_state_dict()")
OTHERS = ("values averaged with, or copied from, those of other connections", HINT)


class Indexed(SparseModule):
    """A layer whose connections are named by narrow integer tensors: plain attributes, moved and saved by this class.

    They are no buffers, so that averages, broadcasts and casts of a model's state pass them by. What averages do reach
    is ``fingerprint``, a buffer that says which index the values belong to; a product with others is refused.

    Cost: about a microsecond a product; a state dict takes a copy of the index. A layer with the old connections of one
        that moved on reads its values once a product, until an engine or a gradient shows that it trains by itself.
    """

    values: nn.Parameter
    number: int  # of the index, as the fingerprint says it
    left: Left | None  # layers with the same connections moved to others
    fingerprint: Tensor
    _ones: Tensor  # where the fingerprint has them

    def _make_index(self, device: Any) -> None:
        """A layer without connections yet."""
        self._index_names: tuple[str, ...] = ()
        self.number, self._versions = UNSET, list[int]()  # of the index when it was last known to be valid
        self._seen: Seen | None = None
        self.left = None
        self._by_input: ops.ByInput | None = None
        with torch.inference_mode(mode=False):  # tensors made inside of it cannot be written to outside
            self.register_buffer(NAME, torch.zeros(SHAPE, dtype=torch.float32, device=device))
            self._ones = torch.zeros(SHAPE, dtype=torch.bool, device=device)
        self._held = self.fingerprint

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_index_names", ()):
            raise TopologyError(
                f"{self.title}.{name} =",
                expected="all index tensors to be replaced together",
                got="a new value for one of them",
                hint="layer.assign(topology, values) replaces connections and values together",
            )
        super().__setattr__(name, value)

    @property
    def index(self) -> dict[str, Tensor]:
        """The narrow index tensors by name."""
        return {name: self.__dict__[name] for name in self._index_names}

    def operands(self) -> list[Tensor]:
        """The index tensors in the order the kernels take them; raises TopologyError where the values are of others."""
        if is_compiling():
            return self._traced()
        held = self.__dict__  # every product comes here, and getattr of a module is slow
        index = [held[name] for name in self._index_names]
        seen = self._seen
        if seen is None or not seen.holds(self._buffers[NAME], index):  # type: ignore[arg-type]
            return self._settled(index)
        return index

    def _traced(self) -> list[Tensor]:
        """The same inside a graph, where the fingerprint is a tensor whose numbers are not known yet."""
        if self.left is not None:
            torch.compiler.disable(self.operands)()
        elif not torch.compiler.is_exporting():
            same = ((self.fingerprint != 0) == self._ones).all()
            said = f"{self.title}: values of other connections; call it uncompiled to see why"
            torch._assert_async(same, said)  # noqa: SLF001 (the only check that stays in a graph)
        return [getattr(self, name) for name in self._index_names]

    # --- finding out ------------------------------------------------------------------------------------------------
    def _settled(self, index: list[Tensor]) -> list[Tensor]:
        """The index for the values as they are, after somebody wrote to index or fingerprint; raises TopologyError."""
        self._read_again(index)
        code = readable(self.fingerprint)
        if code is None:  # shapes alone: nothing is computed from them
            return index
        number = number_in(code)
        if number == self.number and not self._strayed():
            if not self._lent():
                self._remember()
            return index
        if number is None or (twin := self._twin(number)) is None:
            got, hint = UNKNOWN if self.number == UNSET else OTHERS if number != self.number else WRITTEN
            expected = "values of the connections in its index"
            raise TopologyError(self.title, expected=expected, got=got, hint=hint)
        if self._lent():
            return list(twin.index.values())
        self._set_index(twin.topology)
        return list(self.index.values())

    def _read_again(self, index: list[Tensor]) -> None:
        """Check an index that was written to in place; a valid one is a new topology for the same values."""
        if (versions := _versions(index)) == self._versions:
            return
        on_cpu = {name: tensor.cpu() for name, tensor in self.index.items()}
        try:
            topology = Topology.from_index(self.pattern, self.shape, on_cpu)
        except TopologyError as error:
            raise error.within(self.title) from None
        self._check_budget(topology, self.title)
        old, new = self.number, number_of(self.pattern, self.dense_size, on_cpu)
        if number_in(self._held) == old:
            self._write_code(new)
        self.number, self._versions, self._by_input = new, versions, None

    def in_order(self) -> bool:
        """Whether index, fingerprint and values belong together, as far as that can be told."""
        code = readable(self.fingerprint)
        return code is not None and number_in(code) == self.number and not self._strayed()

    def _strayed(self) -> bool:
        """Whether the values were written to since the layer was left behind, by no training."""
        left, values = self.left, self.values
        if left is None:
            return False
        if not left.speaks_of(values):  # nobody wrote to mine
            return self._twin(self.number) is not None
        if self.tape.followed or left.trained(values):
            self.left = None
            return False
        return left.strayed(values)

    def _lent(self) -> bool:
        """Whether fingerprint or values are others for a call, as torch.func.functional_call has them."""
        mine = self.left is None or self.left.speaks_of(self.values)
        return self.fingerprint is not self._held or not mine

    def _twin(self, number: int) -> Indexed | None:
        """A living layer with other connections and exactly these values: they were copied from there."""
        if (mine := readable(self.values)) is None:
            return None
        for other in living.alike(self):
            if other.number != self.number and number in (self.number, other.number):
                theirs = other.values.detach()
                if theirs.shape == mine.shape and torch.equal(theirs.to(mine), mine) and other.in_order():
                    return other
        return None

    def leave_behind(self) -> None:
        """Note that another layer with these connections moved to others: averages with its values are refused now."""
        if self.left is None and not self.tape.followed and self.values.grad is None:
            self.left, self._seen = Left(self.values), None

    # --- holding ----------------------------------------------------------------------------------------------------
    def _set_index(self, topology: Topology) -> None:
        """Take the index of a topology; the values are, or will be, in its order."""
        before = self.number
        with torch.inference_mode(mode=False):
            index = topology.index()
            self.number = number_of(self.pattern, self.dense_size, index)
            self._index_names, self._by_input, self.left = tuple(index), None, None
            self.__dict__.update({name: tensor.to(self.values.device) for name, tensor in index.items()})
            self._write_code(self.number)
        self._versions = _versions(self.index.values())
        self._remember()
        for other in living.alike(self) if before not in (self.number, UNSET) else []:
            if other.number == before:
                other.leave_behind()

    @torch.no_grad()
    def _write_code(self, number: int) -> None:
        """Say which index the values belong to."""
        code = code_of(number)
        self.fingerprint.copy_(code)
        self._ones = code.bool().to(self.values.device)

    def _remember(self) -> None:
        """Note index and fingerprint as they are, where they are in order."""
        self._held = self.fingerprint
        written = _versions(self.index.values()) != self._versions
        fine = not written and self.left is None and self.in_order()
        self._seen = Seen.of(self._held, self._versions) if fine else None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Move values and fingerprint as every module; the index goes along, and is never cast."""
        left = self.left is not None and not self._strayed()
        written = _versions(self.index.values()) != self._versions
        super()._apply(fn, recurse)
        with torch.inference_mode(mode=False), torch.no_grad():
            for name in (*self._index_names, "_ones"):
                mine = self.__dict__[name]
                place = fn(mine).device
                if mine.is_meta and place.type != "meta":  # to_empty
                    self.__dict__[name], self.number = torch.zeros_like(mine, device=place), UNSET
                elif place != mine.device:
                    self.__dict__[name] = mine.to(place)
        if left:
            self.left = Left(self.values)
        self._by_input, self._versions = None, [] if written else _versions(self.index.values())
        self._remember()
        return self

    def __getstate__(self) -> dict[str, Any]:
        """The index as NumPy arrays: torch cannot read its own pickles of 16-bit unsigned tensors."""
        index = {name: tensor.cpu().numpy() for name, tensor in self.index.items()}
        written = _versions(self.index.values()) != self._versions
        mine: dict[str, Any] = {
            "_by_input": None,
            "_seen": None,
            "_held": None,
            "left": self.left and self.left.check_sum,
            "_versions": [] if written else None,
        }
        return {**self.__dict__, **index, **mine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The inverse, beside the values."""
        super().__setstate__(state)
        with torch.inference_mode(mode=False):
            for name in self._index_names:
                self.__dict__[name] = torch.tensor(state[name], device=self.values.device)
        if state["_versions"] is None:  # nobody had written to it
            self._versions = _versions(self.index.values())
        if self.left is not None:
            self.left = Left(self.values, state["left"])
        self._remember()
        living.enter(self)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """The index as copies: arithmetic over the values of a state dict must not reach the one in use."""
        index = self.operands()
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, tensor in zip(self._index_names, index, strict=True):
            destination[prefix + name] = tensor.clone()


def _versions(index: Iterable[Tensor]) -> list[int]:
    """How often the tensors of an index were written to."""
    return [tensor._version for tensor in index]  # noqa: SLF001 (torch's own count)
