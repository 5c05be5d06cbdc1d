"""Where a result comes from: recipe, software, weights, device."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ferkit
from ferkit.recipe import Part, Recipe
from ferkit.weights import WeightsStore

if TYPE_CHECKING:
    import torch


def provenance(
    recipe: Recipe, weights: WeightsStore, device: "torch.device", parts: Mapping[str, Part] | None = None
) -> dict[str, Any]:
    """Plain data, fit for JSON; ``parts`` are those that took part, by default all."""
    import platform

    import torch

    parts = recipe.parts() if parts is None else parts
    distributions = {part.registered.distribution: part.registered.version for part in parts.values()}
    return {
        "recipe": recipe.name,
        "recipe_digest": recipe.digest,
        "seed": recipe.framework.seed,
        "distributions": {"ferkit": ferkit.__version__, **dict(sorted(distributions.items()))},
        "components": {
            path: {
                "use": part.registered.qualified,
                "licence": part.registered.component.licence,
                "weights_licence": part.registered.component.weights_licence,
            }
            for path, part in parts.items()
        },
        "weights": dict(sorted(weights.used.items())),
        "device": str(device),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
