"""Options of every editor, and what becomes of those that are left out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ferkit import OPERATIONAL, ComponentError, Config, LocalPath
from ferkit.components import WEIGHTS
from ferkit.editing import FRONTAL_PROMPT
from ferkit_diffusers.editors import EditorSpec

LIGHTNING_SCHEDULER = {
    "class": "FlowMatchEulerDiscreteScheduler",
    "base_image_seq_len": 256,
    "base_shift": 1.0986122886681098,  # ln 3
    "max_shift": 1.0986122886681098,
    "max_image_seq_len": 8192,
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "shift_terminal": None,
    "time_shift_type": "exponential",
    "use_dynamic_shifting": True,
    "invert_sigmas": False,
    "stochastic_sampling": False,
    "use_beta_sigmas": False,
    "use_exponential_sigmas": False,
    "use_karras_sigmas": False,
}
"""The scheduler that the Lightning LoRAs of Qwen-Image-Edit were distilled for, from their repository."""

Offload = Literal["none", "model", "sequential", "group"]
Profile = Literal["quality", "fast-4-step", "low-memory"]
PROFILES: Mapping[Profile, Mapping[str, Any]] = {
    "quality": {},
    "fast-4-step": {"steps": 4, "guidance": 1.0, "scheduler": LIGHTNING_SCHEDULER},
    "low-memory": {"offload": "group", "load": {"dtype": "bfloat16", "vae_tiling": True}},
}
"""Defaults of other options. What the recipe gives itself wins, of mappings key by key; what neither gives is the editor's."""


class Lora(Config):
    """A LoRA laid over the editor's weights."""

    file: str = Field(description="safetensors: a path, or hf://owner/name/file@revision#sha256=…")
    scale: float = Field(default=1.0, description="its weight")
    distilled_steps: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="of a Lightning LoRA: the steps it was distilled to; sets `steps`, `guidance: 1` and its scheduler",
    )


