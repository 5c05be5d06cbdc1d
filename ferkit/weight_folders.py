"""Models that are folders in Hugging Face's layout: one model of transformers, or a pipeline of diffusers."""

import hashlib
import json
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ferkit.errors import WeightsError

MODEL_FILES: tuple[str, ...] = ("*.json", "*.txt", "*.model", "model.safetensors", "model-*-of-*.safetensors")
"""What is fetched and digested of a model's folder: configurations, tokenizer, weights."""
PIPELINE_FILES: tuple[str, ...] = (
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
    *(
        f"*/{stem}{part}"
        for stem in ("model", "diffusion_pytorch_model")
        for part in (".safetensors", "-*-of-*.safetensors")
    ),
)
"""What is fetched and digested of a pipeline, which has a folder for each of its parts."""
PIPELINE_INDEX = "model_index.json"
STEMS = {"transformers": ("model",), "diffusers": ("diffusion_pytorch_model",)}
"""What a part's weight files are called, by its library. Pipelines bring classes of their own, of either kind."""
WHOLE, BLOCK, BLOCKS = 2**20, 2**16, 16


def is_pipeline(folder: Path) -> bool:
    """Whether it is a pipeline of diffusers."""
    return (folder / PIPELINE_INDEX).is_file()


def pipeline_index(folder: Path) -> dict[str, Any]:
    """``model_index.json``: the pipeline's class, and for each part its library and class.

    Raises:
        WeightsError: If it can't be read.
    """
    path = folder / PIPELINE_INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} can't be read: {error}") from error
    if not isinstance(index, dict) or "_class_name" not in index:
        raise WeightsError(f"{path} is no index of a pipeline: it names no class")
    return index


def pipeline_parts(folder: Path) -> dict[str, tuple[str, str]]:
    """Library and class of each part that a pipeline has."""
    return {
        name: (str(value[0]), str(value[1]))
        for name, value in pipeline_index(folder).items()
        if isinstance(value, list) and len(value) == 2 and not name.startswith("_") and value[0]
    }


def folder_files(folder: Path) -> list[str]:
    """Paths below ``folder`` of the files that make up the model, sorted."""
    names = [path.name for path in folder.iterdir() if path.is_file()]
    patterns = MODEL_FILES
    if is_pipeline(folder):
        patterns = PIPELINE_FILES
        parts = [folder / name for name in pipeline_parts(folder) if (folder / name).is_dir()]
        names += [f"{part.name}/{path.name}" for part in parts for path in part.iterdir() if path.is_file()]
    return sorted(name for name in names if any(fnmatch(name, pattern) for pattern in patterns))


def fingerprint(folder: Path) -> str:
    """What tells a pipeline from another without reading tens of gigabytes.

    The SHA-256 of names, sizes, files up to 1 MiB, and of larger ones 16 blocks of 64 KiB evenly from start to end.
    """
    state = hashlib.sha256()
    for name in folder_files(folder):
        path = folder / name
        state.update(f"{name}:{path.stat().st_size}\n".encode())
        for block in _sampled(path):
            state.update(block)
    return f"sampled-{state.hexdigest()}"


def _check_config(path: Path) -> None:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} can't be read: {error}") from error
    if not isinstance(config, dict):
        raise WeightsError(
            f"{path} is no configuration: it holds a {type(config).__name__}, no JSON object. Get it again"
        )


def _sampled(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= WHOLE:
            yield file.read()
            return
        for index in range(BLOCKS):
            file.seek((size - BLOCK) * index // (BLOCKS - 1))
            yield file.read(BLOCK)


def lacking(folder: Path) -> list[str]:
    """Weight files that are not there: ``model.safetensors``, or shards that its index names; of a pipeline, each part's.

    Raises:
        WeightsError: If an index can't be read, or names files that are no shards of safetensors.
    """
    if not is_pipeline(folder):
        return _lacking(folder, "model")
    found = []
    for name, (library, _) in pipeline_parts(folder).items():
        if not (folder / name).is_dir():
            found.append(name)
        elif (folder / name / "config.json").is_file():  # what has no weights has no configuration of that name
            stems = STEMS.get(library) or sum(STEMS.values(), ())
            missing = [_lacking(folder / name, stem) for stem in stems]
            found += [f"{name}/{file}" for file in min(missing, key=len)]
    return found


def _lacking(folder: Path, stem: str) -> list[str]:
    whole, index = f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if (folder / whole).is_file() or not index.is_file():
        shards = {whole}
    else:
        pattern = f"{stem}-*-of-*.safetensors"
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            strange = [name for name in shards if not fnmatch(name, pattern) or "/" in name]
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise WeightsError(f"{index} is no index of safetensors shards: {type(error).__name__}: {error}") from error
        if strange:
            raise WeightsError(f"{index} names {strange[0]}, which is none of {pattern}")
    return sorted(name for name in shards if not (folder / name).is_file())


def check_whole(folder: Path, reference: str) -> None:
    """Raise a WeightsError where weights are missing, or a configuration is damaged."""
    for name in folder_files(folder):
        if name.endswith("config.json"):
            _check_config(folder / name)
    missing = lacking(folder)
    unsharded = [name for name in missing if name.endswith("model.safetensors")]
    if unsharded:
        library = "diffusers" if is_pipeline(folder) else "transformers"
        raise WeightsError(
            f"{reference} has no {unsharded[0]}: pickled formats (.bin, .pt, .ckpt) can run code when read. Choose a "
            f"revision with safetensors, or convert where you trust it: load it with {library} and save_pretrained(…)"
        )
    if missing:
        raise WeightsError(f"{reference} lacks {', '.join(missing)}, which its index names: copy or fetch it again")
