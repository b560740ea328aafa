"""torch.fx's tracer, without what it writes into torch and Python while it traces.

``fx.Tracer.trace`` replaces ``nn.Module.__call__`` and ``__getattr__`` until it is done, so that modules of other
threads run into the trace. Here the modules of one model, a copy that nobody else has, change their class meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, fx, nn

from gossamer.nn import SparseModule
from gossamer.trace.arguments import count_of
from gossamer.trace.place import place
from gossamer.trace.rebind import Rebinder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gossamer.trace.calling import Example


class Tracer(fx.Tracer):
    """Follows one model's forward, once.

    Args:
        model: nn.Module - a private copy; torch writes tensors that its code makes into it.
        leaves: modules that become one node each, beside those of torch.

    Example:
        >>> from gossamer.trace.calling import Example
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        >>> graph = Tracer(model, set()).follow(Example.of(model, torch.ones(1, 2)))
        >>> [node.op for node in graph.nodes]
        ['placeholder', 'call_module', 'call_module', 'output']
    """

    def __init__(self, model: nn.Module, leaves: set[nn.Module]) -> None:
        super().__init__()
        self.root, self.leaves = model, leaves
        self.graph = fx.Graph(tracer_cls=type(self))
        self.submodule_paths = {module: name for name, module in model.named_modules()}
        self.tensor_attrs = {
            value: f"{path}.{name}".lstrip(".")
            for module, path in self.submodule_paths.items()
            for name, value in vars(module).items()
            if isinstance(value, Tensor)
        }
        self._qualname_counter = defaultdict(int)  # torch shares one among all tracers

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Layers of ours, and everything an operator knows, beside what torch says."""
        return m in self.leaves or super().is_leaf_module(m, module_qualified_name)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """A node that knows where in the model it was made."""
        node = super().create_node(*args, **kwargs)
        node.meta["place"] = place(self.scope.module_path, Tracer.follow.__code__)
        return node

    def create_proxy(self, *args: Any, **kwargs: Any) -> Any:
        """A traced value; a tuple of them for a call whose arguments say how many it gives, as in ``x.chunk(2)``."""
        proxy: Any = super().create_proxy(*args, **kwargs)
        count = count_of(proxy.node)
        return proxy if count is None else tuple(proxy[number] for number in range(count))

    def follow(self, example: Example) -> fx.Graph:
        """Trace the model as the example calls it: its inputs become placeholders, all else stays as it is.

        Raises:
            Whatever torch and the model's code raise on symbolic values.
        """
        inputs = tuple(self.create_proxy("placeholder", name, (), {}) for name in example.names)
        with self._watched():
            result = example.call(self.root.forward, inputs)
            self.create_node("output", "output", (self.create_arg(result),), {})
        return self.graph

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Every module of the model under a class that reports calls and parameters to this tracer."""
        made: dict[type, type] = {}
        rebinder = Rebinder()
        cache: dict[str, fx.Proxy] = {}
        before = [
            (module, type(module))
            for module in self.submodule_paths or ()
            if not isinstance(module, torch.jit.ScriptModule)
        ]
        try:
            for module, cls in before:
                if cls not in made:
                    made[cls] = self._watching(cls, rebinder, cache)
                object.__setattr__(module, "__class__", made[cls])
            yield
        finally:
            for module, cls in before:
                object.__setattr__(module, "__class__", cls)

    def _watching(self, cls: type, rebinder: Rebinder, cache: dict[str, fx.Proxy]) -> type:
        """A class that is another one in all but calls and parameters."""
        tracer, base = self, cast("Any", cls)

        def call(module: Any, *args: Any, **kwargs: Any) -> Any:
            def forward(*args: Any, **kwargs: Any) -> Any:
                return base.__call__(module, *args, **kwargs)

            return tracer.call_module(module, forward, args, kwargs)

        def attribute(module: Any, name: str) -> Any:
            return tracer.getattr(name, base.__getattr__(module, name), cache)

        names: dict[str, Any] = {
            "__call__": call,
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
        }
        if not issubclass(cls, SparseModule):  # its weight is computed from parameters, and has to read them
            names["__getattr__"] = attribute
        order: list[
            type
        ] = []  # empty while the class is made: a class of the model may do things when it is extended
        kind = type(cls).__name__
        meta: Any = type(
            kind, (type(cls),), {"mro": lambda made: [made, *order] if order else type.mro(made)}
        )
        watching: type = meta(cls.__name__, (nn.Module,), names)
        order += rebinder.order(cls)
        watching.__bases__ = (cls,)
        return watching
