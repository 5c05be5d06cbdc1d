"""What was computed before, as files in rooms of one folder, each named by the digest of all that decides it.

Tensors are safetensors files. Pictures are PNG files that hold their metadata as JSON in a text chunk: one file, so that an
entry is there whole or not at all, whoever writes it at the same time. With the metadata goes a CRC-32 of them and of the pixels:
Pillow passes over the checksums of PNG itself. It is against damage, not against forgery, and costs a tenth of a SHA-256.
"""

import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ferkit.errors import FerkitError
from ferkit.writers import replacing

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
Entry = tuple["dict[str, Tensor]", dict[str, str]]
"""Tensors and metadata."""
Picture = tuple["Tensor | None", dict[str, Any]]
"""A picture, uint8 RGB ``[3, h, w]``, or None where there is none to keep; and what is known of it, plain data."""
_CHUNK, _SEAL = "ferkit", "crc32"


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
    """Tensors and pictures by room and key.

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
        return _sound(self._path(room, key, ".safetensors"), read_tensors)

    def save(self, room: str, key: str, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str]) -> None:
        """Write an entry whole or not at all.

        Raises:
            FerkitError: If the disk is full or forbidden.
        """
        from safetensors.torch import save_file

        content = {key: tensor.contiguous() for key, tensor in tensors.items()}
        with self._writing(room, key, ".safetensors") as temporary:
            save_file(content, temporary, dict(metadata))

    def load_picture(self, room: str, key: str) -> Picture | None:
        """A picture and what is known of it; None where there is none, or it is damaged, which removes it.

        Raises:
            FerkitError: If it is there and can't be read.
        """
        found = _sound(self._path(room, key, ".png"), read_picture)
        return found or _sound(self._path(room, key, ".json"), read_note)

    def save_picture(self, room: str, key: str, picture: "Tensor | None", metadata: Mapping[str, Any]) -> None:
        """Write a picture (uint8 ``[3, h, w]``) without loss, or the metadata alone where there is none.

        Raises:
            FerkitError: If the disk is full or forbidden.
        """
        if picture is None:
            with self._writing(room, key, ".json") as temporary:
                temporary.write_text(_sealed(metadata, b""), encoding="utf-8")
            return
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        pixels, info = picture.permute(1, 2, 0).contiguous().numpy(), PngInfo()
        info.add_itxt(_CHUNK, _sealed(metadata, pixels.data))
        image = Image.fromarray(pixels)
        with self._writing(room, key, ".png") as temporary:
            image.save(temporary, "PNG", pnginfo=info, compress_level=1)

    @contextmanager
    def _writing(self, room: str, key: str, suffix: str) -> Iterator[Path]:
        """A file to write, which becomes the entry if all goes well: processes may write the same one."""
        from safetensors import SafetensorError

        path = self._path(room, key, suffix)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                yield temporary
        except (OSError, SafetensorError) as error:
            raise FerkitError(
                f"the cache {self.folder} can't be written ({error}): make room, or name another folder in FERKIT_CACHE"
            ) from error

    def _path(self, room: str, key: str, suffix: str) -> Path:
        return self.folder / room / key[:2] / f"{key}{suffix}"


class DamagedError(Exception):
    """An entry that is not what was written."""


def read_tensors(path: Path) -> Entry:
    """Tensors, mapped from disk, and metadata of a file.

    Raises:
        DamagedError: If its header does not fit its size. Single flipped bits in tensors go unnoticed: they have no checksum.
        OSError: If it can't be read.
    """
    from safetensors import SafetensorError, safe_open

    path.open("rb").close()  # says what is wrong; safe_open calls it a missing file whatever it is
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise DamagedError(str(error)) from error


def read_picture(path: Path) -> Picture:
    """Picture and metadata of a PNG file.

    Raises:
        DamagedError: If it was cut short, a bit of it is flipped, or it was not written here.
        OSError: If it can't be read.
    """
    import numpy as np
    import torch
    from PIL import Image

    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            text, pixels = image.info[_CHUNK], np.array(image)
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), _opened(text, pixels.data)
    except Exception as error:  # whatever Pillow makes of damaged bytes: OSError, SyntaxError, ValueError, struct.error
        raise DamagedError(f"{type(error).__name__}: {error}") from error


def read_note(path: Path) -> Picture:
    """Metadata without a picture.

    Raises:
        DamagedError: If it is not what was written here.
        OSError: If it can't be read.
    """
    content = path.read_bytes()
    try:
        return None, _opened(content, b"")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamagedError(f"{type(error).__name__}: {error}") from error


def _sealed(metadata: Mapping[str, Any], pixels: "bytes | memoryview") -> str:
    """Metadata as JSON, with a checksum of it and of the pixels it belongs to."""
    return json.dumps({**metadata, _SEAL: _checksum(metadata, pixels)})


def _opened(text: str | bytes, pixels: "bytes | memoryview") -> dict[str, Any]:
    """Metadata from what :func:`_sealed` gave.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: If it is nothing of that kind, or belongs to other pixels.
    """
    metadata: dict[str, Any] = json.loads(text)
    if metadata.pop(_SEAL) != _checksum(metadata, pixels):
        raise ValueError("not what was written: the checksum differs")
    return metadata


def _checksum(metadata: Mapping[str, Any], pixels: "bytes | memoryview") -> int:
    return zlib.crc32(json.dumps(metadata).encode(), zlib.crc32(pixels))


READERS: dict[str, Callable[[Path], object]] = {
    ".safetensors": read_tensors,
    ".png": read_picture,
    ".json": read_note,
}
"""What reads an entry, by the suffix of its file."""


def _sound(path: Path, read: Callable[[Path], T]) -> T | None:
    """What ``read`` makes of a file; None where there is none, or it is damaged, which removes it."""
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except DamagedError:
        with suppress(OSError):
            path.unlink()
        return None
    except OSError as error:
        raise FerkitError(
            f"{path} can't be read ({error.strerror}): mend that, or name another folder in FERKIT_CACHE"
        ) from error
