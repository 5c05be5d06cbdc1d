"""Built-in data sets, one module each, and what training asks of any data set: splits by subject, and targets."""

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from ferkit.components import Component, Config, LocalPath

if TYPE_CHECKING:
    from ferkit.interfaces import Dataset
    from ferkit.recipe import Part
    from ferkit.registry import Registry


def _text_keys(value: Any) -> Any:
    """YAML reads ``0: anger`` with a number for a key."""
    return {str(key): name for key, name in value.items()} if isinstance(value, dict) else value


LabelNames = Annotated[
    dict[str, Annotated[str, Field(min_length=1)]],
    BeforeValidator(_text_keys),
    Field(description="class names for the data's own names or indices, as in `{0: anger, 1: disgust}`"),
]


class FolderConfig(Config):
    """Options of the data set ``folder``."""

    path: LocalPath = Field(description="folder of class folders, or of splits that hold class folders")
    crops: bool = Field(default=False, description="the pictures are cut to the face already")
    labels: LabelNames = Field(default_factory=dict)


class ManifestConfig(Config):
    """Options of the data set ``manifest``."""

    path: LocalPath = Field(description="table that ends in .csv, .jsonl or .parquet")
    root: LocalPath | None = Field(default=None, description="where relative pictures lie; default: the table's folder")
    crops: bool = Field(default=False, description="the pictures are cut to the face already")
    labels: LabelNames = Field(default_factory=dict)
    votes: tuple[str, ...] = Field(default=(), description="columns that count votes, beside those named `votes:…`")
    ignore: tuple[str, ...] = Field(default=(), description="columns that are not read")


class PathConfig(Config):
    """Options of data sets that are a folder and no more."""

    path: LocalPath = Field(description="the folder as it was unpacked")


class FER2013Config(Config):
    """Options of the data set ``fer2013``."""

    path: LocalPath = Field(description="folder of class folders, or `fer2013.csv` or the folder it lies in")


class SubsetConfig(PathConfig):
    """Options of data sets for which lists of hard poses were published."""

    subset: Literal["pose30", "pose45", "occlusion"] | None = Field(
        default=None,
        description="keep the pictures of a published list: pose beyond 30 or 45 degrees, or occluded (RAN, 2020)",
    )
    lists: LocalPath | None = Field(
        default=None, description="folder of the published lists, a copy of Challenge-condition-FER-dataset"
    )


class FERPlusConfig(SubsetConfig):
    """Options of the data set ``ferplus``."""

    path: LocalPath = Field(description="folder of `fer2013.csv` (or `icml_face_data.csv`) and `fer2013new.csv`")
    protocol: Literal["majority", "cross-entropy", "soft"] = Field(
        default="majority", description="which faces are kept, and how votes become labels"
    )


class RAFDBConfig(SubsetConfig):
    """Options of the data set ``rafdb``."""

    path: LocalPath = Field(description="folder `basic`, which holds `EmoLabel` and `Image`")
    images: Literal["aligned", "original"] = Field(
        default="aligned", description="the crops of 100 pixels, or the pictures they were cut from"
    )


class AffectNetConfig(SubsetConfig):
    """Options of the data set ``affectnet``."""

    path: LocalPath = Field(description="folder of `training.csv`, or of `train_set` and `val_set`")
    classes: Literal[7, 8] = Field(default=8, description="with contempt or without")


class ExpWConfig(PathConfig):
    """Options of the data set ``expw``."""

    path: LocalPath = Field(description="folder that holds `data/label/label.lst` and `data/image/origin`")
    fractions: dict[Literal["train", "validation", "test", "all"], Annotated[float, Field(gt=0, le=1)]] = Field(
        default={"train": 0.8, "validation": 0.1, "test": 0.1},
        description="share of the pictures by split; their sum is 1",
    )
    split_seed: int = Field(default=0, ge=0, description="another number draws other splits")

    @field_validator("fractions")
    @classmethod
    def _whole(cls, fractions: dict[str, float]) -> dict[str, float]:
        if not math.isclose(sum(fractions.values()), 1, abs_tol=1e-6):
            raise ValueError(f"shares must sum to 1, not {sum(fractions.values()):g}")
        return fractions


def _published(name: str, config: type[Config], target: str, summary: str) -> Component:
    """A data set that no product may be built on."""
    return Component("dataset", name, config, f"ferkit.datasets.{name}:{target}", summary, commercial=False)


COMPONENTS = [
    _published("affectnet", AffectNetConfig, "AffectNet", "AffectNet, the classic release or that of March 2021"),
    _published("expw", ExpWConfig, "ExpW", "Expression in-the-Wild: scenes with a box for each face"),
    _published("fer2013", FER2013Config, "FER2013", "FER2013, as class folders or CSV"),
    _published("ferplus", FERPlusConfig, "FERPlus", "FER2013 with the votes of FER+"),
    _published("kdef", PathConfig, "KDEF", "Karolinska Directed Emotional Faces: five views of each expression"),
    _published("rafd", PathConfig, "RaFD", "Radboud Faces Database: five views of each expression"),
    _published("rafdb", RAFDBConfig, "RAFDB", "RAF-DB, basic expressions: aligned crops or original pictures"),
    Component(
        "dataset", "folder", FolderConfig, "ferkit.datasets.folder:Folder", "a folder of pictures for each class"
    ),
    Component(
        "dataset",
        "manifest",
        ManifestConfig,
        "ferkit.datasets.manifest:Manifest",
        "a table of pictures with labels or votes, boxes, subjects, groups, splits and captions",
    ),
]


def open_dataset(name: str, *, registry: "Registry | None" = None, **options: Any) -> "Dataset":
    """The data set ``name`` of any plugin, with its options as in a recipe's ``data``.

    Args:
        name: Name of the component, such as ``"folder"``.
        registry: Where it is looked up; the installed plugins by default.
        **options: Its options; relative paths resolve against the working folder.

    Raises:
        ComponentError: If there is no such data set.
        pydantic.ValidationError: If the options are wrong.
        FerkitError: If the data can't be read.
    """
    from ferkit.recipe import Part
    from ferkit.registry import default_registry

    registered = (registry or default_registry()).get("dataset", name)
    return build_dataset(Part(registered, registered.component.config.model_validate(options), name))


def build_dataset(part: "Part") -> "Dataset":
    """A data set outside of a pipeline.

    Raises:
        FerkitError: If the data can't be read.
    """
    import torch

    from ferkit.interfaces import Context
    from ferkit.stages import build
    from ferkit.weights import WeightsStore

    context = Context(torch.device("cpu"), torch.float32, 0, (), WeightsStore())
    built: Dataset = build(part, context)
    return built
