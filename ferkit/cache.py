"""What was computed before, as safetensors files in one folder, each named by the digest of all that decides it."""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ferkit.errors import FerkitError
from ferkit.writers import replacing

Entry = tuple[dict[str, Tensor], dict[str, str]]
"""Tensors and metadata."""


def cache_folder() -> Path:
    """``FERKIT_CACHE``, or the platform's user cache folder."""
    if folder := os.environ.get("FERKIT_CACHE"):
        return Path(folder)
    import platformdirs

    return Path(platformdirs.user_cache_dir("ferkit", appauthor=False))


def digest(data: Any) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Cache:
    """Tensors by room and key.

    Args:
        folder: Where it lies; by default :func:`cache_folder`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()

    def get(self, room: str, key: str, compute: Callable[[], Entry], names: Collection[str] = ()) -> Entry:
        """An entry, computed and kept where there is none yet; mapped from disk rather than held in memory.

        Args:
            room: Of the cache.
            key: Digest of all that decides the entry.
            compute: What makes it.
            names: Tensors and metadata without which what is found is no such entry.

        Raises:
            FerkitError: If it can't be read or written.
        """
        if (found := self.load(room, key)) is not None and set(names) <= found[0].keys() | found[1].keys():
            return found
        made = compute()
        self.save(room, key, *made)
        return self.load(room, key) or made

    def load(self, room: str, key: str) -> Entry | None:
        """An entry, mapped from disk rather than read; None where there is none, or it is damaged, which removes it.

        Raises:
            FerkitError: If it is there and can't be read, as where a permission lacks or too many files are open.
        """
        path = self._path(room, key)
        try:
            path.open("rb").close()  # says what is wrong; safe_open calls it a missing file whatever it is
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
        except FileNotFoundError:
            return None
        except SafetensorError:
            with suppress(OSError):
                path.unlink()
            return None
        except OSError as error:
            raise FerkitError(
                f"{path} can't be read ({error.strerror}): mend that, or name another folder in FERKIT_CACHE"
            ) from error

    def save(self, room: str, key: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Write an entry whole or not at all.

        Raises:
            FerkitError: If the disk is full or forbidden.
        """
        path = self._path(room, key)
        content = {key: tensor.contiguous() for key, tensor in tensors.items()}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:  # processes may write the same entry
                save_file(content, temporary, dict(metadata))
        except (OSError, SafetensorError) as error:
            raise FerkitError(
                f"the cache {self.folder} can't be written ({error}): make room, or name another folder in FERKIT_CACHE"
            ) from error

    def _path(self, room: str, key: str) -> Path:
        return self.folder / room / key[:2] / f"{key}.safetensors"
