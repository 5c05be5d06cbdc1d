"""Every error ferkit raises on purpose. Each says what was wrong, where, and what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass


class FerkitError(Exception):
    """Base of all errors ferkit raises on purpose."""


class ImageError(FerkitError):
    """An input that could not be turned into a picture.

    Args:
        kind: One of ``unreadable, empty, not_an_image, corrupt, too_large, directory_loop``.
        message: What was wrong and what to do.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class NoFaceError(FerkitError):
    """A picture without a face, under ``on_no_face: raise``."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a recipe: its dotted path, where it was written, and what to do."""

    path: str
    message: str
    where: str = ""

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.path or 'recipe'}{place}: {self.message}"


class RecipeError(FerkitError):
    """Everything wrong with a recipe, at once, in ``problems``."""

    def __init__(self, problems: Sequence[Problem], name: str = "recipe") -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        count = "a problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(f"{name} has {count}:\n{lines}")


class ComponentError(FerkitError):
    """A component that was asked for by name can't be had."""


class UnknownComponentError(ComponentError):
    """No component of any kind has this name."""


class WrongKindError(ComponentError):
    """The name exists, as a component of another kind."""


class NotInstalledError(ComponentError):
    """A first-party component whose distribution is not installed."""


class BrokenPluginError(ComponentError):
    """A plugin that is installed but failed to load; the cause is chained."""


class AmbiguousNameError(ComponentError):
    """Two distributions own a component of this kind and name."""


class StageError(FerkitError):
    """A component returned something that its interface does not allow."""


class WeightsError(FerkitError):
    """Weights that are missing, unpinned, altered, or of a format that could run code."""
