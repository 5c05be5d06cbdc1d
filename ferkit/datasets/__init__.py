"""Built-in data sets, one module each, and what training asks of any data set: splits by subject, and targets."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from ferkit.components import Component, Config, LocalPath

if TYPE_CHECKING:
    from ferkit.interfaces import Dataset
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


class FER2013Config(Config):
    """Options of the data set ``fer2013``."""

    path: LocalPath = Field(description="folder of class folders, or `fer2013.csv` or the folder it lies in")
    votes: LocalPath | None = Field(
        default=None, description="`fer2013new.csv` of FERPlus, for its labels and votes in place of the first ones"
    )


COMPONENTS = [
    Component(
        "dataset", "fer2013", FER2013Config, "ferkit.datasets.fer2013:FER2013", "FER2013, as class folders or CSV"
    ),
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
    import torch

    from ferkit.interfaces import Context
    from ferkit.recipe import Part
    from ferkit.registry import default_registry
    from ferkit.stages import build
    from ferkit.weights import WeightsStore

    registered = (registry or default_registry()).get("dataset", name)
    part = Part(registered, registered.component.config.model_validate(options), name)
    context = Context(torch.device("cpu"), torch.float32, 0, (), WeightsStore())
    built: Dataset = build(part, context)
    return built
