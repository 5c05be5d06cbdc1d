"""The editing pipelines by description: what their arguments are called, and what they can do."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class EditorSpec:
    """How a pipeline of diffusers that takes a picture and an instruction is called.

    Attributes:
        pipeline: Name of its class.
        steps: Denoising steps where neither recipe nor profile says.
        guidance: Argument of the guidance's strength; None: it has none.
        strength: The guidance where neither recipe nor profile says; None: the pipeline's own default.
        image: Argument of the picture.
        in_list: Whether one picture is given as a list of one.
        negative: Whether it takes a negative prompt.
        negative_default: The negative prompt where the recipe gives none; None: none is passed.
        size: Arguments of the output's size, each with the power of the side in pixels that it takes; empty: as the input's.
        resolution: Side in pixels where the recipe does not say.
        channels: Of what it returns; 4: with alpha, which is laid over white.
        batches: Whether a list of prompts with as many pictures gives the same as one call each.
        lightning: Whether distilled "Lightning" LoRAs of the Qwen-Image-Edit family, and their scheduler, fit.
        model: Repository of its weights; empty: the recipe must name one.
        licence: That of these weights.
        commercial: Whether it allows commercial use.
    """

    pipeline: str
    steps: int
    guidance: str | None
    strength: float | None = None
    image: str = "image"
    in_list: bool = False
    negative: bool = True
    negative_default: str | None = None
    size: Mapping[str, int] = field(default_factory=dict)
    resolution: int = 1024
    channels: int = 3
    batches: bool = False
    lightning: bool = False
    model: str = ""
    licence: str = ""
    commercial: bool = True


SIDES = {"height": 1, "width": 1}
EDITORS = {
    # Steps, strength and negative prompt of the Qwen family are those of its model cards. Without a negative prompt, be it
    # a blank, the pipelines leave out classifier-free guidance.
    "qwen-image-edit": EditorSpec(
        pipeline="QwenImageEditPipeline",
        steps=50,
        guidance="true_cfg_scale",
        strength=4.0,
        negative_default=" ",
        size=SIDES,
        batches=True,
        lightning=True,
        model="Qwen/Qwen-Image-Edit",
        licence="Apache-2.0",
    ),
    "qwen-image-edit-plus": EditorSpec(
        pipeline="QwenImageEditPlusPipeline",
        steps=40,
        guidance="true_cfg_scale",
        strength=4.0,
        negative_default=" ",
        size=SIDES,
        lightning=True,
        model="Qwen/Qwen-Image-Edit-2511",
        licence="Apache-2.0",
    ),
    "qwen-image-2.1": EditorSpec(
        pipeline="QwenImage21Pipeline",
        steps=40,
        guidance="true_cfg_scale",
        strength=1.0,
        size={"output_resolution": 1},
        channels=4,
        model="Qwen/Qwen-Image-2.1",
        licence="see the model's card",
    ),
    "flux-kontext": EditorSpec(
        pipeline="FluxKontextPipeline",
        steps=28,
        guidance="guidance_scale",
        strength=3.5,
        size={**SIDES, "max_area": 2},
        batches=True,
        model="black-forest-labs/FLUX.1-Kontext-dev",
        licence="FLUX.1 [dev] Non-Commercial License",
        commercial=False,
    ),
    "instruct-pix2pix": EditorSpec(
        pipeline="StableDiffusionInstructPix2PixPipeline",
        steps=100,
        guidance="guidance_scale",
        strength=7.5,
        resolution=512,
        batches=True,
        model="timbrooks/instruct-pix2pix",
        licence="MIT",
    ),
}
"""By the normalizer's name."""
NEEDED = {"prompt", "num_inference_steps", "generator", "output_type"}
"""Arguments without which a pipeline is not called."""


def inspected(pipeline: type) -> EditorSpec:
    """What the signature of a pipeline's call tells of it.

    Raises:
        ValueError: If it is no editor: no prompt, or no argument for a picture that is known.
    """
    parameters = inspect.signature(pipeline.__call__).parameters
    image = next((name for name in ("image", "images") if name in parameters), None)
    if image is None or not parameters.keys() >= NEEDED:
        raise ValueError(f"its call takes {', '.join(list(parameters)[1:])}, and not `image` with {', '.join(NEEDED)}")

    def default(name: str) -> Any:
        return parameters[name].default if name in parameters else None

    # guidance_scale without a number is for distilled models only: Qwen-Image's classifier-free guidance is the true one
    guidance = next((name for name in ("guidance_scale", "true_cfg_scale") if default(name) is not None), None)
    steps = default("num_inference_steps")
    return EditorSpec(
        pipeline=pipeline.__name__,
        steps=steps if isinstance(steps, int) else 50,
        guidance=guidance,
        strength=default(guidance) if guidance else None,
        image=image,
        in_list=image == "images",
        negative="negative_prompt" in parameters,
        negative_default=" " if guidance == "true_cfg_scale" else None,
        size={name: power for name, power in {**SIDES, "max_area": 2}.items() if name in parameters},
    )
