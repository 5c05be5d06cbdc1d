"""The normalizers: one adapter for every pipeline that edits a picture by an instruction."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor

from ferkit import ComponentError, Context, Faces, Frontal, ImageBatch, StageError
from ferkit.components import map_texts, operational_fields
from ferkit.editing import Failures, check_prompt, face_crop, face_seed
from ferkit.weight_folders import fingerprint
from ferkit.weights import Reference
from ferkit_diffusers.arguments import check_call, check_negative, without_defaults
from ferkit_diffusers.editors import EDITORS, EditorSpec, inspected
from ferkit_diffusers.loading import (
    add_loras,
    decisive,
    line,
    load_pipeline,
    pipeline_class,
    place,
    scheduler_settings,
    set_scheduler,
)
from ferkit_diffusers.options import SETTLED, EditorConfig, reference, settle
from ferkit_diffusers.token_types import tell_token_types


class DiffusersNormalizer:
    """Turns faces with a pipeline of diffusers.

    Args:
        config: Names the weights, and how they are loaded and called.
        context: Its labels may occur in no prompt; its seed and a face's content make the seed of that face's noise.

    Attributes:
        editor: The pipeline's description in :data:`EDITORS`; None: found in the pipeline's signature.
        version: Versions of the libraries, and the work-around where it is in use.
        cache_key: Every option as it takes effect, weights by content.
        pipeline: The pipeline of diffusers.

    Raises:
        ComponentError: If the prompt names a label, or an option does not exist.
        WeightsError: If weights are missing, altered, or do not fit.
    """

    editor: ClassVar[str | None] = None

    def __init__(self, config: EditorConfig, context: Context) -> None:
        self._check_texts(config, context)
        known = EDITORS[self.editor] if self.editor else None
        folder = context.weights.path(reference(config, known), pinned=False)
        kind = pipeline_class(folder)
        self.spec = spec = known or _inspected(kind, folder)
        if kind.__name__ != spec.pipeline:
            fitting = [name for name, other in EDITORS.items() if other.pipeline == kind.__name__]
            raise ComponentError(
                f"{folder} is a {kind.__name__}, not a {spec.pipeline}: `use: {(fitting or ['diffusers-edit'])[0]}`"
            )
        self._settings = settings = settle(config, spec)
        check_call(config.call, spec, kind)
        check_negative(config, settings.guidance, spec, kind)
        loras = [(lora, context.weights.path(lora.file)) for lora in config.loras]
        self.pipeline = load_pipeline(folder, kind, settings.load, context)
        set_scheduler(self.pipeline, settings.scheduler)
        add_loras(self.pipeline, loras)
        told = tell_token_types(self.pipeline)
        self._place(context.device)
        self._config, self._seed = config, context.seed
        self.crop_margin = config.margin
        self._failures = Failures(spec.pipeline, ". Look at `load` and `call`, and try it on one picture in diffusers")
        libraries = [f"{library.__name__} {library.__version__}" for library in (diffusers, transformers)]
        self.version = ", ".join([*libraries, *(["mm_token_type_ids told"] if told else [])])
        digests = [(context.weights.used[str(Reference.parse(lora.file))], lora.scale) for lora, _ in loras]
        self.cache_key = {
            **config.model_dump(mode="json", exclude={*operational_fields(type(config)), *SETTLED}),
            **settings.decisive(),
            "load": decisive(settings.load, context),
            "call": without_defaults(config.call, kind),
            "scheduler": scheduler_settings(self.pipeline),
            "weights": [fingerprint(folder), *digests],  # never the full digest, which not every recipe gives
        }

    def __call__(self, batch: ImageBatch, faces: Faces) -> list[Frontal | None]:
        """Each face as the pipeline turned it, or None where it could not.

        Raises:
            StageError: If memory does not suffice, or face after face fails.
        """
        turned = dict(self.sampled(batch, faces, 0))
        return [turned.get(face) for face in range(len(faces))]

    def sampled(self, batch: ImageBatch, faces: Faces, sample: int) -> Iterator[tuple[int, Frontal | None]]:
        """A draw of each face as it comes, from its own noise.

        None is a face of which the pipeline makes what can be no face, and always will. One that it failed on is left out.
        """
        size = self._config.batch_size if self.spec.batches else 1
        for start in range(0, len(faces), size):
            owners = range(start, min(start + size, len(faces)))
            crops = [face_crop(batch, faces, face, self.crop_margin, self._settings.resolution) for face in owners]
            turned = self._turn(crops, [face_seed(self._seed, crop, sample) for crop in crops])
            for face, results in zip(owners, turned, strict=True):
                yield from ((face, result) for result in results)

    def _turn(self, crops: Sequence[Tensor], seeds: Sequence[int]) -> list[list[Frontal | None]]:
        """Edit crops at once; if that fails, one by one, so that no face is lost with another. A result each, or nothing."""
        try:
            pictures = self._edit(crops, seeds)
        except (torch.cuda.OutOfMemoryError, MemoryError) as error:
            raise StageError(self._out_of_memory(error)) from error
        except (RuntimeError, ValueError, ArithmeticError) as error:
            if "allocate memory" in str(error) or "out of memory" in str(error):
                raise StageError(self._out_of_memory(error)) from error
            if len(crops) > 1:
                return [face for crop, seed in zip(crops, seeds, strict=True) for face in self._turn([crop], [seed])]
            self._failures.add(line(error))
            return [[]]
        return [[self._accepted(picture)] for picture in pictures]

    def _edit(self, crops: Sequence[Tensor], seeds: Sequence[int]) -> np.ndarray:
        """The pipeline's pictures ``[N, h, w, channels]``, 0..1, of N crops uint8 ``[3, S, S]``."""
        spec, settings = self.spec, self._settings
        images: Any = [Image.fromarray(crop.permute(1, 2, 0).numpy()) for crop in crops]
        prompts: Any = [self._config.prompt] * len(crops)
        negatives: Any = [settings.negative_prompt] * len(crops)
        generators: Any = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        if len(crops) == 1:
            images = images if spec.in_list else images[0]
            prompts, negatives, generators = prompts[0], negatives[0], generators[0]
        arguments = {
            spec.image: images,
            "prompt": prompts,
            "num_inference_steps": settings.steps,
            "generator": generators,
            "output_type": "np",
            **{name: settings.resolution**power for name, power in spec.size.items()},
        }
        if settings.negative_prompt is not None:
            arguments["negative_prompt"] = negatives
        if spec.guidance and settings.guidance is not None:
            arguments[spec.guidance] = settings.guidance
        result = self.pipeline(**arguments, **self._config.call)
        return np.asarray(result.images)

    def _accepted(self, picture: np.ndarray) -> Frontal | None:
        """A picture ``[h, w, channels]`` as a face, or None where it can be none."""
        if fault := _fault(picture):
            self._failures.add(fault)
            return None
        self._failures.reset()
        rgb = picture[..., :3]
        if self.spec.channels == 4:
            alpha = picture[..., 3:]
            rgb = rgb * alpha + (1 - alpha)
        return Frontal(torch.from_numpy((rgb * 255).round().astype(np.uint8)).permute(2, 0, 1).contiguous())

    def _out_of_memory(self, error: BaseException) -> str:
        return (
            f"memory does not suffice for {self.spec.pipeline} ({line(error)[:200]}): try `profile: low-memory`, `load: "
            "{dtype: bfloat16}`, `offload: group`, a smaller `batch_size` or `resolution`, or `load.quantization`"
        )

    def _place(self, device: torch.device) -> None:
        if self._settings.load.get("device_map"):
            return
        try:
            place(self.pipeline, device, "none" if device.type == "cpu" else self._settings.offload)
        except torch.cuda.OutOfMemoryError as error:
            raise StageError(self._out_of_memory(error)) from error

    @staticmethod
    def _check_texts(config: EditorConfig, context: Context) -> None:
        texts = [config.prompt, config.negative_prompt or ""]
        map_texts(config.call, lambda text: texts.append(text) or text)  # type: ignore[func-returns-value]
        for text in texts:
            check_prompt(text, context.labels)


