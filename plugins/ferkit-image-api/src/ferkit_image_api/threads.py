"""Work that mostly waits, done by several threads at a time."""

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")


def in_threads(work: Callable[[int, Event], T], count: int, threads: int) -> list[T]:
    """``work(index, stop)`` for each of ``count`` indices, at most ``threads`` at a time; the results in order.

    The first error, and Ctrl-C, end it at once. Threads that still wait for a server then are left behind as daemons:
    those of ThreadPoolExecutor would keep the interpreter from exiting. ``stop`` tells them to begin nothing more.
    """
    stop = Event()
    todo: SimpleQueue[int] = SimpleQueue()
    done: SimpleQueue[tuple[int, T] | BaseException] = SimpleQueue()

    def run() -> None:
        while not stop.is_set():
            try:
                index = todo.get_nowait()
            except Empty:
                return
            try:
                done.put((index, work(index, stop)))
            except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
                done.put(error)
                stop.set()

    for index in range(count):
        todo.put(index)
    results: dict[int, T] = {}
    try:
        for _ in range(min(threads, count)):
            Thread(target=run, name="image-api", daemon=True).start()
        while len(results) < count:
            outcome = done.get()
            if isinstance(outcome, BaseException):
                raise outcome
            results[outcome[0]] = outcome[1]
    finally:
        stop.set()
    return [results[index] for index in range(count)]
