"""What every call of a component goes through, so that what goes wrong inside is told with the component's name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ferkit.errors import ComponentError, FerkitError, StageError
from ferkit.interfaces import PROTOCOLS, Context
from ferkit.recipe import Part


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


def guarded(part: Part, component: Callable[..., Any], returns: type) -> Callable[..., Any]:
    """``component`` as a function whose errors bear its name, and whose result is checked to be of ``returns``."""

    def call(*arguments: Any) -> Any:
        with stage(part):
            value = component(*arguments)
            if not isinstance(value, returns):
                raise StageError(f"returned {type(value).__name__}, not {returns.__name__}; is a `return` missing?")
            return value

    return call
