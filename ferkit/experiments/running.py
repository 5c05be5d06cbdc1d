"""One arm, trained and judged in its folder: what is done stays done, whenever the process ends."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ferkit.datasets.held import Held
from ferkit.errors import FerkitError
from ferkit.evaluation.compare import is_report
from ferkit.recipe import Recipe, load_recipe
from ferkit.registry import Registry
from ferkit.runs import write_text
from ferkit.text import shown

RECIPE, POSED, RUN, REPORT, ERROR = "recipe.yaml", "posed", "run", "report", "error.txt"
YAW, PITCH, ROLL, COPIES = (-75.0, 75.0), (-15.0, 15.0), (-10.0, 10.0), 2  # of faces shown in other poses
LEARNT, HELD = "train", "validation"  # splits of those and of what they are judged by


@dataclass(frozen=True)
class Runner:
    """How arms are run.

    Attributes:
        device: ``cpu`` or ``cuda``; None: what is there.
        resamples: Of the bootstrap in each report.
        registry: Where components are looked up; the installed plugins by default.
        download: Whether missing weights may be fetched from their hub.
        tell: Is told what begins and what failed.
    """

    device: str | None
    resamples: int
    registry: Registry | None
    download: bool
    tell: Callable[[str], None]

    def check(self, recipe: Recipe, folder: Path) -> None:
        """Check that ``folder`` is free, or holds what is left of the same arm.

        Raises:
            FerkitError: If it holds an arm of another recipe or other data.
        """
        path = folder / RECIPE
        if path.exists() and load_recipe(path, registry=self.registry).resolved() != recipe.resolved():
            raise FerkitError(
                f"{shown(path)} is of another recipe or other data (`ferkit recipe diff` tells): choose another --out, or "
                f"remove {shown(folder)}"
            )

    def run(self, recipe: Recipe, folder: Path, poser: Recipe | None = None) -> bool:
        """Do what is not done yet; whether all is. What fails is told, and kept in ``error.txt``.

        With ``poser`` the recipe learns from its data and copies of these in other poses, and is judged by its data.
        """
        name = f"{recipe.name}, seed {recipe.framework.seed}"
        if is_report(folder / REPORT):  # its predictions are what is written last
            return True
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / RECIPE, yaml.safe_dump(recipe.resolved(), sort_keys=False, allow_unicode=True))
        self.tell(f"{name}: {recipe.framework.description}")
        try:
            self._train_and_judge(folder, poser)
        except Exception as error:  # noqa: BLE001 - whatever a component raises, the other arms go on
            kind = "" if isinstance(error, FerkitError) else f"{type(error).__name__}: "
            cause = " ".join(f"{kind}{error}".split())
            write_text(folder / ERROR, f"{cause}\n\n{traceback.format_exc()}")
            self.tell(f"{name}: {cause} ({shown(folder / ERROR)}); the other arms go on")
            return False
        (folder / ERROR).unlink(missing_ok=True)
        return True

    def _train_and_judge(self, folder: Path, poser: Recipe | None) -> None:
        import torch

        from ferkit.evaluation.evaluate import evaluate
        from ferkit.training.train import train

        train(
            folder / RECIPE,
            self._posed(poser, folder / POSED) if poser else None,
            out=folder / RUN,
            device=self.device,
            registry=self.registry,
            download=self.download,
        )
        evaluate(
            folder / RUN,
            poser.resolved()["data"] if poser else None,
            out=folder / REPORT,
            device=self.device or ("cuda" if torch.cuda.is_available() else "cpu"),
            resamples=self.resamples,
            registry=self.registry,
            download=self.download,
        )

    def _posed(self, poser: Recipe, folder: Path) -> dict[str, Any]:
        """The ``data`` of a recipe for learning, with copies of what is learnt from in other poses, made if they are not there.

        What is held out is what every other arm holds out, as it is.
        """
        import torch

        from ferkit.datasets import build_dataset
        from ferkit.posed_set import MANIFEST
        from ferkit.posing import Poses, pose_augment
        from ferkit.training.gathering import sides

        assert poser.data is not None
        dataset = build_dataset(poser.data)
        if not (folder / MANIFEST).exists():
            learnt, held = sides(dataset, poser)
            count, _ = pose_augment(
                Held({LEARNT: learnt, HELD: held}, dataset.is_crop),
                folder,
                Poses(YAW, PITCH, ROLL, COPIES, vary=True, seed=poser.framework.seed),
                poser.resolved(),
                splits=[LEARNT],
                plain=[HELD],
                size=poser.framework.align.size,
                originals=True,
                device=self.device or ("cuda" if torch.cuda.is_available() else "cpu"),
                registry=self.registry,
                download=self.download,
            )
            self.tell(f"{count['copies']} copies of {len(learnt)} faces in other poses: {shown(folder)}")
        own = {"drop_labels": list(poser.selection.drop_labels)}
        split = {"split": LEARNT, "validation": HELD}
        return {"use": "manifest", "path": str(folder / MANIFEST), "crops": dataset.is_crop, **split, **own}


def error_of(folder: Path) -> str:
    """What an arm failed with, on one line; empty where it did not."""
    path = folder / ERROR
    return path.read_text(encoding="utf-8").partition("\n")[0] if path.exists() else ""
