"""The framework's own keys of a recipe; every other option belongs to a component."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from ferkit.components import Config
from ferkit.labels import SEVEN, canonical
from ferkit.training.options import Training


class Align(Config):
    """How a face becomes a square view.

    ``landmarks`` maps five landmarks onto an upright template by a similarity; ``box`` takes the squared box, turned by
    the pose's roll. Beyond ``max_yaw`` degrees the eyes no longer tell the rotation, and ``box`` is used in any case.
    """

    size: int = Field(default=224, ge=16, le=2048, description="side of a view in pixels")
    margin: float = Field(default=0.0, ge=-0.3, le=3, description="added on every side, in units of the face's side")
    method: Literal["landmarks", "box"] = "landmarks"
    max_yaw: float = Field(default=40, ge=0, le=180, description="degrees beyond which landmarks are not trusted")


class Judge(Config):
    """The framework's part of an encoder that compares a turned face with the face as it was."""

    min_cosine: float = Field(ge=-1, le=1, description="least cosine of the two views' pooled features")


class Accept(Config):
    """What a turned face must meet, beside that exactly one face is found in it."""

    max_yaw: float | None = Field(default=None, ge=0, le=180, description="most |yaw| that may be left, in degrees")
    max_pitch: float | None = Field(default=None, ge=0, le=90, description="most |pitch| that may be left, in degrees")
    identity: Judge | None = Field(default=None, description="an encoder of persons: `use`, its options, `min_cosine`")
    expression: Judge | None = Field(default=None, description="an encoder of expressions, likewise")

    @property
    def judges(self) -> dict[str, Judge]:
        """The encoders' thresholds, by name."""
        named = {"identity": self.identity, "expression": self.expression}
        return {name: judge for name, judge in named.items() if judge}

    @property
    def judges_pose(self) -> bool:
        """Whether the pose of what was turned must be known."""
        return self.max_yaw is not None or self.max_pitch is not None


class Normalization(Config):
    """The framework's part of ``normalizer``: which faces are turned, what is accepted, which views are kept."""

    above_yaw: float = Field(default=30, ge=0, le=180, description="turn faces whose |yaw| exceeds this, in degrees")
    above_pitch: float | None = Field(default=None, ge=0, le=90, description="and those whose |pitch| exceeds this")
    no_pose: Literal["keep", "turn"] = Field(default="keep", description="what becomes of faces whose pose is unknown")
    keep: Literal["frontal", "both"] = Field(default="frontal", description="which views of a turned face are encoded")
    accept: Accept = Field(
        default=Accept(), description="what a turned face must meet; else its aligned view stands in"
    )
    samples: int = Field(default=1, ge=1, le=64, description="how often each face is turned; the best is taken")
    cache: bool | None = Field(default=None, description="keep what the normalizer gives; null: unless it is cheap")


def _share_or_split(value: Any) -> Any:
    is_share = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 0.9
    if not is_share and not (isinstance(value, str) and value):
        raise ValueError("must be a share between 0 and 0.9, or the name of another split")
    return value


class Selection(Config):
    """The framework's part of ``data``: which samples are learnt from, and which are held out."""

    split: str = Field(default="train", description="the data set's split to learn from")
    validation: Annotated[
        Annotated[float, Field(gt=0, lt=0.9)] | Annotated[str, Field(min_length=1)], BeforeValidator(_share_or_split)
    ] = Field(default=0.1, description="share of the subjects of `split` to hold out, or the name of another split")
    drop_labels: tuple[str, ...] = Field(default=(), description="labels of the data whose samples are left out")


class Prompts(Config):
    """Class texts: every template with every word of a label, averaged after normalization."""

    templates: tuple[str, ...] = ("a photo of a face with an expression of {label}",)
    words: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @field_validator("templates")
    @classmethod
    def _placeholders(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if not templates:
            raise ValueError("needs at least one template")
        for template in templates:
            if set("{}") & set(template.replace("{label}", "")) or "{label}" not in template:
                raise ValueError(f"{template!r} must hold {{label}} and no other placeholder")
        return templates

    def texts(self, label: str) -> list[str]:
        """The texts of one label."""
        return [
            template.replace("{label}", word) for template in self.templates for word in self.words.get(label, (label,))
        ]


OnNoFace = Literal["skip", "nan", "whole_image", "raise"]


class Framework(Config):
    """A recipe's own keys; the options beside ``use`` are the components'."""

    ferkit: Literal[1] = Field(description="format of the recipe")
    name: str = Field(min_length=1, description="what results call it")
    description: str = ""
    labels: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=SEVEN, description="classes, in column order"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of everything random")
    detector: dict[str, Any]
    pose: dict[str, Any] | None = None
    align: Align = Align()
    normalizer: dict[str, Any] | None = None
    prompts: Prompts = Prompts()
    encoders: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], dict[str, Any]] = Field(min_length=1)
    head: dict[str, Any]
    data: dict[str, Any] | None = None
    training: Training | None = None
    on_no_face: OnNoFace = Field(default="skip", description="what a picture without a face becomes")
    low_confidence: float = Field(default=0.5, ge=0, le=1, description="below this a face is flagged low_confidence")

    @field_validator("labels")
    @classmethod
    def _different(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(labels) < 2 or len({canonical(label) for label in labels}) < len(labels):
            raise ValueError("must be at least two different names; happy and happiness are one")
        return labels
