"""What is seen of a training run while it goes on."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ferkit.training.options import Training


class Watcher(Protocol):
    """Told of the progress."""

    def task(self, name: str, total: int) -> Callable[[int], None]:
        """Something with ``total`` faces begins; the result is told of their progress."""

    def begin(self, epoch: int, steps: int, done: int) -> None:
        """An epoch of ``steps`` begins, ``done`` of them lie behind."""

    def step(self, loss: float) -> None:
        """A step was made."""

    def end(self, row: dict[str, Any], best: bool) -> None:
        """An epoch is over, with its figures."""


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def task(self, name: str, total: int) -> Callable[[int], None]:  # noqa: ARG002
        """Nothing is told."""
        return lambda _: None

    def begin(self, epoch: int, steps: int, done: int) -> None:
        """An epoch begins."""

    def step(self, loss: float) -> None:
        """A step was made."""

    def end(self, row: dict[str, Any], best: bool) -> None:
        """An epoch is over."""


class Live:
    """Bars for what is under way, and a line for every epoch that is over."""

    def __init__(self, training: Training) -> None:
        self._epochs = training.epochs
        console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,  # a log gets the lines alone
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    def task(self, name: str, total: int) -> Callable[[int], None]:
        """A bar for ``total`` faces."""
        task = self._progress.add_task(name, total=total, note="")
        return lambda count: self._progress.advance(task, count)

    def begin(self, epoch: int, steps: int, done: int) -> None:
        """A bar for the epoch."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        title = f"epoch {epoch + 1}/{self._epochs}"
        self._task = self._progress.add_task(title, total=steps, completed=done, note="")

    def step(self, loss: float) -> None:
        """The bar moves on."""
        if self._task is not None:
            self._progress.update(self._task, advance=1, note=f"loss {loss:.3f}")

    def end(self, row: dict[str, Any], best: bool) -> None:
        """The epoch's line."""
        found = row["validation"]
        self._progress.console.print(
            f"epoch {row['epoch']:>3}  loss {row['train']['loss']:.4f}  held out: accuracy {found['accuracy']:.1%}  "
            f"UAR {found['uar']:.1%}  loss {found['loss']:.3f}  {row['seconds']:.0f} s{'  *' if best else ''}"
        )