class EditorConfig(Config):
    """Options of the named editors."""

    model: Annotated[
        str | None,
        Field(pattern=r"^[\w.-]+/[\w.-]+$", description="repository on the hub, owner/name; null: the editor's own"),
    ] = None
    revision: Annotated[
        str, Field(min_length=1, pattern=r"^[^@#]+$", description="branch, tag or commit of the repository")
    ] = "main"
    folder: Annotated[LocalPath | None, Field(description="folder of a saved pipeline, instead of `model`")] = None
    sha256: Annotated[
        str | None,
        Field(
            pattern="^[0-9a-f]{64}$",
            description="digest of the pipeline's files, told by `ferkit weights verify`; to check it, all are read",
        ),
    ] = None
    profile: Profile = Field(default="quality", description="defaults of other options")
    prompt: str = Field(
        default=FRONTAL_PROMPT, min_length=1, description="the instruction, one for all faces; it may name no label"
    )
    negative_prompt: str | None = Field(
        default=None, description="what the picture should not show; null: the editor's own"
    )
    steps: int | None = Field(default=None, ge=1, le=1000, description="denoising steps; null: the editor's own")
    guidance: float | None = Field(
        default=None, ge=0, le=100, description="how strongly the prompt is followed; null: the editor's own"
    )
    resolution: int | None = Field(
        default=None, ge=64, le=2048, description="side in pixels of the crop and of the result; null: the editor's own"
    )
    margin: float = Field(default=0.5, ge=0, le=3, description="around the face, in units of its side")
    loras: Annotated[tuple[Lora, ...], WEIGHTS] = Field(
        default=(), description="LoRAs laid over the weights: {file, scale, distilled_steps}"
    )
    scheduler: dict[str, Any] = Field(
        default_factory=dict, description="changes of the scheduler's configuration; `class` names another one"
    )
    load: dict[str, Any] = Field(
        default_factory=dict, description="how the pipeline is loaded: dtype, device_map, quantization, vae_tiling …"
    )
    call: dict[str, Any] = Field(default_factory=dict, description="more arguments of the pipeline's call")
    offload: Annotated[Offload | None, OPERATIONAL] = Field(
        default=None, description="what waits in main memory while it is not used; null: nothing; on a CPU nothing does"
    )
    batch_size: Annotated[int, OPERATIONAL] = Field(
        default=1, ge=1, le=64, description="faces that are edited at once, where the pipeline can"
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> "EditorConfig":
        if self.model and self.folder:
            raise ValueError("name a repository on the hub with `model`, or a `folder`, and not both")
        return self


class AnyEditorConfig(EditorConfig):
    """Options of ``diffusers-edit``, which has no model of its own."""

    @model_validator(mode="after")
    def _is_named(self) -> "AnyEditorConfig":
        if not (self.model or self.folder):
            raise ValueError("name a repository on the hub with `model`, or a `folder`")
        return self


def reference(config: EditorConfig, spec: EditorSpec | None) -> str:
    """The pipeline's folder as :class:`ferkit.WeightsStore` takes it."""
    model = config.model or (spec.model if spec else "")
    place = f"{config.folder}/" if config.folder else f"hf://{model}@{config.revision}"
    return f"{place}#sha256={config.sha256}" if config.sha256 else place


def weights(config: EditorConfig, spec: EditorSpec | None) -> Iterable[str]:
    """References to the pipeline and its LoRAs."""
    return [reference(config, spec), *(lora.file for lora in config.loras)]


@dataclass(frozen=True)
class Settings:
    """Options with every default filled in; ``guidance`` and ``negative_prompt`` None: not passed."""

    negative_prompt: str | None
    steps: int
    guidance: float | None
    resolution: int
    scheduler: Mapping[str, Any]
    load: Mapping[str, Any]
    offload: Offload

    def decisive(self) -> dict[str, Any]:
        """Those that change a picture, but the mappings."""
        names = ("negative_prompt", "steps", "guidance", "resolution")
        return {name: getattr(self, name) for name in names}


SETTLED = frozenset({"model", "revision", "folder", "sha256", "profile", "loras"})
"""Options that lead to weights and to other options, and decide nothing beside those."""


def settle(config: EditorConfig, spec: EditorSpec) -> Settings:
    """Options as the recipe gives them, else as a distilled LoRA, the profile or the editor does.

    Raises:
        ComponentError: If the editor lacks what is asked for.
    """
    distilled = [lora.distilled_steps for lora in config.loras if lora.distilled_steps]
    bundle = dict(PROFILES[config.profile])
    if distilled:
        bundle |= {**PROFILES["fast-4-step"], "steps": distilled[0]}
    _check(config, spec, distilled)
    guidance = _first(config.guidance, bundle.get("guidance"), spec.strength)
    negative = _first(config.negative_prompt, spec.negative_default)
    if spec.guidance == "true_cfg_scale" and guidance is not None and guidance <= 1:
        negative = None  # it would have no effect, and each call would say so
    return Settings(
        negative_prompt=negative,
        steps=_first(config.steps, bundle.get("steps"), spec.steps),
        guidance=guidance,
        resolution=_first(config.resolution, spec.resolution),
        scheduler={**bundle.get("scheduler", {}), **config.scheduler},
        load={**bundle.get("load", {}), **config.load},
        offload=_first(config.offload, bundle.get("offload"), "none"),
    )


def _check(config: EditorConfig, spec: EditorSpec, distilled: list[int]) -> None:
    fast = config.profile == "fast-4-step"
    if (fast or distilled) and not spec.lightning:
        what = "the profile fast-4-step" if fast else "distilled_steps"
        raise ComponentError(
            f"{what} is for Qwen-Image-Edit and its Lightning LoRAs, not for {spec.pipeline}: set `steps`, `guidance` and "
            "`scheduler` as its model card says"
        )
    if len(set(distilled)) > 1:
        raise ComponentError("two LoRAs are distilled to different numbers of steps: keep one of them")
    if fast and not (config.loras or config.model or config.folder):
        raise ComponentError(
            "the profile fast-4-step needs weights distilled to four steps: name a Lightning LoRA in `loras`, or with "
            "`model` or `folder` a pipeline that it was merged into"
        )
    if config.negative_prompt is not None and not spec.negative:
        raise ComponentError(f"{spec.pipeline} takes no negative prompt: leave out `negative_prompt`")
    if config.guidance is not None and spec.guidance is None:
        raise ComponentError(f"{spec.pipeline} has no guidance: leave out `guidance`")


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
