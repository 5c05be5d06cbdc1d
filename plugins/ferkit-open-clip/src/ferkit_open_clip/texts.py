"""Tokenizers, and the small files that some text towers need beside their weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor

from ferkit import ComponentError, Context, WeightsError
from ferkit_open_clip.sources import Source

Tokenizer = Callable[[list[str]], Tensor]
CONTEXT_LENGTH = 77
PATTERNS = ["*.json", "*.txt", "*.model", "*.jinja"]  # configuration, vocabularies, merges: no weights, no code


def tokenizer(source: Source, context: Context) -> Tokenizer:
    """The model's own tokenizer, of texts to int64 ``[P, L]``.

    open_clip brings the one of CLIP. That of other models comes from the model's folder, or from the hub's cache.

    Raises:
        WeightsError: If its files are not on this machine and were not to be downloaded.
        ComponentError: If it can't be read, or transformers is missing, which reads it.
    """
    settings = source.architecture["text_cfg"]
    options: dict[str, Any] = settings.get("tokenizer_kwargs") or {}
    length = settings.get("context_length", CONTEXT_LENGTH)
    name = settings.get("hf_tokenizer_name")
    if not name:
        plain: Tokenizer = SimpleTokenizer(context_length=length, **options)
        return plain
    folder = source.folder or hub_folder(name, context)
    mode = settings.get("tokenizer_mode")
    try:
        found: Tokenizer = HFTokenizer(str(folder), context_length=length, tokenizer_mode=mode, **options)
    except ImportError as error:
        raise ComponentError(
            f"the tokenizer of {source.name} is read by transformers: pip install 'ferkit-open-clip[transformers]' "
            f"({error})"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        cause = " ".join(str(error).split())
        raise ComponentError(
            f"{folder} holds no tokenizer that can be read, which {source.name} needs: {cause}"
        ) from error
    return found


def with_local_text_config(source: Source, context: Context) -> dict[str, Any]:
    """``text_cfg`` of a model; that of a transformers tower names a folder, so that nothing is fetched behind our back."""
    settings: dict[str, Any] = source.architecture["text_cfg"]
    name = settings.get("hf_model_name")
    return {**settings, "hf_model_name": str(hub_folder(name, context))} if name else settings


def hub_folder(repository: str, context: Context) -> Path:
    """The local copy of a hub repository's small files.

    Raises:
        WeightsError: If it is not here, and was not to be downloaded or could not be.
    """
    if Path(repository).is_dir():
        return Path(repository)
    download = context.weights.download
    try:
        return Path(snapshot_download(repository, allow_patterns=PATTERNS, local_files_only=not download))
    except (OSError, ValueError) as error:
        cause = f": {' '.join(str(error).split())}" if download else ""
        raise WeightsError(
            f"the text tower needs the tokenizer files of {repository}, which are not on this machine{cause}. Build the "
            "pipeline once with download=True, use a `local_dir` that holds them, or leave `text` off"
        ) from error
