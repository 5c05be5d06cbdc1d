"""Long runs: many inputs by way of a journal, stopped in any way, gone on with by the same command."""

import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import typer

from ferkit.cli.common import FAILED, say
from ferkit.cli.report import Report
from ferkit.errors import FerkitError, ImageError, StageError
from ferkit.journal import Journal, Mark, Record, mark
from ferkit.progress import progress

T = TypeVar("T")
Inputs = dict[str, ImageError | None]


@dataclass(frozen=True)
class LongRun:
    """From inputs to a result.

    Attributes:
        out: The result's last file: where it is, all of it is.
        inputs: In the result's order; those with an error could not be searched.
        journal: Opened.
        header: What the run is made with: ``recipe_digest`` and whatever else must be the same.
        work: Gives one record a source, in order, lazily.
        complete: Whether what a journaled source has beside its record is there.
        finish: Writes the result from the journal, ``out`` last; counts it.
        batch_size: After so many records the disk is told to write.
        overwrite: Replace the result, or a journal begun with something else.
        details: Where all errors are told.
    """

    out: Path
    inputs: Inputs
    journal: Journal
    header: dict[str, Any]
    work: Callable[[Iterable[str]], Iterator[Record]]
    complete: Callable[[str], bool]
    finish: Callable[[], Counter[str]]
    batch_size: int
    overwrite: bool
    details: str
    _report: Report = field(default_factory=Report)

    def __call__(self) -> Counter[str]:
        """Do what is not done yet.

        Raises:
            FerkitError: If the result exists, or its journal was begun with something else, without ``overwrite``.
        """
        journal = self.journal
        if self.out.exists() and not self.overwrite and not len(journal):
            raise FerkitError(f"{self.out} exists: add --overwrite to replace it, or choose another name")
        try:
            journal.begin(self.header, overwrite=self.overwrite)
            self._append()
            count = self.finish()
            journal.finish()
        except KeyboardInterrupt:
            if len(journal):
                say(f"interrupted: what is done is in {journal.path}; the same command goes on from there")
            raise
        except StageError:
            if len(journal):
                say(f"what is done is in {journal.path}; the same command goes on from there")
            raise
        except OSError as error:
            kept = f"; what is done is in {journal.path}: make room, and repeat the command" if len(journal) else ""
            say(f"error: can't write the results: {error}{kept}")
            raise typer.Exit(FAILED) from error
        self._report.summary(count, str(self.out), self.details)
        return count

    def records(self) -> Iterator[Record]:
        """What became of each input, from the journal."""
        return map(self.journal.record, self.inputs)

    def _append(self) -> None:
        """Journal every input that is not done yet."""
        journal, inputs = self.journal, self.inputs
        done = {source for source in readable(inputs) if journal.done(source) and self.complete(source)}
        if done:
            say(f"going on with {journal.path}: {len(done)} of {len(inputs)} inputs are done")
        if others := len(journal.sources - inputs.keys()):
            said = f"{journal.path} has {others} inputs that this command does not name"
            if not self.overwrite:
                raise FerkitError(f"{said}: repeat the command it was begun with, or add --overwrite to leave them out")
            say(f"{said}: they are left out")
        rest = {source: error for source, error in inputs.items() if source not in done}
        for index, record in enumerate(progress(in_order(rest, self.work(readable(rest))), len(rest)), 1):
            journal.append(record)
            self._report.add(record)
            if index % self.batch_size == 0:
                journal.sync()


def readable(inputs: Inputs) -> list[str]:
    """Those that were found."""
    return [source for source, error in inputs.items() if error is None]


def in_order(inputs: Inputs, records: Iterable[Record]) -> Iterator[Record]:
    """Records of all inputs, from those of the readable ones and the errors of the others."""
    each = iter(records)
    for source, error in inputs.items():
        yield next(each) if error is None else Record(source, None, [], (error.kind, str(error)))


def marked(
    sources: Iterable[str], stream: Callable[[Iterable[str]], Iterable[T]]
) -> Iterator[tuple[str, Mark | None, T]]:
    """What ``stream`` makes of each source, with its mark from before it was read, so that a later change is noticed."""
    waiting: list[tuple[str, Mark | None]] = []

    def watched() -> Iterator[str]:
        for source in sources:
            waiting.append((source, mark(source)))
            yield source

    for result in stream(watched()):
        yield (*waiting.pop(0), result)


def named_folder(text: str, option: str) -> Path:
    """The folder that ``option`` names.

    Raises:
        FerkitError: If it names none.
    """
    if not text:  # Path("") is the working folder
        raise FerkitError(f"{option}: an empty path names no folder: is a variable unset?")
    return Path(text)


@contextmanager
def resumable(*journals: Path) -> Iterator[None]:
    """Where such a run is interrupted, by Ctrl-C or SIGTERM, say which journals hold what is done, if any do."""
    with terminated_as_interrupted():
        try:
            yield
        except KeyboardInterrupt:
            for journal in journals:
                if journal.exists():
                    say(f"interrupted: what is done is in {journal}; the same command goes on from there")
            raise


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
