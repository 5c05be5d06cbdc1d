"""Where a result comes from: recipe, software, weights, device."""

from typing import TYPE_CHECKING, Any

import ferkit
from ferkit.recipe import Recipe
from ferkit.weights import WeightsStore

if TYPE_CHECKING:
    import torch


def provenance(recipe: Recipe, weights: WeightsStore, device: "torch.device") -> dict[str, Any]:
    """Plain data, fit for JSON."""
    import platform

    import torch

    parts = recipe.parts().values()
    distributions = {part.registered.distribution: part.registered.version for part in parts}
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
            for path, part in recipe.parts().items()
        },
        "weights": dict(sorted(weights.used.items())),
        "device": str(device),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
