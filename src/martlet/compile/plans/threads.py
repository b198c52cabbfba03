"""Threads that walk through lists of calls side by side, and BLAS held to one thread of its own meanwhile.

NumPy lets go of Python's lock inside its loops and products, so such lists run at once on several cores.  The workers
are shared by all plans, wait where there is nothing to do, and are gone when the interpreter ends or a process forks.
"""

from __future__ import annotations

import atexit
import contextvars
import importlib
import operator
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat, starmap
from queue import SimpleQueue
from typing import Any

Job = Callable[[], object]


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """Threads that do jobs, each those of its own queue, one after another."""

    def __init__(self) -> None:
        self.queues: list[SimpleQueue[Any]] = []
        self.threads: list[threading.Thread] = []
        self.lock = threading.Lock()
        self.most = 0  # how many there have been at once

    def start(self, count: int) -> None:
        """See to it that there are so many."""
        if len(self.threads) >= count:
            return
        with self.lock:
            self.queues += [SimpleQueue() for _ in range(count - len(self.queues))]
            for queue in self.queues[len(self.threads) : count]:
                worker = threading.Thread(target=_work, args=(queue,), name="martlet", daemon=True)
                worker.start()
                self.threads.append(worker)
            self.most = max(self.most, count)

    def stop(self) -> None:
        """Let them end what they are doing, and go."""
        with self.lock:
            for queue, _ in zip(self.queues, self.threads, strict=False):
                queue.put(None)
            for worker in self.threads:
                worker.join()
            self.threads.clear()

    def resume(self) -> None:
        """Go on after a stop: another thread's jobs may be waiting."""
        self.start(self.most)

    def run(self, jobs: Sequence[Job]) -> None:
        """Do all jobs, the first of them here.  Raises what one of them raised, or a Ctrl-C, once all have ended."""
        own, *others = jobs
        self.start(len(others))
        ended: SimpleQueue[BaseException | None] = SimpleQueue()
        begin = [(q.put, (contextvars.copy_context(), job, ended)) for q, job in zip(self.queues, others, strict=False)]
        # Walked through in C, so that a Ctrl-C cannot come between a job's beginning, or end, and its being counted.
        left = iter([*begin, (own,)])
        done: list[Any] = []
        outcomes: list[BaseException | None] = []
        error: BaseException | None = None
        while True:
            try:
                done.extend(starmap(operator.call, left))
                outcomes.extend(starmap(ended.get, repeat((), len(others) - len(outcomes))))
                break
            except BaseException as raised:
                error = error or raised
        for outcome in outcomes:
            error = error or outcome
        if error is not None:
            raise error


def _work(queue: SimpleQueue[Any]) -> None:
    while (item := queue.get()) is not None:
        context, job, ended = item
        outcome = None
        try:
            context.run(job)  # where np.errstate is what it is for the caller
        except BaseException as error:
            outcome = error
        ended.put(outcome)
        del item, context, job, ended, outcome  # what waits keeps nothing alive


workers = Workers()
atexit.register(workers.stop)
if hasattr(os, "register_at_fork"):
    # In the copy of a process there are no copies of its threads.
    os.register_at_fork(before=workers.stop, after_in_parent=workers.resume)


# -------------------------------------------------------------------------------------------------- BLAS


class Blas:
    """The threads of NumPy's own matrix products, as far as threadpoolctl can count them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.holders: set[object] = set()
        self.before: list[tuple[Any, int]] = []
        self._libraries: list[Any] | None = None

    @property
    def libraries(self) -> list[Any]:
        if self._libraries is None:
            try:
                found = importlib.import_module("threadpoolctl").ThreadpoolController()
                self._libraries = found.select(user_api="blas").lib_controllers
            except ImportError:
                self._libraries = []
        return self._libraries

    @contextmanager
    def held(self) -> Iterator[None]:
        """One thread for each product, until the last of those who asked for it is done."""
        libraries, holder = self.libraries, object()
        try:
            with self.lock:
                if not self.holders:
                    self.before = [(library, library.num_threads) for library in libraries]
                self.holders.add(holder)
                self._set([(library, 1) for library in libraries])
            yield
        finally:
            with self.lock:
                self.holders.discard(holder)
                if not self.holders:
                    self._set(self.before)

    @staticmethod
    def _set(wanted: list[tuple[Any, int]]) -> None:
        for library, count in wanted:
            if library.num_threads != count:
                library.set_num_threads(count)


blas = Blas()
