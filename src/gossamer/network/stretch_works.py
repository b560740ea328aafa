"""What the nodes of a stretch do to images of given sizes, node by node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.errors import ShapeError
from gossamer.network.graph import Call, Layer
from gossamer.network.lowering import Image, Lowering, NotLowered
from gossamer.network.operators import operators

if TYPE_CHECKING:
    from gossamer.network.stretches import Stretch

Sizes = tuple[tuple[int, ...], ...]


def works(
    stretch: Stretch, batch_class: int, sizes: Sizes
) -> tuple[Lowering, dict[str, Image], dict[str, tuple[int, ...]]]:
    """The works of a stretch.

    Args:
        stretch: Stretch.
        batch_class: int - which of the choices of its layers.
        sizes: [channels, height, width] of each value that it reads.

    Returns:
        (Lowering, name of a value -> Image, name -> its shape without the batch).

    Raises:
        NotLowered: a node, which it names, for which the core has no steps.
        ShapeError: images that a node cannot take.
    """
    lowering = Lowering()
    images: dict[str, Image] = {}
    shapes = dict(zip(stretch.reads, sizes, strict=True))
    for name, size in shapes.items():
        _check_image(name, size)
        images[name] = lowering.input(name, (size[0], size[1], size[2]))
    for node in stretch.nodes:
        lowering.name, body = node.name, node.body
        reads = tuple([images[name] for name in node.inputs])
        try:
            for name in node.inputs:
                _check_image(name, shapes[name])
            if isinstance(body, Layer):
                images[node.name] = made = _layer(lowering, body, batch_class, reads)
                shapes[node.name] = made.size
            elif isinstance(body, Call):
                entry = operators[body.op]
                images[node.name] = entry.lowered(lowering, reads, body.settings, body.tensors)
                shapes[node.name] = entry.shape(tuple([(1, *read.size) for read in reads]), body.settings)[1:]
        except NotLowered as error:
            error.node = node.name
            raise
        except ShapeError as error:
            raise error.within(f"Frozen, at {node.name}") from None
        except ValueError as error:
            expected, got = "images that fit it", str(error)
            raise ShapeError(f"Frozen, at {node.name}", expected=expected, got=got) from None
    return lowering, images, shapes


def _check_image(name: str, shape: tuple[int, ...]) -> None:
    """Refuse any other value, such as a mean of whole planes: steps would read it as an image of one pixel."""
    if len(shape) != 3:
        raise NotLowered(f"{name} of {len(shape) + 1} dimensions")


def _layer(lowering: Lowering, body: Layer, batch_class: int, reads: tuple[Image, ...]) -> Image:
    form = body.forms[body.choices[batch_class].layout]
    if body.geometry is None or form.dtype != "float32":
        raise NotLowered(f"a layer of {form.dtype}")
    more = reads[1] if len(reads) > 1 else None
    return lowering.convolution(reads[0], form, body.geometry, body.bias, more, body.activation, body.slope)
