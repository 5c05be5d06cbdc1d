"""What open_clip, or a folder saved by it, knows of a model: architecture, preprocessing, where the weights are."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from ferkit import ComponentError, WeightsError
from ferkit_open_clip import OpenClipConfig

CONFIG = "open_clip_config.json"
NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
PICKLED = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Source:
    """A model before anything is built.

    Attributes:
        name: What to call it in messages.
        architecture: open_clip's model configuration: ``embed_dim``, ``vision_cfg``, ``text_cfg`` and so on.
        preprocessing: ``mean``, ``std``, ``interpolation`` and so on.
        weights: The reference of its weights.
        folder: Where it was saved, or None for a model that open_clip knows by name.
    """

    name: str
    architecture: dict[str, Any]
    preprocessing: dict[str, Any]
    weights: str
    folder: Path | None = None


def find(config: OpenClipConfig) -> Source:
    """Look a model up.

    Raises:
        ComponentError: If open_clip knows no such model or tag, or the folder holds no configuration.
        WeightsError: If there is no safetensors file of its weights.
    """
    return _saved(config, Path(config.local_dir)) if config.local_dir else _known(config, config.model or "")


def _saved(config: OpenClipConfig, folder: Path) -> Source:
    path = folder / CONFIG
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        architecture = settings["model_cfg"]
        missing = {"embed_dim", "vision_cfg", "text_cfg"} - architecture.keys()
        preprocessing = merge_preprocess_dict(PreprocessCfg(), settings.get("preprocess_cfg", {}))
    except OSError as error:
        raise ComponentError(
            f"{path} can't be read ({error.strerror}): `local_dir` is a folder with {CONFIG} and safetensors"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ComponentError(f"{path} is no configuration of open_clip: it lacks model_cfg, or is no JSON") from error
    if missing:
        raise ComponentError(f"{path}: model_cfg lacks {', '.join(sorted(missing))}")
    return Source(str(folder), architecture, preprocessing, config.weights or _in_folder(folder), folder)


def _in_folder(folder: Path) -> str:
    files = sorted(folder.glob("*.safetensors"))
    named = [folder / name for name in NAMES if folder / name in files]
    if found := named or files:
        if len(found) > 1 and not named:
            names = ", ".join(file.name for file in found)
            raise WeightsError(f"{folder} holds {names}: name one with `weights`")
        return str(found[0])
    pickled = [file.name for file in sorted(folder.iterdir()) if file.suffix in PICKLED]
    if pickled:
        raise WeightsError(
            f"{folder} holds its weights only as {pickled[0]}, a format that can run code when read: convert it with "
            f"safetensors.torch.save_file(state_dict, '{NAMES[0]}')"
        )
    raise WeightsError(f"{folder} holds no weights: put {NAMES[0]} there, or name the file with `weights`")


def _known(config: OpenClipConfig, model: str) -> Source:
    name = model.replace("/", "-")  # as open_clip reads OpenAI's names, such as ViT-B/16
    architecture = open_clip.get_model_config(name)
    if architecture is None:
        hint = _near(name, open_clip.list_models())
        raise ComponentError(f"open_clip {open_clip.__version__} has no model {model!r}{hint}")
    tag = _tag(name, config.pretrained) if config.pretrained else None
    if tag and tag.get("quick_gelu"):  # open_clip warns and computes another activation than these were trained with
        architecture["quick_gelu"] = True
    preprocessing = merge_preprocess_dict(PreprocessCfg(), tag or _shared_by_tags(name))
    return Source(name, architecture, preprocessing, config.weights or _of_tag(name, config.pretrained, tag or {}))


def _tag(name: str, tag: str) -> dict[str, Any]:
    settings: dict[str, Any] = open_clip.get_pretrained_cfg(name, tag)
    if not settings:
        tags = open_clip.list_pretrained_tags_by_model(name)
        known = f"choose {', '.join(tags)}" if tags else "it has none: name a file with `weights`"
        raise ComponentError(f"open_clip {open_clip.__version__} has no weights {tag!r} of {name}: {known}")
    return settings


def _shared_by_tags(name: str) -> dict[str, Any]:
    """The preprocessing that all weights of a model have in common; nothing where open_clip has no weights of it."""
    keys = asdict(PreprocessCfg()).keys()
    tags = open_clip.list_pretrained_tags_by_model(name)
    each = [{key: value for key, value in _tag(name, tag).items() if key in keys} for tag in tags]
    if any(settings != each[0] for settings in each):
        raise ComponentError(
            f"weights of {name} differ in their mean, std or resizing: say with `pretrained` which of them yours come "
            f"from, one of {', '.join(tags)}"
        )
    return each[0] if each else {}


def _of_tag(name: str, tag: str | None, settings: dict[str, Any]) -> str:
    """The safetensors file of a tag; a ``hf_hub`` that ends in a slash is a repository with files of the usual name."""
    repository, _, file = settings.get("hf_hub", "").rpartition("/")
    if not repository or file.endswith(PICKLED):
        place = settings.get("hf_hub") or settings.get("url") or "nowhere"
        raise WeightsError(
            f"open_clip keeps the weights {tag!r} of {name} only in a format that can run code when read ({place}): "
            "convert them to safetensors and name the file with `weights`, beside `pretrained`"
        )
    return f"hf://{repository}/{file or NAMES[0]}@main"


def _near(name: str, names: Iterable[str]) -> str:
    lower = {known.lower(): known for known in names}
    close = [lower[found] for found in difflib.get_close_matches(name.lower(), lower, n=3)]
    return f"; near it: {', '.join(close)}" if close else ""
