"""What was given, decoded or told why not, a few at a time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from typing import Any, Literal, TypeVar

from torch import Tensor

from ferkit.errors import FerkitError, ImageError
from ferkit.images import decode, source_name
from ferkit.types import ImageBatch, ImageInfo

T = TypeVar("T")
Color = Literal["rgb", "bgr"]


@dataclass(frozen=True)
class Input:
    """One thing given: decoded, or why not."""

    info: ImageInfo
    image: Tensor | None


def decode_single(item: Any, color: Color) -> Input:
    """The only input.

    Raises:
        ImageError: If it can't be read.
    """
    return _input(item, 0, decode(item, color=color))


def decode_one_of(item: Any, index: int, color: Color) -> Input:
    """The ``index``-th input."""
    try:
        return _input(item, index, decode(item, color=color))
    except ImageError as error:
        return Input(ImageInfo(source_name(item, index), error=str(error), error_kind=error.kind), None)


def _input(item: Any, index: int, image: Tensor) -> Input:
    return Input(ImageInfo(source_name(item, index), height=image.shape[1], width=image.shape[2]), image)


def readable(inputs: Sequence[Input]) -> ImageBatch:
    """The pictures among ``inputs``."""
    found = [(item.image, item.info.source) for item in inputs if item.image is not None]
    return ImageBatch(tuple(image for image, _ in found), tuple(source for _, source in found))


def streamed(
    inputs: Iterable[Any], batch_size: int, color: Color, together: Callable[[Sequence[Input]], Iterable[T]]
) -> Iterator[T]:
    """What ``together`` makes of many inputs, lazily; no more than ``batch_size`` pictures are held.

    Args:
        inputs: Paths, encoded bytes, PIL images, arrays or tensors.
        batch_size: How many go to ``together``.
        color: Channel order of arrays and tensors.
        together: Gives one result an input, in order. Where it raises a FerkitError, it gets the inputs one by one, so that what
            comes before the fault is not lost.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
    if isinstance(inputs, str | bytes | PathLike):
        raise FerkitError("a stream takes many inputs: give a list, or call the pipeline with the one")
    numbered = enumerate(inputs)
    while chunk := list(islice(numbered, batch_size)):
        decoded = [decode_one_of(item, index, color) for index, item in chunk]
        try:
            results = list(together(decoded))
        except FerkitError:
            for item in decoded:
                yield from together([item])
        else:
            yield from results
