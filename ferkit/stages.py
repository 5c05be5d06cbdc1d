"""What every call of a component goes through, so that what goes wrong inside is told with the component's name."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from math import isfinite
from typing import Any

from ferkit.errors import ComponentError, FerkitError, StageError
from ferkit.interfaces import PROTOCOLS, Context
from ferkit.recipe import Part
from ferkit.types import Faces, Frontal, ImageBatch


@contextmanager
def stage(part: Part) -> Iterator[None]:
    """Name the component in what goes wrong inside it; ferkit's other errors pass as they are."""
    owner = part.registered
    name = f"{owner.component.kind} {owner.qualified} {owner.version}"
    try:
        yield
    except StageError as error:
        raise StageError(f"{name}: {error}") from error
    except FerkitError:
        raise
    except Exception as error:
        raise StageError(f"{name} failed: {type(error).__name__}: {error}") from error


def build(part: Part, context: Context) -> Any:
    """Import and construct a component.

    Raises:
        ComponentError: If it can't be imported.
        StageError: If it can't be constructed, or does not meet its interface.
    """
    component, owner = part.registered.component, part.registered
    module, _, name = component.target.partition(":")
    try:
        target = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ComponentError(
            f"the {component.kind} {component.name!r} of {owner.distribution} {owner.version} can't be imported from "
            f"{component.target}: {error}. Reinstall {owner.distribution}"
        ) from error
    protocol = PROTOCOLS[component.kind]
    with stage(part):
        built = target(part.config, context)
        if not isinstance(built, protocol):
            raise StageError(f"{name} does not meet the interface {protocol.__name__}")
    return built


def guarded(part: Part, component: Callable[..., Any], returns: type, check: Callable[..., None]) -> Callable[..., Any]:
    """``component`` as a function whose errors bear its name.

    What it returns must be of ``returns``, and ``check(value, *arguments)`` may raise a StageError about it.
    """

    def call(*arguments: Any) -> Any:
        with stage(part):
            value = component(*arguments)
            if not isinstance(value, returns):
                raise StageError(f"returned {type(value).__name__}, not {returns.__name__}; is a `return` missing?")
            check(value, *arguments)
            return value

    return call


def check_detected(faces: Faces, batch: ImageBatch) -> None:
    """Every face is in a picture of the batch, and a rectangle."""
    outside = (faces.image_index < 0) | (faces.image_index >= len(batch))
    if bool(outside.any()):
        raise StageError(f"a face points to a picture outside the batch of {len(batch)}")
    for index, (x0, y0, x1, y1) in zip(faces.image_index.tolist(), faces.boxes.tolist(), strict=True):
        if not (isfinite(x0 + y0 + x1 + y1) and x0 < x1 and y0 < y1):
            box = f"{x0:g} {y0:g} {x1:g} {y1:g}"
            raise StageError(f"the box {box} of a face in {batch.sources[index]} is no rectangle")


def check_posed(posed: Faces, _batch: ImageBatch, faces: Faces) -> None:
    """Faces come back as many as they were."""
    if len(posed) != len(faces):
        raise StageError(f"was given {len(faces)} faces and returned {len(posed)}")


def check_turned(turned: Sequence[object], _batch: ImageBatch, faces: Faces) -> None:
    """One result a face, a Frontal or None."""
    if len(turned) != len(faces):
        raise StageError(f"was given {len(faces)} faces and returned {len(turned)} results")
    for result in turned:
        check_frontal(result)


def check_frontal(result: object) -> None:
    """A Frontal or None."""
    if result is not None and not isinstance(result, Frontal):
        raise StageError(f"returned a {type(result).__name__} for a face, neither a Frontal nor None")
