"""Pipelines: a recipe's components, built once, and photos passed through them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ferkit.cache import Cache
from ferkit.errors import FerkitError, NoFaceError
from ferkit.inputs import Color, Input, decode_one_of, decode_single, readable, streamed
from ferkit.interfaces import Context
from ferkit.missing_weights import require_weights
from ferkit.normalizing import Normalized, normalize
from ferkit.preparation import Preparation
from ferkit.provenance import provenance
from ferkit.recipe import Recipe, RecipeSource, load_recipe
from ferkit.recognizer import Recognizer
from ferkit.registry import Registry
from ferkit.types import Faces, FaceViews, Features, ImageBatch, Predictions
from ferkit.weights import WeightsStore


def pipeline(
    recipe: RecipeSource | Recipe = "default",
    overrides: Mapping[str, Any] | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    registry: Registry | None = None,
    download: bool = False,
) -> "Pipeline":
    """Build a pipeline from a recipe.

    Args:
        recipe: A shipped recipe's name, a path to a YAML file or a run's folder, a mapping, or a loaded recipe.
        overrides: Nested or dotted keys on top: ``{"normalizer.above_yaw": 45}``.
        device: Where components compute.
        dtype: What they compute in.
        registry: Where components are looked up; the installed plugins by default.
        download: Whether missing weights may be fetched from their hub.

    Raises:
        RecipeError: If the recipe is wrong; every problem with its path and line.
        ComponentError: If a component can't be imported or built.
        WeightsError: If weights are missing, or are not those that were pinned.
    """
    if isinstance(recipe, Recipe):
        if overrides or registry:
            raise FerkitError("a loaded recipe is complete: give overrides and registry to load_recipe")
        loaded = recipe
    else:
        loaded = load_recipe(recipe, overrides, registry=registry)
    return Pipeline(loaded, device=find_device(device), dtype=dtype, weights=WeightsStore(download))


def find_device(device: str | torch.device) -> torch.device:
    """A device by its name.

    Raises:
        FerkitError: If there is none of that name, or torch can't use it.
    """
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise FerkitError(f"{device!r} is no device: choose cpu, cuda, cuda:1, mps") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise FerkitError(f"device {device} was asked for, but this torch finds no CUDA GPU: use device=cpu")
    return found


class Pipeline:
    """Photos in, expressions out. Built by :func:`pipeline`.

    Attributes:
        recipe: What it was built from.
        device: Where it computes.
    """

    def __init__(self, recipe: Recipe, *, device: torch.device, dtype: torch.dtype, weights: WeightsStore) -> None:
        self.recipe, self.device = recipe, device
        require_weights(recipe, weights)
        context = Context(device, dtype, recipe.framework.seed, recipe.labels, weights)
        self._preparation = Preparation(recipe, context, Cache())
        self._recognizer = Recognizer(recipe, context)
        self.provenance = provenance(recipe, weights, device)

    def __call__(self, inputs: Any, *, color: Color = "rgb") -> Predictions:
        """Every face of everything given, as one result.

        Args:
            inputs: A path, encoded bytes, PIL image, numpy array or tensor, or a list or tuple of them.
            color: Channel order of arrays and tensors.

        Raises:
            ImageError: If a single input can't be read. In a list such an input is an entry of ``images`` with its
                ``error``, and the others are done.
            NoFaceError: If a picture has no face, under ``on_no_face: raise``.
        """
        if isinstance(inputs, list | tuple):
            return self._predict([decode_one_of(item, index, color) for index, item in enumerate(inputs)])
        if isinstance(inputs, Iterator):
            raise FerkitError("an iterator of inputs goes to stream(), which yields one result an input")
        return self._predict([decode_single(inputs, color)])

    def stream(self, inputs: Iterable[Any], *, batch_size: int = 16, color: Color = "rgb") -> Iterator[Predictions]:
        """One result an input, in order, lazily; no more than ``batch_size`` pictures are held.

        An input that can't be read yields a result without faces, whose ``images[0].error`` says why.
        """
        return streamed(inputs, batch_size, color, lambda items: split(self._predict(items)))

    def normalize(self, inputs: Iterable[Any], *, batch_size: int = 16, color: Color = "rgb") -> Iterator[Normalized]:
        """Faces turned frontal and nothing else: one result an input, in order, lazily.

        An input that can't be read yields a result without faces, whose ``info.error`` says why.

        Raises:
            FerkitError: If the recipe has no normalizer.
        """
        return normalize(self.recipe, self._preparation, inputs, batch_size=batch_size, color=color)

    def faces(self, batch: ImageBatch) -> Faces:
        """Faces with pose, in order: the part of a pipeline that looks at whole pictures."""
        with torch.no_grad():
            return self._preparation.faces(batch)

    def crops(self, batch: ImageBatch, faces: Faces) -> Faces:
        """``faces`` that fill their pictures with their pose: as they have it; as estimated; or by finding them with a border."""
        with torch.no_grad():
            return self._preparation.crops(batch, faces)

    def views(self, batch: ImageBatch, faces: Faces) -> tuple[FaceViews, tuple[tuple[str, ...], ...]]:
        """Aligned and frontal views of faces, and per face the flags that tell how it came by them."""
        with torch.no_grad():
            return self._preparation.views(batch, faces)

    def features(self, views: FaceViews) -> Features:
        """What the encoders make of views: the input of heads."""
        with torch.no_grad():
            return self._recognizer.features(views)

    def probabilities(self, features: Features, faces: Faces) -> Tensor:
        """Class probabilities ``[N, C]`` on the CPU."""
        with torch.no_grad():
            logits = self._recognizer.logits(features, faces)
            return logits.float().softmax(-1).cpu()

    @torch.inference_mode()
    def _predict(self, inputs: Sequence[Input]) -> Predictions:
        batch = readable(inputs)
        found = self.faces(batch)
        faces, invented = self._where_none(batch, found)
        real = torch.tensor([kind != "nan" for kind in invented], dtype=torch.bool)
        views, flags = self.views(batch, faces.select(real))
        probabilities = torch.full((len(faces), len(self.recipe.labels)), torch.nan)
        probabilities[real] = self.probabilities(self.features(views), faces.select(real))
        every = iter(flags)
        view_flags = [next(every) if kind != "nan" else () for kind in invented]
        return self._result(inputs, found, faces, probabilities, invented, view_flags)

    def _where_none(self, batch: ImageBatch, found: Faces) -> tuple[Faces, list[str]]:
        """Faces with what ``on_no_face`` puts in for empty pictures; per face ``""``, ``"whole_image"`` or ``"nan"``."""
        empty = sorted(set(range(len(batch))) - set(found.image_index.tolist()))
        policy = self.recipe.framework.on_no_face
        if not empty or policy == "skip":
            return found, [""] * len(found)
        if policy == "raise":
            names = ", ".join(batch.sources[index] for index in empty[:3])
            raise NoFaceError(f"no face was found in {names}{' and others' if len(empty) > 3 else ''}")
        boxes = [[0.0, 0.0, batch.images[index].shape[2], batch.images[index].shape[1]] for index in empty]
        extra = Faces.of(empty, boxes if policy == "whole_image" else torch.full((len(empty), 4), torch.nan))
        if policy == "whole_image":
            extra = self._preparation.with_pose(batch, extra)
        together = Faces.concat([found, extra])
        kinds = [""] * len(found) + [policy] * len(extra)
        order = sorted(range(len(together)), key=lambda index: int(together.image_index[index]))
        return together.select(torch.tensor(order)), [kinds[index] for index in order]

    def _result(
        self,
        inputs: Sequence[Input],
        found: Faces,
        faces: Faces,
        probabilities: Tensor,
        invented: Sequence[str],
        view_flags: Sequence[tuple[str, ...]],
    ) -> Predictions:
        place = [index for index, item in enumerate(inputs) if item.image is not None]
        counts = torch.bincount(found.image_index, minlength=len(place)).tolist()
        infos = [item.info for item in inputs]
        for index, count in zip(place, counts, strict=True):
            infos[index] = replace(infos[index], n_faces=count)
        crowded = torch.tensor([count > 1 for count in counts], dtype=torch.bool)
        whole = faces.is_crop | torch.tensor([kind == "whole_image" for kind in invented], dtype=torch.bool)
        told = told_flags(faces, probabilities, crowded[faces.image_index], whole, self.recipe.framework.low_confidence)
        flags = [
            (*(own if kind != "nan" else ()), *turned)
            for own, kind, turned in zip(told, invented, view_flags, strict=True)
        ]
        owners = torch.tensor(place, dtype=torch.int64)[faces.image_index]
        return Predictions(
            self.recipe.labels,
            probabilities,
            replace(faces, image_index=owners),
            tuple(flags),
            tuple(infos),
            self.provenance,
        )


def told_flags(
    faces: Faces, probabilities: Tensor, several: Tensor, whole: Tensor, low_confidence: float
) -> list[tuple[str, ...]]:
    """The flags of each face that tell of its picture and its result, not of its views.

    Args:
        faces: N faces.
        probabilities: ``[N, C]``.
        several: bool ``[N]``: its picture holds more than one face.
        whole: bool ``[N]``: its picture was taken for a crop.
        low_confidence: What the highest probability must reach.
    """
    told = {
        "no_pose": torch.isnan(faces.pose).any(1),
        "low_confidence": probabilities.amax(1) < low_confidence,
        "several_faces": several,
        "whole_image": whole,
    }
    rows = zip(*(values.tolist() for values in told.values()), strict=True)
    return [tuple(name for name, true in zip(told, row, strict=True) if true) for row in rows]


def split(predictions: Predictions) -> Iterator[Predictions]:
    """One :class:`Predictions` an input, in order."""
    for index, info in enumerate(predictions.images):
        chosen = torch.nonzero(predictions.faces.image_index == index).flatten()
        faces = predictions.faces.select(chosen)
        yield Predictions(
            predictions.labels,
            predictions.probabilities[chosen],
            replace(faces, image_index=torch.zeros_like(faces.image_index)),
            tuple(predictions.flags[face] for face in chosen.tolist()),
            (info,),
            predictions.provenance,
        )
