"""The journal of a long run: one line an input, written at once, so that a run that was stopped can go on.

The first line says what the run is made with; a journal is continued by the same only. Of an input done twice, because
its file changed in between, the later line counts. A half-written last line, left by a killed process, is dropped. The
file is locked while a process works on it; the system releases the lock of a process that ended in whatever way.
"""

import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ferkit.errors import FerkitError

if sys.platform != "win32":
    import fcntl

NO_FACE = "no_face"
_FORMAT = {"ferkit_journal": 1}

Mark = tuple[int, int]
"""Size in bytes and modification time in nanoseconds: what tells that a file is still the same."""


def mark(source: str) -> Mark | None:
    """The mark of the file ``source`` now, or None if there is none."""
    try:
        status = os.stat(source)  # noqa: PTH116 - any string, also one that is no path
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def plain(value: Any) -> Any:
    """Plain data with None for what is not finite: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Record:
    """What became of one input.

    Attributes:
        source: Its path.
        mark: Of its file, when it was read.
        rows: One flat dict a face; None where a value is unknown. Under ``on_no_face: nan`` one without a label.
        error: Kind and message of what went wrong. The kind ``no_face`` is no failure: the picture was read.
    """

    source: str
    mark: Mark | None
    rows: list[dict[str, Any]]
    error: tuple[str, str] | None = None

    @property
    def faces(self) -> int:
        """How many faces it has; of a row with a label, only where that is known."""
        return sum(bool(row.get("label", True)) for row in self.rows)

    @property
    def failed(self) -> bool:
        """Whether the input could not be read."""
        return self.error is not None and self.error[0] != NO_FACE


@dataclass(frozen=True)
class _Entry:
    """Where in the journal an input is, and whether it need not be done again while its file has this mark."""

    offset: int
    mark: Mark | None
    failed: bool


class Journal:
    """A journal, opened and locked; close it, or use it as a context manager. One without inputs is removed then.

    Args:
        path: Its file, created if there is none.

    Raises:
        FerkitError: If another process works on it, it can't be written, or it is a file of another kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, _Entry] = {}
        self._header: dict[str, Any] | None = None
        self._end = 0
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise FerkitError(f"can't write {path} ({error.strerror}): choose a folder you can write to") from error
        try:
            self._lock()
            self._read()
        except BaseException:
            os.close(self._file)
            raise

    def _lock(self) -> None:
        if sys.platform == "win32":  # no flock: two runs with one OUT are the user's to avoid
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(self._file), self.path.stat())  # not one that was finished just now
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if not ours:
            raise FerkitError(f"another process is writing {self.path}: wait for it, or choose another output")

    def _read(self) -> None:
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):  # half written
                    break
                try:
                    self._take(line)
                except (ValueError, KeyError, TypeError, RecursionError) as error:
                    if self._header is None:
                        raise FerkitError(f"{self.path} is no journal of this ferkit: move it away") from error
                self._end += len(line)  # a damaged line is skipped; its input is done again
        os.ftruncate(self._file, self._end)

    def _take(self, line: bytes) -> None:
        data = json.loads(line)
        if self._header is None:
            if not isinstance(data, dict) or not data.items() >= _FORMAT.items():
                raise ValueError("no header")
            self._header = data
        else:
            record = _record(data)
            self._entries[record.source] = _Entry(self._end, record.mark, record.failed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """How many inputs it holds."""
        return len(self._entries)

    @property
    def begun(self) -> bool:
        """Whether a run was begun with it, even one killed before its first input was done."""
        return self._header is not None

    @property
    def sources(self) -> set[str]:
        """The inputs it holds."""
        return set(self._entries)

    def begin(self, header: dict[str, Any], *, overwrite: bool = False) -> None:
        """Go on with a run made with ``header`` (plain data), or start one.

        Args:
            header: What the run is made with: ``recipe_digest`` and whatever else must be the same.
            overwrite: Drop a journal that was begun with something else.

        Raises:
            FerkitError: If the journal was begun with something else.
        """
        header = {**_FORMAT, **header}
        if self._header == header:
            return
        if self._entries and self._header and not overwrite:
            raise FerkitError(
                f"{self.path} was begun with {_difference(self._header, header)}: repeat the command it was begun with, or "
                "add --overwrite to drop it and begin anew"
            )
        os.ftruncate(self._file, 0)
        self._end = 0
        self._entries.clear()
        self._header = header
        self._write(header)

    def done(self, source: str, path: str | None = None) -> bool:
        """Whether ``source`` was read, and its file is still the same. What could not be read is worth another try.

        Args:
            source: What the record is called.
            path: Its file, where that is not what the record is called.
        """
        entry = self._entries.get(source)
        return entry is not None and not entry.failed and entry.mark == mark(source if path is None else path)

    def append(self, record: Record) -> None:
        """Write one input's line."""
        entry = _Entry(self._end, record.mark, record.failed)
        self._write({"source": record.source, "mark": record.mark, "rows": record.rows, "error": record.error})
        self._entries[record.source] = entry

    def _write(self, data: dict[str, Any]) -> None:
        line = json.dumps(data, allow_nan=False).encode() + b"\n"
        self._end += len(line)
        while line:  # past Python's buffers: what is written outlives this process
            line = line[os.write(self._file, line) :]

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        os.fsync(self._file)

    def record(self, source: str) -> Record:
        """What became of ``source``, which must be in the journal."""
        with self.path.open("rb") as file:
            file.seek(self._entries[source].offset)
            return _record(json.loads(file.readline()))

    def finish(self) -> None:
        """Remove the journal: its results are elsewhere now."""
        self._entries.clear()

    def close(self) -> None:
        """Release the lock; remove the file if it holds no inputs."""
        if not self._entries:
            self.path.unlink(missing_ok=True)
        os.close(self._file)


def _record(data: dict[str, Any]) -> Record:
    """A line of the journal.

    Raises:
        ValueError, KeyError, TypeError: If it is not one that was written here.
    """
    seen, error, rows, source = data["mark"], data["error"], data["rows"], data["source"]
    if not all(isinstance(row, dict) and row["source"] == source for row in rows):
        raise ValueError("rows of another input")
    if not isinstance(source, str) or not (rows or error):
        raise ValueError("neither a result nor an error")
    return Record(source, tuple(seen) if seen else None, rows, tuple(error) if error else None)


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    before, after = (str(header.get("recipe_digest"))[:12] for header in (old, new))
    if before != after:
        return f"another recipe (digest {before}, now {after})"
    changed = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    return " and ".join(f"other {key.replace('_', ' ')}" for key in changed)
