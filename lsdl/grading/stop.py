"""Ctrl-C while a class is graded: said at once, never in the middle of an entry of the gradebook, and a clean end in seconds."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

AT_ONCE = b"\nStopping: notebooks that run are ended, what is finished is kept. This takes some seconds.\n"


class Stopped(KeyboardInterrupt):
    """Ctrl-C; the message says what is finished. Not an Exception: no library takes it for an error of a submission."""


class Stop:
    """While it is entered, Ctrl-C raises `Stopped` once, and never inside `held`; more of them change nothing.

    nbgrader takes an interrupt for an error of the notebook that it enters, which would make a good student `failed`.
    Outside the main thread, where Python gets no signals, it does nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._held = 0
        self._before: Any = None

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, *_: object) -> None:
        if self.asked:
            return
        self.asked = True
        os.write(2, AT_ONCE)  # print could be in the middle of a line, which it does not allow
        if not self._held:
            raise Stopped

    @contextmanager
    def held(self) -> Iterator[None]:
        """What stands inside is finished first."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self.asked and not self._held:
            raise Stopped
