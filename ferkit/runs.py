"""Runs: folders that hold what was trained, read wherever a recipe is."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ferkit.components import map_texts, weight_fields
from ferkit.errors import FerkitError
from ferkit.recipe import Recipe
from ferkit.weights import sha256
from ferkit.writers import replacing

METRICS = "metrics.json"


def require_loadable_head(recipe: Recipe) -> None:
    """Check that what the head learns can be loaded again.

    Raises:
        FerkitError: If it has no option ``weights``.
    """
    if "weights" not in weight_fields(type(recipe.head.config)):
        raise FerkitError(
            f"the head {recipe.head.name} would learn, and has no option `weights` to load that by again: choose another"
        )


def write_run(
    folder: Path,
    recipe: Recipe,
    head: Mapping[str, Tensor],
    encoders: Mapping[str, Mapping[str, Tensor]],
    metrics: Mapping[str, Any],
    card: str,
    used: Mapping[str, str],
    check: Callable[[], None],
) -> dict[str, Any]:
    """Write weights, resolved recipe, metrics and model card; each file whole or not at all, the recipe last but one.

    Args:
        folder: The run's.
        recipe: What was trained.
        head: The head's tensors; none where it has nothing to learn.
        encoders: By encoder, the tensors that changed.
        metrics: Plain data for ``metrics.json``.
        card: Text of ``README.md``.
        used: Digests of the weights that were read, by reference: those that stayed as they were are pinned.
        check: Called when all but the metrics is written: a run without them is not finished.

    Returns:
        What ``metrics.json`` holds: the metrics, and under ``files`` the digests of recipe and weights.

    Raises:
        FerkitError: If the disk is full or forbidden.
    """
    data = recipe.resolved()
    _pin(data, recipe, used)
    metadata = {"labels": json.dumps(recipe.labels), "encoders": json.dumps(list(recipe.encoders))}
    if head:
        data["head"]["weights"] = _save(folder / "head.safetensors", head, metadata)
    for name, tensors in encoders.items():
        data["encoders"][name]["learnt"] = _save(folder / f"encoder-{name}.safetensors", tensors, {})
    write_text(folder / "README.md", card)
    write_text(folder / "recipe.yaml", yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    check()
    names = [
        "recipe.yaml",
        *(["head.safetensors"] if head else []),
        *(f"encoder-{name}.safetensors" for name in encoders),
    ]
    whole = {**metrics, "files": {name: sha256(folder / name) for name in names}}
    write_text(folder / METRICS, json.dumps(whole, indent=1, allow_nan=False) + "\n")
    return whole


def _pin(data: dict[str, Any], recipe: Recipe, used: Mapping[str, str]) -> None:
    """Add the digest of what was read to every reference to weights that has none."""
    for path, part in recipe.parts().items():
        options = data
        for key in path.split("."):
            options = options[key]
        for name in [*weight_fields(type(part.config)), *(["learnt"] if part.learnt else [])]:
            options[name] = map_texts(options[name], lambda text: _pinned(text, used))


def _pinned(text: str, used: Mapping[str, str]) -> str:
    return text if "#" in text or text not in used else f"{text}#sha256={used[text]}"


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Write a safetensors file; its pinned reference, relative to the run."""
    write_tensors(path, tensors, metadata)
    return f"{path.name}#sha256={sha256(path)}"


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A file to write, which becomes ``path`` if all goes well; else what was there before stays.

    Raises:
        FerkitError: If the disk is full or forbidden.
    """
    try:
        with replacing(path) as temporary:
            yield temporary
    except (OSError, RuntimeError, SafetensorError) as error:  # as Python, torch and safetensors tell it
        cause = str(error).splitlines()[0]
        raise FerkitError(
            f"{path} can't be written ({cause}): make room, and run the same command again; it goes on from the last "
            "checkpoint"
        ) from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file whole or not at all.

    Raises:
        FerkitError: If the disk is full or forbidden.
    """
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written(path) as temporary:
        save_file(content, temporary, dict(metadata or {}))


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        FerkitError: If the disk is full or forbidden.
    """
    with written(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
