"""What is said where weights are not on this machine: all that are missing at once, and the command that fetches them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ferkit.errors import WeightsError
from ferkit.recipe import Part, Recipe
from ferkit.weights import Reference, WeightsStore, library_place, offline


def require_weights(
    recipe: Recipe,
    weights: WeightsStore,
    parts: Mapping[str, Part] | None = None,
    option: str = "in Python download=True",
) -> None:
    """Check that the weights of a recipe are there, or may be downloaded, before any component is built.

    Args:
        recipe: Names them.
        weights: Finds them.
        parts: The components that are built; by default all.
        option: What allows downloads in the place of the command.

    Raises:
        WeightsError: If some are not; it names each with its digest.
    """
    if weights.download:
        return
    parts = recipe.parts() if parts is None else parts
    every = {str(reference): reference for part in parts.values() for reference in part.weights}
    missing = [reference for reference in every.values() if weights.locate(reference) is None]
    if missing:
        overridden = any(origin.file is None for origin in recipe.layer.origins.values())
        command = f"`ferkit weights fetch {recipe.source or 'RECIPE'}`{' with the same --set' if overridden else ''}"
        raise WeightsError(_told(missing, command, option))


def _told(missing: Sequence[Reference], command: str, option: str) -> str:
    """Each file, and what to do about files of its kind."""
    lines = "".join(f"\n  {_line(reference)}" for reference in missing)
    schemes = {reference.scheme for reference in missing}
    advice = []
    if schemes & {"hf", "https"}:
        first = "unset FERKIT_OFFLINE, which forbids downloads, and " if offline() else ""
        advice.append(f"nothing is downloaded unless asked: {first}run {command}, or allow it ({option})")
    if "path" in schemes:
        advice.append("correct the paths in the recipe, or copy the files there")
    if "pkg" in schemes:
        advice.append("reinstall the distributions that bring the files in packages")
    return f"weights are not on this machine:{lines}\n{'; '.join(advice)}"


def _line(reference: Reference) -> str:
    pin = f"SHA-256 {reference.sha256}" if reference.sha256 else "not pinned"
    if reference.scheme == "https":
        return f"{library_place(reference)}  from https://{reference.location}  ({pin})"
    if reference.scheme == "path":
        return f"{Path(reference.location)}  ({pin})"
    if reference.scheme == "hf":
        repository, file, revision = reference.hub
        return f"{file or 'the model'} of {repository} at {revision}  ({pin})"
    return f"{reference.scheme}://{reference.location}  ({pin})"
