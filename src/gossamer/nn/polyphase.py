"""Fewer pixels: by a phase that moves with the image, or by a fixed grid."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from gossamer import ops
from gossamer.errors import ConfigError, ShapeError
from gossamer.nn.shared_phase import SharedPhase
from gossamer.nn.traced import is_traced
from gossamer.ops.polyphase import LARGEST_BLUR, NORMS
from gossamer.registry import check_choice

Pair = tuple[int, int]


class AdaptivePolyphaseDownsample(nn.Module):
    """Of the phases of an image, the pixels that lie a stride apart, keep the strongest one.

    A grid that starts at the first pixel keeps other pixels of an image that moved by one. Here the choice moves with
    the image: a circular shift of the input shifts the output, by any number of pixels and before any training.

    Phases are counted row by row. Of equally strong ones the first is kept: where they are not the same image, that one
    does not move with the image. Float rounding may decide between almost equal ones. "linf" does not tell the phases
    of a max pool apart, as each of them holds the largest number.

    Args:
        stride: int or (down, along), each >= 1 - there are down * along phases.
        norm: "l1", "l2" or "linf" - what is strongest, over all channels and pixels of a phase.
        blur: int in 1 to 7 - binomial weights along each side of a circular blur before; 1 is none.

    Cost: two passes over the input, and 2 * blur more where it blurs; no parameters.
    Source: Chaman and Dokmanic, CVPR 2021.
    Example:
        >>> down = AdaptivePolyphaseDownsample(2)
        >>> image = torch.tensor([[[[0.0, 9.0, 0.0, 5.0], [1.0, 1.0, 1.0, 1.0]]]])
        >>> down(image).tolist(), down(image.roll(1, -1)).tolist()
        ([[[[9.0, 5.0]]]], [[[[5.0, 9.0]]]])
    """

    def __init__(self, stride: int | Pair = 2, norm: str = "l2", blur: int = 1) -> None:
        super().__init__()
        name = type(self).__name__
        check_choice(f"{name}(norm=)", norm, NORMS)
        self.stride, self.norm, self.blur = _pair(name, stride), norm, _blur(name, blur)
        self.shared: SharedPhase | None = None
        self.leads = True

    def share(self, shared: SharedPhase | None, *, leads: bool = True) -> None:
        """Choose for others as well, or take what another one chooses earlier in the same pass.

        Args:
            shared: SharedPhase that the layers have in common; None: the layer is by itself.
            leads: bool - whether it chooses.
        """
        self.shared, self.leads = shared, leads

    @property
    def chooses_for_others(self) -> bool:
        """Whether other layers keep the phase that it chooses.

        Example:
            >>> AdaptivePolyphaseDownsample().chooses_for_others
            False
        """
        return self.shared is not None and self.leads

    def forward(
        self,
        x: Tensor,
        phase: Tensor | None = None,
        *,
        beside: Tensor | None = None,
        return_phase: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """[batch, channels, height, width] to [batch, channels, height / down, width / along].

        Args:
            x: floating, also without a batch - height and width are multiples of the stride.
            phase: int64 [batch] or None - keep this one, such as that of the other branch of a residual block.
            beside: [batch, any channels, height, width] or None - judged together with x, as more channels of it: where
                all phases of x are alike, this image decides.
            return_phase: bool - give the phase that was kept as well.

        Raises:
            ShapeError: sides that are no multiples of the stride, or a phase that there is none of.
            StateError: it shares a phase, and none was chosen in this pass, or one for another batch or size.
        """
        x = ops.circular_blur(x, self.blur) if self.blur > 1 else x
        if is_traced(x) and phase is None and not return_phase:
            return self._traced(x, beside)
        if phase is not None:
            self._check(phase)
        elif self.shared is not None and not self.leads:
            phase = self.shared.take(type(self).__name__, _images(x))
        else:
            phase = ops.strongest_phase(_both(x, beside), self.stride, self.norm)
            if self.shared is not None:
                self.shared.put(phase, _images(x))
        y = ops.take_phase(x, phase, self.stride)
        return (y, phase) if return_phase else y

    def _traced(self, x: Tensor, beside: Tensor | None) -> Tensor:
        """One call that reads the image whose phases are judged, in the place of its numbers."""
        if self.shared is None or self.leads:
            judged, norm = _both(x, beside), self.norm
        else:
            judged, norm = self.shared.take(type(self).__name__, of=None)
        if self.shared is not None and self.leads:
            self.shared.put((judged, norm), of=None)
        return ops.take_strongest(x, judged, self.stride, norm)

    def _check(self, phase: Any) -> None:
        """Refuse numbers that are no phases; a compiler's stand-ins have no numbers to look at."""
        count = self.stride[0] * self.stride[1]
        if torch.compiler.is_compiling() or is_traced(phase):
            return
        if not isinstance(phase, Tensor):
            got = f"{type(phase).__name__} {phase!r}"
            raise ShapeError(type(self).__name__, expected="a tensor of phases, one for each image", got=got)
        if phase.dtype != torch.int64 or bool(((phase < 0) | (phase >= count)).any()):
            expected = f"phases of int64 from 0 to {count - 1}"
            got = f"{phase.dtype}" if phase.dtype != torch.int64 else f"{phase.tolist()}"
            raise ShapeError(type(self).__name__, expected=expected, got=got)

    def extra_repr(self) -> str:
        """Its settings, and whether it shares its phase."""
        said = f"stride={self.stride}, norm={self.norm}"
        said += f", blur={self.blur}" if self.blur > 1 else ""
        if self.shared is None:
            return said
        return said + (", chooses for others" if self.leads else ", takes the phase of another layer")


