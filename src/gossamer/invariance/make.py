"""Networks made shift-invariant in place, and the usual baseline: blurred before every stride."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from gossamer.errors import ConfigError, GossamerError, ShapeError
from gossamer.invariance.changing import Sampler, change
from gossamer.invariance.following import Following
from gossamer.invariance.frames import NAME
from gossamer.invariance.report import ShiftReport
from gossamer.invariance.tracing import check_model, in_double, shapes_of, traced, twin_of
from gossamer.invariance.windows import window_of
from gossamer.nn import AdaptivePolyphaseDownsample, Subsample
from gossamer.nn.shared_phase import SharedPhase
from gossamer.trace.agreement import same
from gossamer.trace.calling import Example

if TYPE_CHECKING:
    from gossamer.invariance.changing import Make
    from gossamer.invariance.frames import Choice
    from gossamer.invariance.windows import Window

TRIED: Final = ((0, 1), (1, 0), (1, 1), (3, 2), (-3, 5))  # shifts, in pixels


def make_shift_invariant(
    model: nn.Module, example: Any = None, *, norm: str = "l2", blur: int = 1
) -> ShiftReport:
    """Change a network in place so that its answer stays the same for every circular shift of an image.

    Convolutions and pools with a stride run at stride 1 and keep the strongest phase of what they give; borders show
    the other side of the image. Branches that are added or concatenated keep the same phase: the layer that runs first
    chooses, by what it gives and what it reads. Layers stay the same objects, with their weights, hooks, modes and
    flags; one with a stride is held by an ``nn.Sequential`` now, as its step ``layer``, so names in a state change with
    it. Its attributes can still be read in its place.

    Args:
        model: nn.Module - of ``nn.Conv2d``, ``SparseConv2d``, ``MaskedConv2d``, ``nn.MaxPool2d``, ``nn.AvgPool2d``,
            ``Subsample``, and what treats all pixels alike. It must be one that torch.fx can follow.
        example: tensor, tuple of inputs or mapping of them, or None - the sizes of a call. With it a pool as large as
            its image is known to be one, and the network is tried in float64 on random images of this size.
        norm: "l1", "l2" or "linf" - which phase is the strongest.
        blur: int in 1 to 7 - binomial weights of a circular blur before the choice; 1 is none.

    Returns:
        ShiftReport - what was changed; print it.

    Raises:
        ConfigError: what cannot be made invariant, with its name or its line. StateError: a model that cannot be
            copied. ShapeError: an example whose sides are no multiples of the strides. Nothing is changed then.

    Cost: a copy of the model and a pass with symbolic values; with an example also two copies and seven passes.

    Source: Chaman and Dokmanic, CVPR 2021; there the phase is chosen behind the activation, here behind the
        convolution.

    Example:
        >>> from gossamer import models
        >>> model = models.resnet20(width=0.25).eval()
        >>> report = make_shift_invariant(model, torch.zeros(1, 3, 32, 32))
        >>> x = torch.randn(1, 3, 32, 32)
        >>> torch.allclose(model(x), model(x.roll((3, -5), (2, 3))), atol=1e-4)
        True
    """
    AdaptivePolyphaseDownsample(norm=norm, blur=blur)  # refuses settings
    check_model(NAME, model)
    found = _followed(model, example)
    groups = _groups(found)
    still = found.output is None
    if example is not None:
        twin = twin_of(NAME, model)
        change(NAME, twin, list(found.calls), _adaptive(groups, norm, blur), found.fixed)
        _try_out(twin.double(), example, still=still)
    changes = change(NAME, model, list(found.calls), _adaptive(groups, norm, blur), found.fixed)
    return ShiftReport(changes, "still" if still else "moves", found.sized, tried=example is not None)


def anti_alias(model: nn.Module, blur: int = 3) -> ShiftReport:
    """Blur before every stride, the usual way to make a network change less with small shifts; in place.

    The same layers as by ``make_shift_invariant``, at stride 1 and with circular borders, but behind each one with a
    stride a blur and a fixed grid. The answer may still change where the image moves.

    Args:
        model: nn.Module - layers in it that have a stride or a border and are none of those are left as they are.
        blur: int in 1 to 7 - binomial weights along each side; 1 is the network itself, with circular borders.

    Returns:
        ShiftReport.

    Raises:
        ConfigError: a border that does not fit the stride, or a layer that is also held where it cannot be replaced.

    Cost: O(modules).

    Source: Zhang, ICML 2019; there the blur follows the activation, here the convolution.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        >>> print(anti_alias(model).changes[0].now)
        stride 1, circular border; every 2 x 2-th pixel of a blur of 3
    """
    Subsample(blur=blur)  # refuses settings
    check_model("anti_alias", model)
    found = {name: window for name, module in model.named_modules() if (window := window_of(module))}
    for name, window in found.items():
        if window.misfit:
            expected = "borders of half of the kernel"
            raise ConfigError("anti_alias", expected=expected, got=f"{name}: {window.misfit}")

    def sampler(_name: str, window: Window, module: nn.Module) -> Sampler:
        if isinstance(module, AdaptivePolyphaseDownsample):
            return Sampler(module, "", first=False)
        said = f"every {_by(window.stride)}-th pixel of a blur of {blur}"
        return Sampler(Subsample(window.stride, blur), said, first=True)

    return ShiftReport(change("anti_alias", model, list(found), sampler), "may change")


def _followed(model: nn.Module, example: Any) -> Following:
    """The way of an image through a copy; raises ConfigError."""
    given = _example(model, example)
    twin = twin_of(NAME, model)
    graph = traced(NAME, twin, given)
    found = Following(twin, graph, {} if example is None else shapes_of(NAME, twin, graph, given))
    for name, module in model.named_modules():
        window = window_of(module)
        if window is not None and name not in found.reached and (window.strides or any(window.around)):
            raise ConfigError(
                NAME,
                expected="layers that the image goes through",
                got=f"{name} ({type(module).__name__}), which is never called in evaluation",
                hint="take it out of the model",
            )
    return found


def _example(model: nn.Module, example: Any) -> Example:
    """What was given, or one input of which nothing is known; raises ConfigError, ShapeError."""
    try:
        given = Example.of(model, torch.empty(0) if example is None else example)
    except (ConfigError, ShapeError) as error:
        raise type(error)(NAME, expected=error.expected, got=error.got, hint=error.hint) from None
    for value in given.values:
        if isinstance(value, Tensor) and value.ndim == 4 and not len(value):
            raise ShapeError(NAME, expected="an example of at least one image", got=str(list(value.shape)))
    return given


def _groups(found: Following) -> dict[str, list[Choice]]:
    """Name of a layer with a stride -> all that keep the phase that it does, the first to run first."""
    groups: dict[str, list[Choice]] = {}
    for group in found.choices.groups():
        for choice in group:
            if len(group) > 1 and found.calls[choice.name] > 1:
                raise ConfigError(
                    NAME,
                    expected="layers with a stride that run once, where branches come together behind them",
                    got=f"{choice.name}, called {found.calls[choice.name]} times",
                    hint="use a layer of its own in each place",
                )
            groups[choice.name] = group
    return groups


def _adaptive(groups: dict[str, list[Choice]], norm: str, blur: int) -> Make:
    """What makes the samplers of one model."""
    shared = {
        group[0].name: SharedPhase(len(group) - 1) if len(group) > 1 else None for group in groups.values()
    }

    def sampler(name: str, window: Window, module: nn.Module) -> Sampler:
        leader = groups[name][0].name
        made = module
        if leader == name:
            _check_norm(name, window, module, norm)
        if not isinstance(made, AdaptivePolyphaseDownsample):
            own = module.blur if isinstance(module, Subsample) else 1
            made = AdaptivePolyphaseDownsample(window.stride, norm, max(blur, own))
        made.share(shared[leader], leads=leader == name)
        count = window.stride[0] * window.stride[1]
        said = f"strongest of {count} phases" if leader == name else f"the phase of {leader}"
        return Sampler(made, said, first=leader != name)

    return sampler


def _check_norm(name: str, window: Window, module: nn.Module, norm: str) -> None:
    """Refuse a norm that is the same for every phase of a pool; raises ConfigError."""
    ties = {
        (nn.MaxPool2d, "linf"): "l1 or l2 with a max pool: each of its phases holds the largest number",
        (
            nn.AvgPool2d,
            "l1",
        ): "l2 or linf with an average pool: behind ReLU each of its phases has the same sum",
    }
    if max(window.kernel) > 1 and (type(module), norm) in ties:
        raise ConfigError(f"{NAME}(norm=)", expected=ties[type(module), norm], got=f"{norm}, for {name}")


@torch.no_grad()
def _try_out(twin: nn.Module, example: Any, *, still: bool) -> None:
    """Compare what a changed copy says of random images and of the same shifted; raises ConfigError, ShapeError."""
    draw = torch.Generator().manual_seed(0)
    given = Example.of(twin, example)
    images = [isinstance(value, Tensor) and value.ndim == 4 for value in given.values]
    values = [
        torch.randn(value.shape, generator=draw, dtype=torch.float64).to(value.device)
        if image
        else in_double(value)
        for value, image in zip(given.values, images, strict=True)
    ]
    try:
        expected = given.call(twin, tuple(values))
        for shift in TRIED:
            moved = [
                value.roll(shift, (-2, -1)) if image else value
                for value, image in zip(values, images, strict=True)
            ]
            got = given.call(twin, tuple(moved))
            if still and not same(expected, got):
                raise ConfigError(
                    NAME,
                    expected="the same answer for a shifted image",
                    got=f"another one, for random images shifted by {shift} pixels",
                    hint="something in its forward was not followed: read what its functions do",
                )
    except GossamerError as error:
        raise error if error.operation == NAME else error.within(NAME) from None


def _by(stride: tuple[int, int]) -> str:
    return f"{stride[0]} x {stride[1]}"
