"""The two hooks of a plugin. They register; none runs while images are processed."""

from collections.abc import Sequence
from pathlib import Path

import pluggy

from ferkit.components import Component

hookspec = pluggy.HookspecMarker("ferkit")
hookimpl = pluggy.HookimplMarker("ferkit")


@hookspec
def ferkit_components() -> Sequence[Component]:  # type: ignore[empty-body]
    """The components a plugin offers. Import nothing heavy: ``Component.target`` is imported when a recipe needs it."""


@hookspec
def ferkit_recipes() -> Sequence[Path]:  # type: ignore[empty-body]
    """Folders of YAML recipes shipped as package data; ``ferkit.pipeline("name")`` finds ``name.yaml`` in them."""
