"""Work that mostly waits, done by several threads at a time."""

from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")


def in_threads(work: Callable[[int, Event], T], count: int, threads: int) -> Iterator[tuple[int, T]]:
    """``work(index, stop)`` for each of ``count`` indices, at most ``threads`` at a time; index and result as they come.

    After the first error nothing more is begun: what was is waited for and passed on, then the error raised. Ctrl-C ends
    it at once. Threads that still wait for a server then are left behind as daemons: those of ThreadPoolExecutor would
    keep the interpreter from exiting.
    """
    stop = Event()
    todo: SimpleQueue[int] = SimpleQueue()
    done: SimpleQueue[tuple[int, T] | BaseException | None] = SimpleQueue()  # None: a thread has ended

    def run() -> None:
        try:
            while not stop.is_set():
                index = todo.get_nowait()
                done.put((index, work(index, stop)))
        except Empty:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            done.put(error)  # before the others learn of it: theirs come after
            stop.set()
        done.put(None)

    for index in range(count):
        todo.put(index)
    running, failure = min(threads, count), None
    try:
        for _ in range(running):
            Thread(target=run, name="image-api", daemon=True).start()
        while running:
            outcome = done.get()
            if outcome is None:
                running -= 1
            elif isinstance(outcome, BaseException):
                failure = failure or outcome
            else:
                yield outcome
    finally:
        stop.set()
    if failure:
        raise failure
