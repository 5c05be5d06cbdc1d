"""Runs: folders that hold what was trained, read wherever a recipe is."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save_file
from torch import Tensor

from ferkit.components import weight_fields
from ferkit.errors import StageError
from ferkit.recipe import Recipe
from ferkit.weights import sha256


def write_run(
    folder: Path,
    recipe: Recipe,
    head: Mapping[str, Tensor],
    encoders: Mapping[str, Mapping[str, Tensor]],
    metrics: Mapping[str, Any],
    card: str,
) -> None:
    """Write weights, resolved recipe, metrics and model card; each file whole or not at all, the recipe last but one.

    Args:
        folder: The run's.
        recipe: What was trained.
        head: The head's tensors; none where it has nothing to learn.
        encoders: By encoder, the tensors that changed.
        metrics: Plain data for ``metrics.json``.
        card: Text of ``README.md``.

    Raises:
        StageError: If the head has no option ``weights`` to be loaded by again.
        OSError: If the disk is full or forbidden.
    """
    data = recipe.resolved()
    metadata = {"labels": json.dumps(recipe.labels), "encoders": json.dumps(list(recipe.encoders))}
    if head:
        if "weights" not in weight_fields(type(recipe.head.config)):
            raise StageError(f"the head {recipe.head.name} learnt, and has no option `weights` to load that by again")
        data["head"]["weights"] = _save(folder / "head.safetensors", head, metadata)
    for name, tensors in encoders.items():
        data["encoders"][name]["learnt"] = _save(folder / f"encoder-{name}.safetensors", tensors, metadata)
    write_text(folder / "README.md", card)
    write_text(folder / "recipe.yaml", yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1, allow_nan=False) + "\n")


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Write a safetensors file; its pinned reference, relative to the run."""
    partial = path.with_suffix(".part")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial, dict(metadata))
    partial.replace(path)
    return f"{path.name}#sha256={sha256(path)}"


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)