class QwenImageEdit(DiffusersNormalizer):
    """Normalizer ``qwen-image-edit``."""

    editor = "qwen-image-edit"


class QwenImageEditPlus(DiffusersNormalizer):
    """Normalizer ``qwen-image-edit-plus``."""

    editor = "qwen-image-edit-plus"


class QwenImage21(DiffusersNormalizer):
    """Normalizer ``qwen-image-2.1``."""

    editor = "qwen-image-2.1"


class FluxKontext(DiffusersNormalizer):
    """Normalizer ``flux-kontext``."""

    editor = "flux-kontext"


class InstructPix2Pix(DiffusersNormalizer):
    """Normalizer ``instruct-pix2pix``."""

    editor = "instruct-pix2pix"


class DiffusersEdit(DiffusersNormalizer):
    """Normalizer ``diffusers-edit``."""


def _inspected(kind: type, folder: Path) -> EditorSpec:
    try:
        return inspected(kind)
    except ValueError as error:
        raise ComponentError(f"{folder}: {kind.__name__} does not edit by instruction: {error}") from error


def _fault(picture: np.ndarray) -> str:
    """Why a picture ``[h, w, channels]`` can't be a face; empty: it can."""
    if picture.ndim != 3 or picture.shape[2] < 3 or min(picture.shape[:2]) < 16:
        return f"the result has shape {list(picture.shape)}"
    height, width = picture.shape[:2]
    if abs(height - width) > 0.05 * max(height, width):
        return f"the result has {width} x {height} pixels where a square was given: the face would be squeezed"
    if not np.isfinite(picture).all():
        return "the result holds NaN: compute in bfloat16 or float32, where float16 overflows"
    if picture[..., :3].max() < 0.02:
        return "the result is black, as of a safety checker that objects"
    return ""