class Subsample(nn.Module):
    """Every second row and column, of a blurred image if asked for: the same grid wherever the image lies.

    With ``blur`` it is what is known as blur-pool or anti-aliasing: small shifts change the result less than without,
    but they do change it.

    Args:
        stride: int or (down, along), each >= 1.
        blur: int in 1 to 7 - binomial weights along each side of a circular blur before; 1 is none.

    Cost: a view; 2 * blur passes over the input where it blurs.
    Source: Zhang, ICML 2019.
    Example:
        >>> Subsample(2)(torch.arange(16.0).view(1, 1, 4, 4)).tolist()
        [[[[0.0, 2.0], [8.0, 10.0]]]]
    """

    def __init__(self, stride: int | Pair = 2, blur: int = 1) -> None:
        super().__init__()
        self.stride, self.blur = _pair("Subsample", stride), _blur("Subsample", blur)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to every ``stride``-th row and column."""
        if self.blur > 1:
            x = ops.circular_blur(x, self.blur)
        return x[:, :, :: self.stride[0], :: self.stride[1]]

    def extra_repr(self) -> str:
        """Its settings."""
        return f"stride={self.stride}" + (f", blur={self.blur}" if self.blur > 1 else "")


def _images(x: Tensor) -> tuple[Any, ...]:
    """What all branches of one pass have in common: device, batch, height and width."""
    return str(x.device), *x.shape[:-3], *x.shape[-2:]


def _both(x: Tensor, beside: Tensor | None) -> Tensor:
    """The channels of one image or of two."""
    return x if beside is None else torch.cat([x, beside], -3)


def _pair(name: str, stride: Any) -> Pair:
    """(down, along); raises ConfigError."""
    pair = tuple(stride) if isinstance(stride, (tuple, list)) else (stride, stride)
    if len(pair) != 2 or not all(_whole(each) and each >= 1 for each in pair):
        expected = "a stride of at least 1, or one down and one along"
        raise ConfigError(f"{name}(stride=)", expected=expected, got=repr(stride))
    return int(pair[0]), int(pair[1])


def _blur(name: str, blur: Any) -> int:
    """Its weights; raises ConfigError."""
    if not (_whole(blur) and 1 <= blur <= LARGEST_BLUR):
        expected = f"a whole number from 1 to {LARGEST_BLUR}"
        raise ConfigError(f"{name}(blur=)", expected=expected, got=repr(blur))
    return int(blur)


def _whole(number: Any) -> bool:
    return not isinstance(number, bool) and isinstance(number, Integral)
