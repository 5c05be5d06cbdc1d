"""``ferkit.compare``: two evaluations, two reports, or two recipes with data."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferkit.datasets.naming import Data
from ferkit.errors import FerkitError
from ferkit.evaluation.comparison import COMPARISON, Comparison, Rows
from ferkit.evaluation.evaluation import Evaluation
from ferkit.evaluation.resampling import Bootstrap
from ferkit.evaluation.rows import PREDICTIONS, read_rows
from ferkit.recipe import RecipeSource
from ferkit.registry import Registry
from ferkit.text import shown

if TYPE_CHECKING:
    import torch

Side = Evaluation | RecipeSource
"""An evaluation, the folder of its report, or a recipe."""


def compare(
    a: Side,
    b: Side,
    data: Data | None = None,
    out: str | PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    split: str | None = None,
    device: "str | torch.device" = "cpu",
    batch_size: int = 16,
    resamples: int = 10_000,
    seed: int = 0,
    overwrite: bool = False,
    registry: Registry | None = None,
    download: bool = False,
    progress: bool | None = None,
) -> Comparison:
    """Compare B with A on the same faces.

    Reports need no model and no data. Recipes are evaluated first; with ``out`` their reports are in its folders ``a``
    and ``b``, and the same call goes on where it was interrupted.

    Args:
        a: What stands before: an evaluation, a report's folder, or a recipe or run.
        b: What comes after.
        data: For recipes, as for :func:`ferkit.evaluate`.
        out: Folder for the comparison; None: nothing is written.
        overrides: For recipes, on top of each.
        split: For recipes, of the data set.
        device: For recipes, where to compute.
        batch_size: For recipes, faces done at once.
        resamples: Of the bootstrap, at least 100.
        seed: Of the bootstrap.
        overwrite: Whether another comparison in ``out`` is replaced.
        registry: For recipes, where components are looked up.
        download: For recipes, whether missing weights may be fetched from their hub.
        progress: For recipes, whether a bar is drawn on stderr.

    Raises:
        FerkitError: If a side is neither, the two have no id in common, or the true labels of one differ.
    """
    Bootstrap(resamples, seed)  # what can't be drawn says so before hours of work
    if out is not None and (Path(out) / COMPARISON).exists() and not overwrite:
        raise FerkitError(
            f"{shown(Path(out))} holds a comparison: add --overwrite (overwrite=True), or choose another folder"
        )
    if data is None and (split or overrides):
        raise FerkitError("split and overrides are of recipes that are evaluated: name the data, --data NAME:PATH")
    given: dict[str, Any] = {
        "data": data,
        "overrides": overrides,
        "split": split,
        "device": device,
        "batch_size": batch_size,
        "resamples": resamples,
        "seed": seed,
        "overwrite": overwrite,
        "registry": registry,
        "download": download,
        "progress": progress,
    }
    sides: list[Rows] = []
    for name, side in (("a", a), ("b", b)):
        if isinstance(side, str | PathLike) and is_report(side):
            sides.append(read_rows(Path(side)))
            continue
        if not isinstance(side, Evaluation):
            if data is None:
                raise FerkitError(
                    f"{shown(str(side))} is no report of ferkit evaluate (it has no {PREDICTIONS}): name the folder given to its "
                    "--out; or compare recipes by naming the data, --data NAME:PATH"
                )
            from ferkit.evaluation.evaluate import evaluate  # reports are compared without torch

            side = evaluate(side, out=None if out is None else Path(out) / name, **given)  # noqa: PLW2901
        sides.append((side.rows, side.provenance))
    found = Comparison.of(*sides, resamples=resamples, seed=seed)
    if out is not None:
        found.write(out, overwrite=overwrite)
    return found


def is_report(folder: str | PathLike[str]) -> bool:
    """Whether ``folder`` is that of a report."""
    return (Path(folder) / PREDICTIONS).is_file()
