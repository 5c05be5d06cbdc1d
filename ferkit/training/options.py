"""What ``training:`` in a recipe may say. Light to import: recipes are validated without torch."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from ferkit.components import Config

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


def _count_or_all(value: Any) -> Any:
    if value != "all" and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise ValueError("must be a number of last stages, 0 or more, or all")
    return value


class Lora(Config):
    """Low-rank adapters (Hu et al. 2022) instead of the weights themselves; they are merged when the run is written."""

    rank: int = Field(default=8, ge=1, description="of the update of each layer's weights: more learns more")
    alpha: int = Field(default=16, ge=1, description="the update is scaled by alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of an adapter's inputs dropped while it learns")
    targets: tuple[str, ...] = Field(
        default=(), description="how the names of the layers end; unset: all linear, but for `out_proj`"
    )


class Learn(Config):
    """What of one encoder learns."""

    stages: Annotated[Annotated[int, Field(ge=0)] | Literal["all"], BeforeValidator(_count_or_all)] = Field(
        default=0, description="its last n stages, or all of them"
    )
    lora: Lora | None = Field(default=None, description="low-rank adapters in place of `stages`")
    text: bool = Field(
        default=False,
        description="its text tower too, all of it, or with adapters; class texts are encoded again at each step",
    )

    @model_validator(mode="after")
    def _one_way(self) -> "Learn":
        if self.lora and self.stages:
            raise ValueError("stages and lora are two ways to learn: choose one")
        return self


def _short(value: Any) -> Any:
    """``2``, ``all`` and ``lora`` stand for ``{stages: 2}``, ``{stages: all}`` and ``{lora: {}}``."""
    if value == "lora":
        return {"lora": {}}
    if isinstance(value, dict | Learn):
        return value
    if value != "all" and type(value) is not int:
        raise ValueError("must be a number of its last stages, all, lora, or a mapping of stages, lora and text")
    return {"stages": value}


class Objectives(Config):
    """Weights of what is minimized."""

    cross_entropy: Weight = Field(default=1.0, description="of the head's answer against the label")
    image_text: Weight = Field(default=0, description="cross-entropy of pooled image features against class texts")
    contrastive: Weight = Field(default=0, description="symmetric, between pictures and their captions")
    distillation: Weight = Field(default=0, description="to the probabilities of `teacher` (Hinton et al. 2015)")


class Augment(Config):
    """Random changes of views, by torchvision; every view of a face is changed in the same way."""

    flip: Share = Field(default=0.5, description="chance of mirroring; yaw and roll change sign with it")
    rotate: float = Field(default=10, ge=0, le=180, description="degrees either way")
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.1, description="share by which size varies either way")
    shift: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.05, description="in units of the side, either way")
    brightness: Share = Field(default=0.2, description="share by which it varies either way")
    contrast: Share = Field(default=0.2, description="share by which it varies either way")
    saturation: Share = Field(default=0.2, description="share by which it varies either way")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(default=0.0, description="turns of the colour wheel, either way")
    grey: Share = Field(default=0.0, description="chance of losing colour")
    blur: Share = Field(default=0.0, description="chance of blur, sigma up to 2 % of the side")
    low_resolution: Share = Field(default=0.0, description="chance of losing resolution, down to a third")
    erase: Share = Field(default=0.0, description="chance of a hole of 2 to 20 % of the area")
    mixup: float = Field(default=0.0, ge=0, le=10, description="alpha of Zhang et al. 2018; 0: none")


def _word_or_mapping(value: Any) -> Any:
    if not isinstance(value, dict) and value not in ("head", "all"):
        raise ValueError("must be head, all, or a mapping by encoder, as in {vit: 2}, {vit: all} or {vit: lora}")
    return value


Learning = Annotated[
    Annotated[Literal["head", "all"], Tag("word")]
    | Annotated[dict[str, Annotated[Learn, BeforeValidator(_short)]], Tag("encoders")],
    Discriminator(lambda value: "encoders" if isinstance(value, dict) else "word"),
    BeforeValidator(_word_or_mapping),
]


class Training(Config):
    """How a recipe is trained."""

    learn: Learning = Field(
        default="head", description="head; all; or by encoder: last n stages, all, lora (the head learns in any case)"
    )
    objectives: Objectives = Field(default=Objectives(), description="what is minimized, by weight")
    teacher: str | None = Field(default=None, description="recipe or run whose probabilities are distilled")
    temperature: float = Field(default=2.0, gt=0, description="of the distillation")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="share of each label that is spread over all classes"
    )
    class_weights: Literal["none", "balanced"] = Field(
        default="none", description="balanced: in the cross-entropy classes weigh the inverse of their frequency"
    )
    soft_labels: bool = Field(default=False, description="learn from the shares of votes where the data has them")
    sampling: Literal["natural", "balanced"] = Field(default="natural", description="balanced: every class as often")
    augment: Augment = Field(default=Augment(), description="random changes of views")
    draws: int = Field(
        default=0,
        ge=0,
        description="augmented versions of a face: 0 is a new one each epoch, and none "
        "where nothing but the head learns",
    )
    cache_features: bool = Field(default=True, description="with frozen encoders, compute features once")
    epochs: int = Field(
        default=20, ge=1, le=10_000, description="passes over the faces; the rate falls to 0 by the last"
    )
    batch_size: int = Field(default=64, ge=1, description="faces a step, over all processes")
    accumulate: int = Field(default=1, ge=1, description="parts in which a batch is computed, to save memory")
    lr: float = Field(default=1e-3, gt=0, description="of the head, at its peak")
    encoder_lr: float | None = Field(default=None, gt=0, description="of the encoders' last stages; unset: lr")
    layer_decay: float = Field(default=1.0, gt=0, le=1, description="factor of the rate from a stage to the one before")
    weight_decay: float = Field(default=0.05, ge=0, description="of matrices and kernels only")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.05, description="share of all steps")
    clip: float = Field(default=1.0, ge=0, description="largest norm of the gradient; 0: any")
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="decay of a moving average of the weights, which is then what is kept"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="of what is computed; the weights stay fp32. fp16 needs a GPU"
    )
    monitor: Literal["uar", "accuracy", "macro_f1", "loss"] = Field(default="uar", description="decides what is best")
    patience: int | None = Field(default=None, ge=1, description="epochs without a better one before it stops")
    keep: Literal["best", "last"] = Field(default="best", description="which epoch's weights the run is written with")
    workers: int = Field(default=0, ge=0, description="processes that augment")
    checkpoint_minutes: float = Field(default=5, gt=0, description="between checkpoints within an epoch")
    trackers: tuple[str, ...] = Field(default=(), description="accelerate's, by name: tensorboard, wandb, …")

    @model_validator(mode="after")
    def _consistent(self) -> "Training":
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} can't be computed in {self.accumulate} equal parts")
        if self.objectives.distillation and not self.teacher:
            raise ValueError("objectives.distillation needs a `teacher`: a recipe or a run")
        if self.teacher and not self.objectives.distillation:
            raise ValueError("a teacher teaches nothing: give objectives.distillation a weight, or remove the teacher")
        if not any(self.objectives.model_dump().values()):
            raise ValueError("objectives: all weights are 0, nothing would be learnt")
        return self
