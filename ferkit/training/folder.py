"""The folder of a run: who trains in it, what it holds, and what of that is removed."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ferkit.cache import digest
from ferkit.errors import FerkitError
from ferkit.layers import HISTORY
from ferkit.recipe import Recipe
from ferkit.runs import METRICS
from ferkit.training import checkpoint
from ferkit.weights import sha256
from ferkit.writers import make_folder, remove_empty

if sys.platform != "win32":
    import fcntl

BEST, LOCK = "best.safetensors", ".lock"
_OWN = (
    METRICS, "recipe.yaml", "README.md", checkpoint.NAME, BEST, "head.safetensors", "encoder-*.safetensors"
)  # fmt: skip
_ANYWAY = ("workers", "checkpoint_minutes", "trackers")


def training_digest(recipe: Recipe) -> str:
    """SHA-256 of everything in a recipe that decides what is learnt: only a run of the same goes on."""
    data = recipe.resolved()
    for options, names in ((data, ("name", "description")), (data.get("training", {}), _ANYWAY)):
        for name in names:
            options.pop(name, None)
    return digest(data)


def read_from(recipe: Recipe) -> set[Path]:
    """The files on this machine that a recipe is made of: its layers and weights."""
    layers = {origin.file for origin in recipe.layer.origins.values() if origin.file}
    references = [reference for part in recipe.parts().values() for reference in part.weights]
    return layers | {Path(reference.location) for reference in references if reference.scheme == "path"}


class RunFolder:
    """The folder of a run, made if there is none and locked; close it, or use it as a context manager.

    Nothing in it is removed before :meth:`begin`.

    Args:
        path: The folder.
        key: Digest of the training, of :func:`training_digest`.
        overwrite: Whether what a run left there may be removed.
        sources: Files that must stay.

    Attributes:
        finished: What ``metrics.json`` holds of the same training, or None if it is to be trained.

    Raises:
        FerkitError: If another process trains there; if it can't be made, holds something else, a run of another
            recipe or a damaged one; or if ``sources`` would be removed.
    """

    def __init__(self, path: Path, key: str, overwrite: bool, sources: Iterable[Path]) -> None:
        self.path, self.overwrite = path, overwrite
        self._made, self._lock = _locked(path)
        try:
            if not (path / HISTORY).exists() and any(item.name != LOCK for item in path.iterdir()):
                raise FerkitError(f"{path} is a folder with other things in it: name another --out")
            if overwrite:
                self._require_others(sources)
            self.finished = None if overwrite or not (path / METRICS).exists() else _finished(path, key)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def begin(self) -> None:
        """Remove what another run left, where that was allowed, and what a killed process half wrote.

        Raises:
            FerkitError: If that is forbidden.
        """
        try:
            for file in [*self._half_written(), *(self._own() if self.overwrite else ())]:
                file.unlink()
            (self.path / HISTORY).open("w" if self.overwrite else "a").close()
        except OSError as error:
            raise FerkitError(f"{error.filename} can't be replaced ({error.strerror}): name another --out") from error

    def close(self) -> None:
        """Release the lock; where nothing was begun, nothing stays."""
        (self.path / LOCK).unlink(missing_ok=True)
        os.close(self._lock)
        remove_empty(self._made)

    def _own(self) -> Iterator[Path]:
        """The files of a run, but its history: that tells what folder this is, if this process is killed now."""
        for pattern in _OWN:
            yield from self.path.glob(pattern)

    def _half_written(self) -> Iterator[Path]:
        for pattern in (*_OWN, HISTORY):
            yield from self.path.glob(f".{pattern}.????????.tmp")

    def _require_others(self, sources: Iterable[Path]) -> None:
        own = {file.resolve() for file in self._own()}
        if lost := sorted(source for source in sources if source.resolve() in own):
            raise FerkitError(f"--overwrite would remove {lost[0]}, which this run is made from: name another --out")


def _locked(folder: Path) -> tuple[list[Path], int]:
    """The folders that were made, and the lock, open; the system releases it when the process ends in whatever way."""
    try:
        if folder.is_symlink() and not folder.exists():
            raise FerkitError(f"{folder} is a link to nothing: name a folder for the run in --out")
        made = make_folder(folder, "--out")
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise FerkitError(f"--out {folder}: it can't be written to ({error.strerror}): name another folder") from error
    if sys.platform == "win32":  # no flock: two trainings in one folder are the user's to avoid
        return made, lock
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.path.samestat(os.fstat(lock), (folder / LOCK).stat())  # not one that was released just now
    except (BlockingIOError, FileNotFoundError):
        ours = False
    if not ours:
        os.close(lock)
        raise FerkitError(f"another process trains in {folder}: wait for it, or name another --out")
    return made, lock


def _finished(folder: Path, key: str) -> dict[str, Any]:
    """The metrics of a finished run, whose files are checked.

    Raises:
        FerkitError: If it is a run of something else, its metrics can't be read, or a file is missing or altered.
    """
    path = folder / METRICS
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        trained, files, _ = metrics["training_digest"], dict(metrics["files"]), metrics["data_digest"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise FerkitError(
            f"{path} is not what a finished run leaves ({type(error).__name__}: {error}): put it back, or begin anew with "
            "--overwrite"
        ) from error
    if trained != key:
        raise FerkitError(
            f"{folder} holds a run of another recipe or other data: name another --out, or --overwrite it"
        )
    for name, expected in files.items():
        there = (folder / name).is_file()
        if not there or sha256(folder / name) != expected:
            raise FerkitError(
                f"{folder / name} of this finished run {'was altered' if there else 'is missing'}: put it back, or begin "
                "anew with --overwrite"
            )
    return metrics
