"""Histograms of oriented gradients as a ferkit encoder: the example plugin. Nothing slow is imported here."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from ferkit import Component, Config, hookimpl


class HogConfig(Config):
    """Options of the encoder ``hog``; the defaults are those of the paper, for a view of 64 pixels."""

    cells: int = Field(default=8, ge=2, le=64, description="cells along a side of the view")
    cell_size: int = Field(default=8, ge=2, le=64, description="side of a cell in pixels")
    bins: int = Field(default=9, ge=2, le=36, description="orientations from 0 to 180 degrees")


@hookimpl
def ferkit_components() -> Sequence[Component]:
    """The encoder ``hog``."""
    return [
        Component(
            kind="encoder",
            name="hog",
            config=HogConfig,
            target="ferkit_example_hog.encoder:Hog",
            summary="histograms of oriented gradients (Dalal & Triggs 2005): no weights, any CPU",
            provides=frozenset({"tokens"}),
        )
    ]


@hookimpl
def ferkit_recipes() -> Sequence[Path]:
    """The recipe ``hog-linear``."""
    return [Path(__file__).parent / "recipes"]
